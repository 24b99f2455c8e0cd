//! Making digests: of the blocks that a log has filled, of a log that is written anew, and once more to compare.
//!
//! Owns [`Maker`], [`Due`] and [`Verifier`]. Making is kept out of what a save waits for: [`Due`] is found in a snapshot after a
//! checkpoint, and written by a commit of its own that may fail.

use redb::{
    ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, TableError, TableHandle,
    WriteTransaction,
};

use landfall_core::Seq;

use super::{
    About, Digest, Hashed, MARKED, Sought, UNREAD, about, block_of, filter_of, first_of, full_blocks, last_of,
};
use crate::codec::entry::{stored_check, verify};
use crate::error::StorageError;
use crate::panics::unless_it_panics;
use crate::rebuild::chain_start;
use crate::tables::{DIGESTS, LOG, META};

/// Most digests that are made after one checkpoint: more than the entries between two checkpoints fill, and few enough to be
/// made in some tens of milliseconds. A store of an older program gets its digests over several checkpoints.
pub(crate) const MADE_AT_ONCE_MAX: u64 = 64;

/// Makes a digest of each block from the entries of a log, which are handed over in order.
#[derive(Debug)]
pub(crate) struct Maker {
    /// The check of the entry that was handed over last.
    check: u32,
    /// The check of the last entry before the block.
    before: u32,
    records: Vec<Hashed>,
    is_marked: bool,
}

impl Maker {
    /// For a log, or a part of it that begins with a block, behind an entry with that check.
    pub(crate) fn after(check: u32) -> Self {
        Self {
            check,
            before: check,
            records: Vec::new(),
            is_marked: false,
        }
    }

    /// Takes the next entry, of which is known that it follows the one before. Returns the number and the digest of its block
    /// if it is the last of that.
    pub(crate) fn take(&mut self, seq: Seq, bytes: &[u8]) -> Option<(u64, Vec<u8>)> {
        let block = self.note(seq, bytes)?;
        let made = Digest {
            before: self.before,
            last: self.check,
            marks: if self.is_marked { MARKED } else { 0 },
            filter: &filter_of(&mut self.records),
        }
        .write(block);
        self.begin_next();
        Some((block, made))
    }

    /// Notes what an entry is about. Returns the block that it is the last of, if it is.
    fn note(&mut self, seq: Seq, bytes: &[u8]) -> Option<u64> {
        match about(bytes) {
            About::Record(record) => self.records.push(record),
            About::Marked => self.is_marked = true,
            About::Nothing => {}
        }
        match stored_check(bytes) {
            Some(check) => self.check = check,
            None => self.is_marked = true,
        }
        let block = block_of(seq);
        (seq == last_of(block)).then_some(block)
    }

    fn begin_next(&mut self) {
        self.before = self.check;
        self.records.clear();
        self.is_marked = false;
    }
}

type Digests = ReadOnlyTable<u64, &'static [u8]>;

/// The digests as they are in a snapshot; `None` if there never were any.
pub(crate) fn of(transaction: &ReadTransaction) -> Result<Option<Digests>, StorageError> {
    match transaction.open_table(DIGESTS) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Writes the digest of a block.
pub(crate) fn insert(
    transaction: &WriteTransaction,
    (block, digest): (u64, Vec<u8>),
) -> Result<(), StorageError> {
    transaction
        .open_table(DIGESTS)?
        .insert(block, digest.as_slice())?;
    Ok(())
}

/// Takes all digests away, of a log that is cleared or written anew.
pub(crate) fn forget(transaction: &WriteTransaction) -> Result<(), StorageError> {
    transaction.delete_table(DIGESTS)?;
    Ok(())
}

/// Takes away the digests of blocks of which a log that starts there has no entry.
pub(crate) fn forget_before(transaction: &WriteTransaction, start: Seq) -> Result<(), StorageError> {
    // Opening the table would make it.
    if transaction
        .list_tables()?
        .any(|table| table.name() == DIGESTS.name())
    {
        transaction
            .open_table(DIGESTS)?
            .retain_in(..block_of(start), |_, _| false)?;
    }
    Ok(())
}

/// What there is to write so that full blocks have digests.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// Whether those that there are belong to another log.
    are_stale: bool,
    /// The first entry of the log, if there are digests of blocks before it.
    forget_before: Option<Seq>,
    made: Vec<(u64, Vec<u8>)>,
    /// The first block that has none once this is written.
    next: u64,
}

