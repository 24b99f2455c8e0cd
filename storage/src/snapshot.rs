//! A view of one commit: records, mutations, cursors and the log as they were then.
//!
//! Owns [`Snapshot`]. Queries are in `query.rs`. Later commits do not change a snapshot, and it does not hold them up;
//! but pages that it still sees are not reused, so it should not be kept for long.

use std::ops::{Bound, ControlFlow, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{AccessGuard, ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata};

use landfall_core::{
    Base, Change, LogEntry, ModelName, Mutation, Quarantined, Record, RecordId, RecordKey, RecordState, Row,
    Schema, Seq, SyncCursor, SyncMetadata,
};

use crate::catalog::{Catalog, ModelEntry};
use crate::codec::{self, head::HeadRef, row};
use crate::error::StorageError;
use crate::panics::unless_it_panics;
use crate::rebuild::chain_start;
use crate::row_cache::{CacheView, Kept};
use crate::tables::{CURSORS, LOG, META, OUTBOX, RECORDS, record_key, record_key_of};

/// A consistent view of the newest commit at the time it was taken; `DataStore::snapshot` takes one.
pub struct Snapshot {
    transaction: ReadTransaction,
    catalog: Arc<Catalog>,
    records: ReadOnlyTable<&'static [u8], &'static [u8]>,
    /// Absent where the cache is not that of the snapshot's database.
    cache: Option<CacheView>,
    /// The file that it is of where the store itself knows none, since it was opened to be looked at.
    looked_at: Option<PathBuf>,
}

/// The head of a record, in memory or in a page.
pub(crate) enum FoundHead<'s> {
    Kept(Kept),
    Stored(AccessGuard<'s, &'static [u8]>),
}

impl FoundHead<'_> {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Kept(kept) => kept.bytes(),
            Self::Stored(guard) => guard.value(),
        }
    }

    /// The head where it is kept by itself, so that a record can hold it without copying.
    pub(crate) fn shared(&self) -> Option<&Arc<[u8]>> {
        match self {
            Self::Kept(Kept::Point(head)) => Some(head),
            Self::Kept(Kept::InRun(..)) | Self::Stored(_) => None,
        }
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Snapshot")
    }
}

impl Snapshot {
    pub(crate) fn new(
        transaction: ReadTransaction,
        catalog: Arc<Catalog>,
        cache: Option<CacheView>,
    ) -> Result<Self, StorageError> {
        let records = transaction.open_table(RECORDS)?;
        Ok(Self {
            transaction,
            catalog,
            records,
            cache,
            looked_at: None,
        })
    }

    /// Says which file it is of; for a store that was opened to be looked at.
    pub(crate) fn of_file(mut self, file: &Path) -> Self {
        self.looked_at = Some(file.to_owned());
        self
    }

    /// The file that it is of; `None` if it is of none.
    pub(crate) fn place(&self) -> Option<&Path> {
        self.looked_at.as_deref().or(self.catalog.file.as_deref())
    }

    /// Reads something; if the store is damaged there, the error says which file it is, also where the database panics.
    pub(crate) fn said<T>(&self, read: impl FnOnce() -> Result<T, StorageError>) -> Result<T, StorageError> {
        unless_it_panics(read).map_err(|error| error.in_file(self.catalog.file.as_deref()))
    }

    pub(crate) fn transaction(&self) -> &ReadTransaction {
        &self.transaction
    }

    pub(crate) fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    pub(crate) fn records(&self) -> &ReadOnlyTable<&'static [u8], &'static [u8]> {
        &self.records
    }

    pub(crate) fn cache(&self) -> Option<&CacheView> {
        self.cache.as_ref()
    }

    /// Reads everything from the database from now on.
    #[cfg(test)]
    pub(crate) fn forgo_cache(&mut self) {
        self.cache = None;
    }

