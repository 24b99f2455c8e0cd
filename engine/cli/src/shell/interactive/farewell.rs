//! What becomes of changes that the server does not have yet, in words.
//!
//! Owns the sentences at the end of a shell, and the one about refused changes at its beginning. A change that was
//! refused is never said to be sent the next time, nor one that waits behind it.

use std::collections::BTreeSet;
use std::path::Path;

use landfall::{DataStore, Mutation, RecordKey, Stage};

use super::{WAITING_MAX, screen};

/// How many changes wait, and for what.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    /// For the server to be reached.
    unsent: usize,
    /// For a server that knows the schema, and those behind them.
    mismatched: usize,
    /// For somebody to decide, and those behind them.
    refused: usize,
}

impl Counts {
    fn of(waiting: &[Mutation]) -> Self {
        let mut counts = Self::default();
        let (mut mismatched, mut refused): (BTreeSet<&RecordKey>, BTreeSet<&RecordKey>) = Default::default();
        for mutation in waiting {
            if mutation.awaits_schema().is_some() {
                mismatched.insert(&mutation.key);
            } else if matches!(mutation.stage, Stage::Parked(_)) {
                refused.insert(&mutation.key);
            }
            if refused.contains(&mutation.key) {
                counts.refused += 1;
            } else if mismatched.contains(&mutation.key) {
                counts.mismatched += 1;
            } else {
                counts.unsent += 1;
            }
        }
        counts
    }
}

/// What is waited for before the end; nothing if nothing is on its way. `is_kept` says whether the store outlives the shell.
pub(super) fn sending(store: &DataStore, is_kept: bool) -> Option<String> {
    let waiting = store.outbox().list(WAITING_MAX).ok()?;
    waited_for(Counts::of(&waiting).unsent, is_kept)
}

fn waited_for(unsent: usize, is_kept: bool) -> Option<String> {
    let it = if unsent == 1 { "it" } else { "them" };
    let otherwise = if is_kept {
        format!("leaves {it} for the next start")
    } else {
        format!("gives {it} up with the temporary store")
    };
    (unsent > 0).then(|| format!("sending {}; Ctrl-C {otherwise}", changes(unsent)))
}

/// What becomes of what waits; nothing if nothing does.
pub(super) fn lines(store: &DataStore, kept_in: Option<&Path>) -> Vec<String> {
    let Ok(waiting) = store.outbox().list(WAITING_MAX) else {
        return vec!["what waits for the server cannot be read".to_owned()];
    };
    let Some(directory) = kept_in else {
        return match waiting.len() {
            0 => Vec::new(),
            count => vec![format!(
                "{} not sent, and gone with the temporary store; --data DIR keeps a store",
                changes(count)
            )],
        };
    };
    told(&Counts::of(&waiting), directory)
}

fn told(counts: &Counts, directory: &Path) -> Vec<String> {
    let directory = directory.display();
    let lines = [
        (
            counts.unsent,
            format!("not sent yet: kept in {directory}, and sent the next time"),
        ),
        (
            counts.mismatched,
            format!(
                "not sent, as the server runs another schema: kept in {directory}, and tried again once it runs this one"
            ),
        ),
        (
            counts.refused,
            format!(
                "not sent, as the server refused what is to go first: kept in {directory}; `outbox` says why, `retry`, \
                 `edit` or `discard` decides"
            ),
        ),
    ];
    let lines = lines.into_iter().filter(|(count, _)| *count > 0);
    lines
        .map(|(count, told)| format!("{} {told}", changes(count)))
        .collect()
}

/// Says that changes were refused, if some were: also those of an earlier run.
pub(super) fn say_refused(store: &DataStore) {
    match store.outbox().parked(WAITING_MAX).as_deref() {
        Ok([]) => {}
        Ok(refused) => screen::print(&format!(
            "{} refused by the server and kept: `outbox` says why, `retry`, `edit` or `discard` decides",
            up_to(refused.len())
        )),
        Err(_) => screen::print("what the server refused cannot be read"),
    }
}

/// So many changes, of which no more than [`WAITING_MAX`] are looked at.
fn up_to(count: usize) -> String {
    if count < WAITING_MAX {
        changes(count)
    } else {
        format!("{count} changes or more")
    }
}

fn changes(count: usize) -> String {
    if count == 1 {
        "1 change".to_owned()
    } else {
        format!("{count} changes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_stopped_says_so() {
        assert_eq!(up_to(1), "1 change");
        assert_eq!(up_to(WAITING_MAX - 1), format!("{} changes", WAITING_MAX - 1));
        assert_eq!(up_to(WAITING_MAX), format!("{WAITING_MAX} changes or more"));
    }

    #[test]
    fn who_has_to_wait_is_told_for_what_and_what_ctrl_c_does() {
        assert_eq!(waited_for(0, true), None);
        assert_eq!(
            waited_for(1, true).as_deref(),
            Some("sending 1 change; Ctrl-C leaves it for the next start")
        );
        assert_eq!(
            waited_for(2, false).as_deref(),
            Some("sending 2 changes; Ctrl-C gives them up with the temporary store")
        );
    }

    #[test]
    fn only_what_will_be_sent_is_said_to_be_sent() {
        let counts = Counts {
            unsent: 1,
            mismatched: 2,
            refused: 3,
        };
        let lines = told(&counts, Path::new("d"));
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("1 change not sent yet: kept in d, and sent the next time"));
        assert!(lines[1].starts_with("2 changes not sent, as the server runs another schema"));
        assert!(lines[2].starts_with("3 changes not sent, as the server refused"));
        assert!(!lines[1..].concat().contains("the next time"));
        assert_eq!(told(&Counts::default(), Path::new("d")), [] as [String; 0]);
    }
}
