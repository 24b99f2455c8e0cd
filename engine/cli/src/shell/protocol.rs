//! The shell's line protocol: one JSON command a line in, one JSON answer a line out.

use serde_json::{Value as Json, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};

use super::session::{Reply, Session};

/// Longest line that is read, in bytes; a record of AppSync is far smaller.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Runs until `exit` or the end of input.
pub(crate) async fn run(session: Session) -> std::io::Result<()> {
    converse(session, tokio::io::stdin(), tokio::io::stdout()).await
}

async fn converse(
    mut session: Session,
    input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
) -> std::io::Result<()> {
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    loop {
        line.clear();
        // The store goes on while nothing is asked, and what it tells is kept.
        let read = tokio::select! {
            biased;
            never = session.listen() => match never {},
            read = read_line(&mut input, &mut line) => read?,
        };
        let answer = match read {
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
async fn read_line(
    input: &mut BufReader<impl AsyncRead + Unpin>,
    line: &mut Vec<u8>,
) -> std::io::Result<Line> {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use landfall::{DataStore, Record};
    use tokio::io::{DuplexStream, ReadHalf, WriteHalf, split};

    use super::super::recorder::Recorder;
    use super::super::values::Form;
    use super::*;

    /// A script at the other end of the protocol.
    struct Script {
        answers: BufReader<ReadHalf<DuplexStream>>,
        commands: WriteHalf<DuplexStream>,
    }

    impl Script {
        async fn says(&mut self, command: &Json) -> Json {
            let line = format!("{command}\n");
            self.commands.write_all(line.as_bytes()).await.unwrap();
            let mut answer = String::new();
            self.answers.read_line(&mut answer).await.unwrap();
            serde_json::from_str(&answer).unwrap()
        }
    }

    async fn script() -> (DataStore, Script) {
        let sdl = "type Post @model { title: String }";
        let schema = Arc::new(landfall_codegen::parse_sdl("s.graphql", sdl).unwrap());
        let store = DataStore::builder(&schema).open().await.unwrap();
        let form = Form::new(&schema, std::collections::BTreeMap::new());
        let opening = Session::open(store.clone(), Recorder::default(), form);
        let session = opening.await.unwrap();
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let (commands, answers) = split(ours);
        tokio::spawn(async move { converse(session, commands, answers).await });
        let (answers, commands) = split(theirs);
        let answers = BufReader::new(answers);
        (store, Script { answers, commands })
    }

    async fn save(store: &DataStore) {
        let def = store.records().def("Post").unwrap();
        let mut record = Record::new(Arc::clone(&def), Vec::new());
        let key = store.records().new_id(def.name.clone());
        record.set("id", key.id.to_string().into());
        store.records().save_if(record, None).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_happens_while_nothing_is_asked_is_kept() {
        let (store, mut script) = script().await;
        script.says(&json!({"op": "observe", "model": "Post"})).await;
        // More than the store itself keeps for those who do not read: 1,024 commits, 4,096 events.
        for _ in 0..5_000 {
            save(&store).await;
        }
        let observed = script.says(&json!({"op": "observed"})).await;
        assert_eq!(
            observed["ok"].as_array().map(Vec::len),
            Some(5_000),
            "{observed:.200}"
        );
        let events = script.says(&json!({"op": "hub"})).await;
        let events = events["ok"].as_array().unwrap();
        let enqueued = events
            .iter()
            .filter(|event| event["event"] == "outboxMutationEnqueued");
        assert_eq!(enqueued.count(), 5_000);
        assert_eq!(script.says(&json!({"op": "observed"})).await, json!({"ok": []}));
        drop(script);
        store.close().await;
    }
}
