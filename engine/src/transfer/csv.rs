//! CSV after RFC 4180: quoted cells, quotes doubled inside, records of several lines.
//!
//! Owns reading and writing of records of cells. An empty cell is none, a quoted empty one is an empty text, so that
//! nulls and empty texts stay apart.

use std::io::{self, BufRead, Write};

use super::{IMPORT_LINE_LEN_MAX, TransferError};

/// A record: its cells, `None` where they are empty.
pub(super) type Cells = Vec<Option<String>>;

pub(super) fn write_record(to: &mut impl Write, cells: &[Option<String>]) -> io::Result<()> {
    for (index, cell) in cells.iter().enumerate() {
        if index > 0 {
            to.write_all(b",")?;
        }
        match cell {
            None => {}
            Some(text) if needs_quotes(text) => write!(to, "\"{}\"", text.replace('"', "\"\""))?,
            Some(text) => to.write_all(text.as_bytes())?,
        }
    }
    to.write_all(b"\r\n")
}

fn needs_quotes(text: &str) -> bool {
    text.is_empty() || text.contains([',', '"', '\r', '\n'])
}

/// Reads records.
pub(super) struct Reader<R> {
    from: R,
    line: u64,
    began: bool,
}

/// Where in a record the reader is.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// At the beginning of a cell.
    Start,
    /// Inside a cell without quotes.
    Plain,
    /// Inside quotes.
    Quoted,
    /// After a quote inside quotes, which ends the cell or is doubled.
    AfterQuote,
}

impl<R: BufRead> Reader<R> {
    pub(super) fn new(from: R) -> Self {
        Self {
            from,
            line: 0,
            began: false,
        }
    }

    /// The next record with the number of the line that it begins in; empty lines are passed over.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Cells)>, TransferError> {
        loop {
            let first = self.line + 1;
            let Some(cells) = self.record(first)? else {
                return Ok(None);
            };
            if cells != [None] {
                return Ok(Some((first, cells)));
            }
        }
    }

    fn record(&mut self, first: u64) -> Result<Option<Cells>, TransferError> {
        let bad = |reason: &str| TransferError::BadLine {
            line: first,
            reason: reason.to_owned(),
        };
        let (mut cells, mut cell, mut quoted) = (Vec::new(), Vec::new(), false);
        let mut place = Place::Start;
        let (mut length, mut any) = (0, false);
        while let Some(byte) = self.byte()? {
            any = true;
            length += 1;
            if length > IMPORT_LINE_LEN_MAX {
                return Err(bad("the record is too long; is a quote missing?"));
            }
            match (place, byte) {
                (Place::Quoted, b'"') => place = Place::AfterQuote,
                (Place::Quoted, byte) => cell.push(byte),
                (Place::AfterQuote, b'"') => {
                    cell.push(b'"');
                    place = Place::Quoted;
                }
                (Place::Start, b'"') => {
                    quoted = true;
                    place = Place::Quoted;
                }
                (_, b',') => {
                    cells.push(finished(&mut cell, quoted).map_err(|reason| bad(&reason))?);
                    (quoted, place) = (false, Place::Start);
                }
                (_, b'\n') => {
                    cells.push(finished(&mut cell, quoted).map_err(|reason| bad(&reason))?);
                    return Ok(Some(cells));
                }
                // Part of the end of the line.
                (_, b'\r') => {}
                (Place::AfterQuote, _) => {
                    return Err(bad("text after a quoted cell; double the quotes inside"));
                }
                (Place::Plain, b'"') => return Err(bad("a quote inside a cell; quote all of it")),
                (Place::Start | Place::Plain, byte) => {
                    cell.push(byte);
                    place = Place::Plain;
                }
            }
        }
        if place == Place::Quoted {
            return Err(bad("a quoted cell does not end"));
        }
        if !any {
            return Ok(None);
        }
        cells.push(finished(&mut cell, quoted).map_err(|reason| bad(&reason))?);
        Ok(Some(cells))
    }

    fn byte(&mut self) -> io::Result<Option<u8>> {
        if !std::mem::replace(&mut self.began, true) {
            // Spreadsheets put a mark before UTF-8.
            if self.from.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
                self.from.consume(3);
            }
        }
        let byte = self.from.fill_buf()?.first().copied();
        if let Some(byte) = byte {
            self.from.consume(1);
            self.line += u64::from(byte == b'\n');
        }
        Ok(byte)
    }
}

fn finished(cell: &mut Vec<u8>, quoted: bool) -> Result<Option<String>, String> {
    let bytes = std::mem::take(cell);
    if bytes.is_empty() && !quoted {
        return Ok(None);
    }
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| "a cell is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Vec<(u64, Cells)>, TransferError> {
        let mut reader = Reader::new(text.as_bytes());
        let mut records = Vec::new();
        while let Some(record) = reader.next()? {
            records.push(record);
        }
        Ok(records)
    }

    #[test]
    fn records_are_read_as_spreadsheets_write_them() {
        let text = "\u{feff}a,b\r\n1,\"x, \"\"y\"\"\nz\"\n\n,\"\"";
        let some = |text: &str| Some(text.to_owned());
        let expected = vec![
            (1, vec![some("a"), some("b")]),
            (2, vec![some("1"), some("x, \"y\"\nz")]),
            (5, vec![None, some("")]),
        ];
        assert_eq!(read(text).expect("sound"), expected);
        assert_eq!(read("").expect("sound"), []);
    }

    #[test]
    fn faults_are_told_with_their_line() {
        for (text, line) in [("a\n\"b", 2), ("a\n\"b\"c\n", 2), ("a\"b\n", 1)] {
            match read(text) {
                Err(TransferError::BadLine { line: found, .. }) => assert_eq!(found, line, "{text:?}"),
                other => panic!("{text:?}: {other:?}"),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            rng_seed: proptest::test_runner::RngSeed::Fixed(0x1a2d_fa11),
            ..ProptestConfig::default()
        })]

        #[test]
        fn what_was_written_is_read(
            records in vec(vec(option::of("[a,\"\r\n é]{0,5}"), 2..4), 0..6),
        ) {
            let mut text = Vec::new();
            for record in &records {
                write_record(&mut text, record).expect("memory");
            }
            let text = String::from_utf8(text).expect("UTF-8");
            let found: Vec<Cells> = read(&text).expect("sound").into_iter().map(|(_, cells)| cells).collect();
            prop_assert_eq!(found, records);
        }
    }
}
