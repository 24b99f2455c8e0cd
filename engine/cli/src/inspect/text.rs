//! `landfall inspect --text`: the same in the terminal, for those who have no browser at hand.
//!
//! Owns the terminal: its alternate screen, reading keys, and asking whether the store has more. What is shown and what a key
//! does is `text/view.rs`; where standard output or input is no terminal, `text/summary.rs` is printed once.
//!
//! Invariants: 1. the terminal is left as it was found, also if what is shown cannot be, or the process is asked to end; 2. a
//! key is read only when the one before it was dealt with, so that nobody reads on when the view has ended.

mod clean;
mod summary;
mod view;

use std::io::IsTerminal as _;
use std::time::Duration;

use console::{Key, Term};
use serde_json::Value as Json;
use tokio::sync::mpsc;

use super::live::{Live, News};
use crate::signals::Signals;
pub(super) use clean::clean;
use view::{Flow, View};

/// Time between two questions whether the store has more.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Whether there is a terminal that can show more than lines, and somebody before it.
pub(super) fn has_screen() -> bool {
    std::io::stdout().is_terminal() && std::io::stdin().is_terminal() && !console::is_dumb()
}

/// Shows the data of the page.
pub(super) async fn show(data: Json, live: Option<Live>) -> miette::Result<()> {
    if !has_screen() {
        return crate::stdout::print(&summary::of(data));
    }
    let screen = Screen::enter(Term::buffered_stdout()).map_err(|error| said(&error))?;
    let ended = run(&screen, View::new(data), live).await;
    drop(screen);
    ended
}

fn said(error: &std::io::Error) -> miette::Report {
    miette::miette!("the terminal cannot be used: {error}; `landfall log PATH list` prints entries as lines")
}

/// The alternate screen of a terminal; left when it is dropped.
struct Screen {
    term: Term,
    _way: Way,
}

/// How the terminal treats what is typed; put back when it is dropped. Whoever reads a key has it typed through, without an
/// echo, and may still be waiting for one when the process ends.
struct Way {
    #[cfg(unix)]
    found: Option<rustix::termios::Termios>,
}

impl Way {
    fn of_terminal() -> Self {
        Self {
            #[cfg(unix)]
            found: rustix::termios::tcgetattr(std::io::stdin()).ok(),
        }
    }
}

#[cfg(unix)]
impl Drop for Way {
    fn drop(&mut self) {
        use rustix::termios::{OptionalActions, tcsetattr};
        if let Some(found) = &self.found {
            // A terminal that is gone needs no tidying.
            tcsetattr(std::io::stdin(), OptionalActions::Now, found).unwrap_or(());
        }
    }
}

impl Screen {
    fn enter(term: Term) -> std::io::Result<Self> {
        let way = Way::of_terminal();
        term.write_str("\u{1b}[?1049h")?;
        term.hide_cursor()?;
        term.flush()?;
        Ok(Self { term, _way: way })
    }

    fn draw(&self, view: &View) -> std::io::Result<()> {
        let (height, width) = self.term.size();
        let frame = view.draw(usize::from(width), usize::from(height));
        self.term.move_cursor_to(0, 0)?;
        let last = frame.lines.len().saturating_sub(1);
        for (row, line) in frame.lines.iter().enumerate() {
            if Some(row) == frame.chosen {
                let (left, right) = line.split_at(frame.chosen_bytes.min(line.len()));
                self.term
                    .write_str(&format!("\u{1b}[7m{left}\u{1b}[0m{right}\u{1b}[K"))?;
            } else {
                self.term.write_str(&format!("{line}\u{1b}[K"))?;
            }
            if row < last {
                self.term.write_str("\r\n")?;
            }
        }
        self.term.clear_to_end_of_screen()?;
        self.term.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs no tidying.
        self.term.show_cursor().unwrap_or(());
        self.term.write_str("\u{1b}[?1049l").unwrap_or(());
        self.term.flush().unwrap_or(());
    }
}

/// Reads one key whenever it is asked to.
fn reader() -> (mpsc::Sender<()>, mpsc::Receiver<std::io::Result<Key>>) {
    let (asks, mut asked) = mpsc::channel(1);
    let (keys, read) = mpsc::channel(1);
    tokio::task::spawn_blocking(move || {
        let term = Term::stdout();
        while asked.blocking_recv().is_some() {
            if keys.blocking_send(term.read_key_raw()).is_err() {
                return;
            }
        }
    });
    (asks, read)
}

async fn run(screen: &Screen, mut view: View, mut live: Option<Live>) -> miette::Result<()> {
    let (asks, mut keys) = reader();
    let mut signals = Signals::new()?;
    let mut every = tokio::time::interval(ASK_EVERY);
    // Whoever holds the other end waits for this.
    asks.send(()).await.unwrap_or(());
    loop {
        screen.draw(&view).map_err(|error| said(&error))?;
        tokio::select! {
            key = keys.recv() => {
                let Some(key) = key else { return Ok(()) };
                if view.key(&key.map_err(|error| said(&error))?) == Flow::End {
                    return Ok(());
                }
                asks.send(()).await.unwrap_or(());
            }
            _ = every.tick(), if live.is_some() => live = look(live, &mut view).await?,
            _ = signals.next() => return Ok(()),
        }
    }
}

/// Asks whether the store has more.
async fn look(live: Option<Live>, view: &mut View) -> miette::Result<Option<Live>> {
    let Some(mut live) = live else { return Ok(None) };
    let seen = view.newest();
    let looking = tokio::task::spawn_blocking(move || (live.after(seen), live));
    let (news, live) = looking.await.map_err(|error| miette::miette!("{error}"))?;
    match news {
        Ok(News::Nothing) => {}
        Ok(News::Data(data)) => match serde_json::from_str(&data) {
            Ok(data) => view.follow(data),
            Err(error) => view.say(format!("cannot follow the store: {error}")),
        },
        Err(error) => view.say(format!("cannot follow the store: {error}")),
    }
    Ok(Some(live))
}
