//! The shell's line protocol: one JSON command a line in, one JSON answer a line out.

use serde_json::{Value as Json, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::session::{Reply, Session};

/// Longest line that is read, in bytes; a record of AppSync is far smaller.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Runs until `exit` or the end of input.
pub(crate) async fn run(mut session: Session) -> std::io::Result<()> {
    let mut input = BufReader::new(tokio::io::stdin());
    let mut output = tokio::io::stdout();
    let mut line = Vec::new();
    loop {
        line.clear();
        let answer = match read_line(&mut input, &mut line).await? {
            Line::End => return Ok(()),
            Line::TooLong => json!({ "err": format!("the line is longer than {LINE_BYTES_MAX} bytes") }),
            Line::Whole if line.iter().all(u8::is_ascii_whitespace) => continue,
            Line::Whole => match serde_json::from_slice::<Json>(&line) {
                Err(error) => json!({ "err": format!("the line is no JSON: {error}") }),
                Ok(command) => match session.carry_out(&command).await {
                    Ok(Reply::Exit) => return Ok(()),
                    Ok(Reply::Answer(answer)) => json!({ "ok": answer }),
                    Err(fault) => json!({ "err": fault }),
                },
            },
        };
        output.write_all(format!("{answer}\n").as_bytes()).await?;
        output.flush().await?;
    }
}

enum Line {
    Whole,
    TooLong,
    End,
}

/// Reads to the end of the line, keeping no more than the bound.
async fn read_line(input: &mut BufReader<tokio::io::Stdin>, line: &mut Vec<u8>) -> std::io::Result<Line> {
    let mut too_long = false;
    loop {
        let available = input.fill_buf().await?;
        if available.is_empty() {
            let nothing = line.is_empty() && !too_long;
            return Ok(if nothing {
                Line::End
            } else if too_long {
                Line::TooLong
            } else {
                Line::Whole
            });
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(available.len());
        if line.len() + taken > LINE_BYTES_MAX {
            too_long = true;
            line.clear();
        } else if !too_long {
            line.extend_from_slice(&available[..taken]);
        }
        input.consume(end.map_or(taken, |end| end + 1));
        if end.is_some() {
            return Ok(if too_long { Line::TooLong } else { Line::Whole });
        }
    }
}
