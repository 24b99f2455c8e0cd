//! Lines that appear while another is being typed.
//!
//! Owns the way onto the terminal beside the prompt, and what may not get there: control characters of others.

use std::borrow::Cow;
use std::io::Write as _;

use anstream::{AutoStream, ColorChoice};
use rustyline::{DefaultEditor, ExternalPrinter};
use tokio::task::JoinHandle;

use crate::stdout::is_odd;

type Printer = Box<dyn ExternalPrinter + Send>;

/// Where lines go.
pub(super) enum Screen {
    /// Straight to standard output: nothing is being edited there.
    Plain,
    /// Above the line that is being typed.
    Shared {
        /// There unless it prints.
        printer: Option<Printer>,
        /// Printing waits for the editor, which may be gone from its line in this moment, so it has a thread of its own.
        printing: Option<JoinHandle<Printer>>,
    },
}

impl Screen {
    /// The screen of an editor.
    pub(super) fn of(editor: &mut DefaultEditor) -> Self {
        match editor.create_external_printer() {
            Ok(printer) => Self::Shared {
                printer: Some(Box::new(printer)),
                printing: None,
            },
            // There is no terminal, or it cannot do it.
            Err(_) => Self::Plain,
        }
    }

    /// Whether it can take the next text.
    pub(super) fn is_free(&self) -> bool {
        matches!(self, Self::Plain | Self::Shared { printer: Some(_), .. })
    }

    /// Waits until it can take the next text; for ever if it can already.
    pub(super) async fn freed(&mut self) {
        if let Self::Shared {
            printer,
            printing: Some(busy),
        } = self
        {
            *printer = busy.await.ok();
            if let Self::Shared { printing, .. } = self {
                *printing = None;
            }
        } else {
            std::future::pending::<()>().await;
        }
    }

    /// Prints while a line may be being typed; only if it [is free](Self::is_free).
    pub(super) fn print_beside(&mut self, text: &str) {
        match self {
            Self::Shared { printer, printing } if printer.is_some() => {
                let mut text = coloured(text).into_owned();
                text.push('\n');
                *printing = printer.take().map(|mut printer| {
                    tokio::task::spawn_blocking(move || {
                        // A terminal that is gone has nobody before it.
                        printer.print(text).unwrap_or(());
                        printer
                    })
                });
            }
            _ => print(text),
        }
    }
}

/// Prints while nothing is being typed.
pub(super) fn print(text: &str) {
    // A closed pipe is the reader's choice.
    writeln!(anstream::stdout(), "{text}").unwrap_or(());
}

/// The text, without its colours where standard output wants none.
fn coloured(text: &str) -> Cow<'_, str> {
    match AutoStream::choice(&std::io::stdout()) {
        ColorChoice::Never => anstream::adapter::strip_str(text).to_string().into(),
        _ => text.into(),
    }
}

/// A text of somebody else, in which nothing steers the terminal or turns what follows round.
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    let is_odd = |c: char| is_odd(c) && c != '\n';
    if !text.contains(is_odd) {
        return text.into();
    }
    let escaped = text.chars().flat_map(|c| {
        let kept = (!is_odd(c)).then_some(c);
        kept.into_iter()
            .chain(is_odd(c).then(|| c.escape_default()).into_iter().flatten())
    });
    escaped.collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_cannot_steer_the_terminal() {
        assert_eq!(harmless("\u{dc}ber\nzwei Zeilen"), "\u{dc}ber\nzwei Zeilen");
        assert_eq!(harmless("left\u{202e}thgir"), "left\\u{202e}thgir");
        assert_eq!(harmless("a\u{1b}[2Jb\u{9b}c\rd"), "a\\u{1b}[2Jb\\u{9b}c\\rd");
    }
}