    /// The head of a record, from memory if it is there.
    pub(crate) fn head(&self, key: &[u8]) -> Result<Option<FoundHead<'_>>, StorageError> {
        if let Some(kept) = self.cache.as_ref().and_then(|cache| cache.head(key)) {
            // What is asked for by its key again and again is found quicker by itself than among its neighbours.
            if let (Some(cache), Kept::InRun(..)) = (&self.cache, &kept) {
                cache.keep(key, kept.bytes());
            }
            return Ok(Some(FoundHead::Kept(kept)));
        }
        let Some(guard) = self.records.get(key)? else {
            return Ok(None);
        };
        if let Some(cache) = &self.cache {
            cache.keep(key, guard.value());
        }
        Ok(Some(FoundHead::Stored(guard)))
    }

    /// The schema in force.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.catalog.schema
    }

    /// The record of that identifier, if the app sees one.
    ///
    /// # Errors
    /// [`StorageError::UnknownModel`] and the disk's faults.
    pub fn get(&self, model: &str, id: &RecordId) -> Result<Option<Record>, StorageError> {
        self.said(|| {
            let model = self.catalog.model(model)?;
            let key = record_key_of(&model.def.name, id);
            match self.head(&key)? {
                Some(head) => record(model, &HeadRef::parse(head.bytes())?, head.shared()),
                None => Ok(None),
            }
        })
    }

    /// The values that a record was read with, whatever was done to it since; `None` if it was not read from a store.
    ///
    /// # Errors
    /// [`StorageError::UnknownModel`], [`StorageError::Corrupt`].
    pub fn values_read(&self, record: &Record) -> Result<Option<Row>, StorageError> {
        let model = self.catalog.model(&record.def().name)?;
        record.base().row().map(|row| model.decode(row)).transpose()
    }

    /// The same record, as if it had been read as it is now: a later save of a copy tells what was changed from here on.
    ///
    /// # Errors
    /// [`StorageError::UnknownModel`].
    pub fn as_read(&self, record: Record) -> Result<Record, StorageError> {
        let model = self.catalog.model(&record.def().name)?;
        let mut row = Vec::new();
        row::encode(&mut row, model.layout, record.values());
        Ok(record.with_base(Base::of_row(Arc::from(row))))
    }

    /// Everything that is known of a record: what the app sees, the server's record, pending mutations.
    ///
    /// # Errors
    /// [`StorageError::UnknownModel`] and the disk's faults.
    pub fn state(&self, key: &RecordKey) -> Result<RecordState, StorageError> {
        self.said(|| self.state_of(self.catalog.model(&key.model)?, &record_key(key)))
    }

    /// The same by the encoded key.
    pub(crate) fn state_at(&self, encoded_key: &[u8]) -> Result<RecordState, StorageError> {
        self.state_of(self.catalog.model_of_key(encoded_key)?, encoded_key)
    }

    fn state_of(&self, model: &ModelEntry, encoded_key: &[u8]) -> Result<RecordState, StorageError> {
        match self.records.get(encoded_key)? {
            Some(guard) => HeadRef::parse(guard.value())?.state(model, |seq| self.mutation(seq)),
            None => Ok(RecordState::default()),
        }
    }

    /// A pending mutation.
    ///
    /// # Errors
    /// The disk's faults.
    pub fn mutation(&self, seq: Seq) -> Result<Option<Mutation>, StorageError> {
        self.said(|| match self.transaction.open_table(OUTBOX)?.get(seq.0)? {
            Some(bytes) => Ok(Some(rmp_serde::from_slice(bytes.value())?)),
            None => Ok(None),
        })
    }

    /// Up to `limit` pending mutations after a position, oldest first.
    ///
    /// # Errors
    /// The disk's faults.
    pub fn pending(&self, after: Seq, limit: usize) -> Result<Vec<Mutation>, StorageError> {
        self.said(|| {
            let outbox = self.transaction.open_table(OUTBOX)?;
            let range = (Bound::Excluded(after.0), Bound::Unbounded);
            outbox
                .range::<u64>(range)?
                .take(limit)
                .map(|item| Ok(rmp_serde::from_slice(item?.1.value())?))
                .collect()
        })
    }

    /// The same, for those who go on without the ones that cannot be read: each with its position, or why it cannot.
    ///
    /// # Errors
    /// The disk's faults, but for damage within a mutation.
    #[allow(clippy::type_complexity)] // Two results, one within the other: the whole, and each.
    pub fn pending_each(
        &self,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<(Seq, Result<Mutation, StorageError>)>, StorageError> {
        self.said(|| {
            let outbox = self.transaction.open_table(OUTBOX)?;
            let range = (Bound::Excluded(after.0), Bound::Unbounded);
            let each = outbox.range::<u64>(range)?.take(limit).map(|item| {
                let (seq, bytes) = item?;
                Ok((
                    Seq(seq.value()),
                    rmp_serde::from_slice(bytes.value()).map_err(StorageError::from),
                ))
            });
            each.collect()
        })
    }

    /// Where the oldest pending mutation is, whether it can be read or not.
    pub(crate) fn oldest_pending(&self) -> Result<Option<Seq>, StorageError> {
        self.said(|| {
            let outbox = self.transaction.open_table(OUTBOX)?;
            Ok(outbox.first()?.map(|(seq, _)| Seq(seq.value())))
        })
    }

    /// Number of pending mutations, parked ones included.
    ///
    /// # Errors
    /// The disk's faults.
    pub fn pending_len(&self) -> Result<u64, StorageError> {
        self.said(|| Ok(self.transaction.open_table(OUTBOX)?.len()?))
    }

    /// Where sync of a model has got.
    ///
    /// # Errors
    /// The disk's faults.
    pub fn cursor(&self, model: &ModelName) -> Result<SyncCursor, StorageError> {
        self.said(
            || match self.transaction.open_table(CURSORS)?.get(model.as_str())? {
                Some(bytes) => Ok(rmp_serde::from_slice(bytes.value())?),
                None => Ok(SyncCursor::default()),
            },
        )
    }

    /// Up to `limit` log entries from the given positions, oldest first.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] for an unreadable entry, and the disk's faults.
    pub fn log(&self, range: impl RangeBounds<u64>, limit: usize) -> Result<Vec<LogEntry>, StorageError> {
        self.said(|| {
            let log = self.transaction.open_table(LOG)?;
            log.range::<u64>(range)?
                .take(limit)
                .map(|item| {
                    let (seq, bytes) = item?;
                    codec::entry::decode(Seq(seq.value()), bytes.value())
                })
                .collect()
        })
    }

    /// What the entries from `first` on say was set aside, newest first, until `each` says to stop. Other entries are
    /// passed over without reading them, and so are those that cannot be read.
    ///
    /// # Errors
    /// The disk's faults.
    pub fn quarantined(
        &self,
        first: Seq,
        mut each: impl FnMut(Quarantined) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        self.said(|| {
            let log = self.transaction.open_table(LOG)?;
            for item in log.range(first.0..)?.rev() {
                let (seq, bytes) = item?;
                if !codec::entry::peek(bytes.value()).is_some_and(|peek| peek.is_quarantined()) {
                    continue;
                }
                if let Ok(entry) = codec::entry::decode(Seq(seq.value()), bytes.value())
                    && let Change::Quarantined(bad) = entry.change
                    && each(bad).is_break()
                {
                    break;
                }
            }
            Ok(())
        })
    }

    /// The newest entry of the log and its check, which stands for the whole log up to it.
    ///
    /// # Errors
    /// The disk's faults.
    pub fn head_and_check(&self) -> Result<(Seq, u32), StorageError> {
        self.said(|| {
            let (start, check) = chain_start(&self.transaction.open_table(META)?)?;
            let log = self.transaction.open_table(LOG)?;
            Ok(match log.last()? {
                Some((seq, bytes)) => (
                    Seq(seq.value()),
                    codec::entry::stored_check(bytes.value()).unwrap_or_default(),
                ),
                None => (Seq(start.0.saturating_sub(1)), check),
            })
        })
    }

    /// Position of the first and of the newest entry in the log; the newest is [`Seq::ZERO`] in an empty one.
    ///
    /// # Errors
    /// The disk's faults.
    pub fn log_bounds(&self) -> Result<(Seq, Seq), StorageError> {
        self.said(|| {
            let (start, _) = chain_start(&self.transaction.open_table(META)?)?;
            let newest = self
                .transaction
                .open_table(LOG)?
                .last()?
                .map_or(Seq::ZERO, |(seq, _)| Seq(seq.value()));
            Ok((start, newest))
        })
    }

    /// Replays the log beside the store and compares; see [`crate::verify`].
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if the log itself is damaged; [`StorageError::NoRoomToVerify`].
    pub fn verify(&self) -> Result<crate::Verification, StorageError> {
        self.said(|| crate::rebuild::verify(self))
    }
}

/// The visible record of a head, with the row it was read from; `shared` are the bytes of the head, if they are kept.
pub(crate) fn record(
    model: &ModelEntry,
    head: &HeadRef<'_>,
    shared: Option<&Arc<[u8]>>,
) -> Result<Option<Record>, StorageError> {
    let (Some(row), Some(place)) = (head.row, head.row_place()) else {
        return Ok(None);
    };
    let base = match shared {
        Some(bytes) => Base::within(Arc::clone(bytes), place),
        None => Base::of_row(Arc::from(row)),
    };
    record_with(model, row, head.sync, base).map(Some)
}

/// The record of an encoded row, which it carries along.
pub(crate) fn record_of(
    model: &ModelEntry,
    row: &[u8],
    sync: Option<SyncMetadata>,
) -> Result<Record, StorageError> {
    record_with(model, row, sync, Base::of_row(Arc::from(row)))
}

fn record_with(
    model: &ModelEntry,
    row: &[u8],
    sync: Option<SyncMetadata>,
    base: Base,
) -> Result<Record, StorageError> {
    let values = model.decode(row)?;
    Ok(Record::new(Arc::clone(&model.def), values)
        .with_sync(sync)
        .with_base(base))
}
