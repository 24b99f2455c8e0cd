//! The journal of a store's log: the items of its frames are encoded entries (`codec/entry.rs`).
//!
//! Owns what links mean there: each entry is one, by its sequence number and its check in the log's own chain of checks, so
//! that a frame is of this log and no other. Whether an entry fits the records is for who appends it.

use landfall_core::Seq;

use super::frame::{Framed, Link};
use super::{Journal, frames_in};
use crate::codec;
use crate::error::StorageError;
use crate::store::LogHead;

/// An entry that was found in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) seq: Seq,
    pub(crate) bytes: Vec<u8>,
}

impl From<LogHead> for Link {
    fn from(head: LogHead) -> Self {
        Self {
            number: head.seq.0,
            check: head.check,
        }
    }
}

impl Journal {
    /// The entries that follow `head`, in order: those that a crash kept from the database, whose log ends with `head`
    /// as it was just opened. The next frame goes behind them.
    pub(crate) fn recover(&mut self, head: LogHead) -> Result<Vec<Found>, StorageError> {
        let found = self
            .recover_frames(head.into(), entries_of)
            .map_err(|broken| broken.in_words("entry", "the log ends with"))?;
        let found = found.into_iter().flatten();
        Ok(found.filter(|entry| entry.seq > head.seq).collect())
    }
}

/// The entries of the frames that lie behind each other from the start of a journal, as far as they are whole; for who
/// reads a journal that somebody else writes. They may be of any time: what they follow is in their checks.
pub(crate) fn entries_in(region: &[u8]) -> Vec<(Seq, Vec<u8>)> {
    let mut found = Vec::new();
    let mut end: Option<Link> = None;
    for frame in frames_in(region) {
        if end.is_some_and(|end| !frame.follows(end)) {
            break;
        }
        let Some((entries, last)) = entries_of(&frame) else {
            break;
        };
        found.extend(entries.into_iter().map(|entry| (entry.seq, entry.bytes)));
        end = Some(last);
    }
    found
}

/// The entries of a frame, and where the log ends with them; `None` if they are not what the header says.
fn entries_of(frame: &Framed) -> Option<(Vec<Found>, Link)> {
    let mut entries = Vec::new();
    let mut check = frame.previous_check();
    let mut seq = Seq(frame.first());
    for bytes in frame.items()? {
        check = codec::entry::verify(seq, bytes, check).ok()?;
        entries.push(Found {
            seq,
            bytes: bytes.to_vec(),
        });
        seq = seq.next();
    }
    let last = Link {
        number: entries.last()?.seq.0,
        check,
    };
    Some((entries, last))
}