impl Due {
    /// Looks at what a database shows, and makes the oldest digests that it lacks, at most [`MADE_AT_ONCE_MAX`].
    ///
    /// # Errors
    /// The disk's faults. Damage is none: a block that cannot be read gets a digest that says so, and is not tried again.
    pub(crate) fn find(database: &impl ReadableDatabase) -> Result<Self, StorageError> {
        unless_it_panics(|| Self::find_in(&database.begin_read()?))
    }

    fn find_in(transaction: &ReadTransaction) -> Result<Self, StorageError> {
        let chain = chain_start(&transaction.open_table(META)?)?;
        let log = transaction.open_table(LOG)?;
        let newest = log.last()?.map(|(seq, _)| Seq(seq.value()));
        let full = newest.map_or(0, full_blocks);
        let mut due = Self {
            next: block_of(chain.0),
            ..Self::default()
        };
        if let Some(digests) = of(transaction)? {
            due.go_on_from(&digests, &log, chain.0, full)?;
        }
        let end = full.min(due.next.saturating_add(MADE_AT_ONCE_MAX));
        while due.next < end {
            let block = due.next;
            let made = match unless_it_panics(|| digest_of(block, &log, chain)) {
                Err(StorageError::Corrupt { what, .. }) => {
                    tracing::debug!(block, what, "a block of the log is damaged, and gets no digest");
                    unread(block)
                }
                made => made?,
            };
            due.made.push((block, made));
            due.next += 1;
        }
        Ok(due)
    }

    /// Finds out behind which block digests are lacking, and whether those that there are speak of this log.
    fn go_on_from(
        &mut self,
        digests: &Digests,
        log: &impl ReadableTable<u64, &'static [u8]>,
        start: Seq,
        full: u64,
    ) -> Result<(), StorageError> {
        let Some((block, bytes)) = digests.last()? else {
            return Ok(());
        };
        let block = block.value();
        if block < self.next {
            self.forget_before = Some(start);
            return Ok(());
        }
        match Digest::read(block, bytes.value()) {
            // It is made once more.
            None if block < full => self.next = block,
            Some(digest)
                if block < full && (digest.marks & UNREAD != 0 || is_there(log, block, &digest)?) =>
            {
                self.next = block + 1;
            }
            None | Some(_) => self.are_stale = true,
        }
        let oldest = digests.first()?;
        if oldest.is_some_and(|(oldest, _)| oldest.value() < block_of(start)) {
            self.forget_before = Some(start);
        }
        Ok(())
    }

    /// The first block that has no digest once this is written.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Whether everything is as it should be.
    pub(crate) fn is_nothing(&self) -> bool {
        !self.are_stale && self.forget_before.is_none() && self.made.is_empty()
    }

    pub(crate) fn write(self, transaction: &WriteTransaction) -> Result<(), StorageError> {
        if self.are_stale {
            forget(transaction)?;
        } else if let Some(start) = self.forget_before {
            forget_before(transaction, start)?;
        }
        for made in self.made {
            insert(transaction, made)?;
        }
        Ok(())
    }
}

/// Whether the last entry of a block is the one that a digest speaks of.
pub(super) fn is_there(
    log: &impl ReadableTable<u64, &'static [u8]>,
    block: u64,
    digest: &Digest<'_>,
) -> Result<bool, StorageError> {
    let last = log.get(last_of(block).0)?;
    Ok(last.is_some_and(|bytes| stored_check(bytes.value()) == Some(digest.last)))
}

