//! What goes to standard output: to a reader that may stop, and to a terminal that texts of others must not steer.
//!
//! Owns [`print`] and [`is_odd`]. Who prints line by line while others type is `shell/interactive/screen.rs`, and tables are
//! `log/output.rs`.

use std::io::{ErrorKind, Write as _};

/// Prints a text. That somebody stops reading, as `head` does, is the reader's choice and no error.
///
/// # Errors
/// If it cannot be written, such as to a disk that is full.
pub(crate) fn print(text: &str) -> miette::Result<()> {
    let mut to = std::io::stdout().lock();
    let written = to.write_all(text.as_bytes()).and_then(|()| to.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(miette::miette!("standard output cannot be written: {error}"))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether a character does something to the terminal or to the direction of what follows, instead of being seen.
pub(crate) fn is_odd(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}
