//! Which parts of a log a question can pass over.
//!
//! Owns [`stretches`] and [`Kept`]. Invariant: only blocks are passed over whose digests are believed and say that there is
//! nothing; whatever goes wrong here, more is read, not less.

use landfall_core::Seq;
use redb::ReadTransaction;

use super::made::{Maker, is_there, of};
use super::{Digest, Sought, UNREAD, block_of, first_of, last_of};
use crate::error::StorageError;
use crate::panics::unless_it_panics;
use crate::tables::LOG;

/// Most digests that are kept in memory, some ten megabytes. Of a log with more blocks the rest is read.
const KEPT_MAX: usize = 8_192;

/// What of the log of a snapshot, from one entry to another, has to be read to find everything that is sought: stretches from an
/// entry to another, in order, with others between them.
pub(crate) fn stretches(
    transaction: &ReadTransaction,
    sought: Sought,
    first: Seq,
    last: Seq,
) -> Vec<(Seq, Seq)> {
    let mut walk = Walk::new(sought);
    if let Err(error) = unless_it_panics(|| walk.snapshot(transaction, first, last)) {
        // What was passed over before that was so for good reasons.
        tracing::debug!(%error, "the digests of the log cannot be read; it is read itself");
    }
    walk.left(first, last)
}

/// The digests of a log that is in no store, made while it was copied.
#[derive(Debug, Default)]
pub(crate) struct Kept(Vec<(u64, Vec<u8>)>);

impl Kept {
    /// Takes what the maker makes of an entry.
    pub(crate) fn take(&mut self, maker: &mut Maker, seq: Seq, bytes: &[u8]) {
        if let Some(made) = maker.take(seq, bytes)
            && self.0.len() < KEPT_MAX
        {
            self.0.push(made);
        }
    }

    /// As [`stretches`], of that log.
    pub(crate) fn stretches(&self, sought: Sought, first: Seq, last: Seq) -> Vec<(Seq, Seq)> {
        let mut walk = Walk::new(sought);
        let blocks = block_of(first)..=block_of(last);
        for (block, bytes) in self.0.iter().rev().filter(|(block, _)| blocks.contains(block)) {
            // They were made of this very log.
            let walked = walk.block(*block, bytes, |_| Ok(true));
            walked.expect("nothing was read");
        }
        walk.left(first, last)
    }
}

/// Goes through digests, from the newest to the oldest.
struct Walk {
    sought: Sought,
    /// The block that the last digest goes on from, and the check of its last entry, if that digest was believed.
    vouched: Option<(u64, u32)>,
    /// Blocks that need not be read.
    passed: Vec<u64>,
}

impl Walk {
    fn new(sought: Sought) -> Self {
        Self {
            sought,
            vouched: None,
            passed: Vec::new(),
        }
    }

    fn snapshot(&mut self, transaction: &ReadTransaction, first: Seq, last: Seq) -> Result<(), StorageError> {
        let Some(digests) = of(transaction)? else {
            return Ok(());
        };
        let log = transaction.open_table(LOG)?;
        for item in digests.range(block_of(first)..=block_of(last))?.rev() {
            let (block, bytes) = item?;
            let block = block.value();
            self.block(block, bytes.value(), |digest| is_there(&log, block, digest))?;
        }
        Ok(())
    }

    fn block(
        &mut self,
        block: u64,
        bytes: &[u8],
        is_there: impl FnOnce(&Digest<'_>) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        let vouched = self.vouched.take();
        let Some(digest) = Digest::read(block, bytes).filter(|digest| digest.marks & UNREAD == 0) else {
            return Ok(());
        };
        let is_believed = match vouched {
            Some((number, check)) if number == block => check == digest.last,
            _ => is_there(&digest)?,
        };
        if is_believed {
            self.vouched = block.checked_sub(1).map(|before| (before, digest.before));
            if !digest.may_have(self.sought) {
                self.passed.push(block);
            }
        }
        Ok(())
    }

    /// What is left of a log when the blocks are passed over.
    fn left(&self, first: Seq, last: Seq) -> Vec<(Seq, Seq)> {
        let mut left = Vec::new();
        let mut next = first;
        for block in self.passed.iter().rev() {
            let begins = first_of(*block);
            if begins > next {
                left.push((next, Seq(begins.0 - 1)));
            }
            next = last_of(*block).next();
        }
        if next <= last {
            left.push((next, last));
        }
        left
    }
}