/// The digest of a full block of a log that starts with that entry, behind one of that check.
fn digest_of(
    block: u64,
    log: &impl ReadableTable<u64, &'static [u8]>,
    (start, start_check): (Seq, u32),
) -> Result<Vec<u8>, StorageError> {
    let broken = || StorageError::corrupt(format!("entries of block {block} are missing"));
    let first = first_of(block).max(start);
    let mut check = if first == start {
        start_check
    } else {
        let before = log.get(first.0 - 1)?.ok_or_else(broken)?;
        stored_check(before.value()).ok_or_else(broken)?
    };
    let mut maker = Maker::after(check);
    let mut expected = first;
    for item in log.range(first.0..=last_of(block).0)? {
        let (seq, bytes) = item?;
        if seq.value() != expected.0 {
            break;
        }
        check = verify(expected, bytes.value(), check)?;
        if let Some((_, made)) = maker.take(expected, bytes.value()) {
            return Ok(made);
        }
        expected = expected.next();
    }
    Err(broken())
}

/// Says of a block that it has to be read.
fn unread(block: u64) -> Vec<u8> {
    Digest {
        before: 0,
        last: 0,
        marks: MARKED | UNREAD,
        filter: &[0],
    }
    .write(block)
}

/// Holds the digests of a snapshot to its log, whose entries are handed over in order.
pub(crate) struct Verifier {
    digests: Option<Digests>,
    /// Why none of them can be read, until that is told.
    unreadable: Option<String>,
    maker: Maker,
    start: Seq,
}

impl Verifier {
    /// For the whole log of a snapshot, which starts with an entry behind one of that check.
    pub(crate) fn of(transaction: &ReadTransaction, (start, check): (Seq, u32)) -> Self {
        let (digests, unreadable) = match unless_it_panics(|| of(transaction)) {
            Ok(digests) => (digests, None),
            Err(error) => (None, Some(error.gist())),
        };
        Self {
            digests,
            unreadable,
            maker: Maker::after(check),
            start,
        }
    }

    /// Takes the next entry, which follows the one before. Returns what is wrong with the digest of its block, if it is the last
    /// of that.
    pub(crate) fn take(&mut self, seq: Seq, bytes: &[u8]) -> Option<String> {
        if let Some(why) = self.unreadable.take() {
            return Some(format!("the digests of the log cannot be read: {why}"));
        }
        let digests = self.digests.as_ref()?;
        let block = self.maker.note(seq, bytes)?;
        let wrong = unless_it_panics(|| {
            Ok(digests.get(block)?.and_then(|bytes| {
                Digest::read(block, bytes.value())
                    .map_or(Some("makes no sense"), |digest| self.wrong_with(block, &digest))
            }))
        });
        self.maker.begin_next();
        let name = || format!("the digest of {} to {seq}", first_of(block).max(Seq(1)));
        match wrong {
            Ok(wrong) => wrong.map(|wrong| format!("{} {wrong}", name())),
            Err(error) => Some(format!("{} cannot be read: {}", name(), error.gist())),
        }
    }

    fn wrong_with(&self, block: u64, digest: &Digest<'_>) -> Option<&'static str> {
        let maker = &self.maker;
        if digest.marks & UNREAD != 0 || digest.last != maker.check {
            // Nobody believes it.
            return None;
        }
        // Of a block whose beginning was trimmed, what was before it is not known any more.
        let is_whole = block_of(self.start) != block || self.start <= first_of(block).max(Seq(1));
        if is_whole && digest.before != maker.before {
            return Some("goes on from other entries than its block");
        }
        let is_hidden = |record: &Hashed| !digest.may_have(Sought::Record(*record));
        let hides = (maker.is_marked && digest.marks == 0) || maker.records.iter().any(is_hidden);
        hides.then_some("hides an entry")
    }
}
