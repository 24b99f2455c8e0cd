//! Which entries the log keeps.
//!
//! Owns [`Retention`] and where it cuts. Cutting is `store/trim.rs`, what is cut off lives on in `base.rs`.

use redb::ReadableTable;

use landfall_core::Seq;

use crate::codec::entry::peek;
use crate::error::StorageError;
use crate::snapshot::Snapshot;
use crate::tables::LOG;

/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// What the log keeps. Each limit that is set takes away what lies beyond it; without one everything is kept. Ours;
/// Amplify has no log.
///
/// Whatever the limits, the newest entry stays, and so does everything since the oldest change that waits for the server.
///
/// ```
/// use landfall_storage::Retention;
///
/// let month_or_million = Retention::everything().days(30).entries(1_000_000);
/// assert_ne!(month_or_million, Retention::everything());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    entries: Option<u64>,
    age_ms: Option<i64>,
    bytes: Option<u64>,
    through: Option<Seq>,
}

impl Retention {
    /// Nothing is ever taken away.
    pub const fn everything() -> Self {
        Self {
            entries: None,
            age_ms: None,
            bytes: None,
            through: None,
        }
    }

    /// At most so many of the newest entries.
    #[must_use]
    pub const fn entries(mut self, entries: u64) -> Self {
        self.entries = Some(entries);
        self
    }

    /// Entries of the last so many days, by the clock of this machine when they were made.
    #[must_use]
    pub const fn days(mut self, days: u32) -> Self {
        self.age_ms = Some((days as i64).saturating_mul(DAY_MS));
        self
    }

    /// The newest entries that fit into so many bytes, as they are encoded.
    #[must_use]
    pub const fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// Whatever the limits, everything after this entry stays: for whoever takes away a part at a time, as
    /// `Retention::everything().entries(0).through(seq)` does.
    #[must_use]
    pub const fn through(mut self, seq: Seq) -> Self {
        self.through = Some(seq);
        self
    }

    /// The last entry that goes; `None` if all stay.
    pub(crate) fn cut(&self, snapshot: &Snapshot, now_ms: i64) -> Result<Option<Seq>, StorageError> {
        let (start, end) = snapshot.log_bounds()?;
        let mut cut = 0;
        if let Some(entries) = self.entries {
            cut = end.0.saturating_sub(entries);
        }
        if let Some(age_ms) = self.age_ms {
            cut = cut.max(older_than(snapshot, now_ms.saturating_sub(age_ms))?);
        }
        if let Some(bytes) = self.bytes {
            cut = cut.max(beyond(snapshot, bytes)?);
        }
        cut = cut.min(end.0.saturating_sub(1));
        if let Some(through) = self.through {
            cut = cut.min(through.0);
        }
        // A change that cannot be read is needed like any other; its place says up to where.
        if let Some(oldest) = snapshot.oldest_pending()? {
            cut = cut.min(oldest.0.saturating_sub(1));
        }
        Ok((cut >= start.0).then_some(Seq(cut)))
    }
}

impl Snapshot {
    /// How many entries a trim by this policy would take away.
    ///
    /// # Errors
    /// The disk's faults.
    pub fn trimmable(&self, retention: &Retention, now_ms: i64) -> Result<u64, StorageError> {
        self.said(|| {
            let (start, _) = self.log_bounds()?;
            let cut = retention.cut(self, now_ms)?;
            Ok(cut.map_or(0, |cut| cut.0 + 1 - start.0))
        })
    }
}

/// The last of the first entries that were made before a time. Clocks go wrong, so one that was not ends the search.
fn older_than(snapshot: &Snapshot, time_ms: i64) -> Result<u64, StorageError> {
    let log = snapshot.transaction().open_table(LOG)?;
    let mut cut = 0;
    for item in log.iter()? {
        let (seq, bytes) = item?;
        if peek(bytes.value()).is_none_or(|peek| peek.at_ms >= time_ms) {
            break;
        }
        cut = seq.value();
    }
    Ok(cut)
}

/// The newest entry that does not fit any more if the newest ones take at most so many bytes.
fn beyond(snapshot: &Snapshot, bytes_max: u64) -> Result<u64, StorageError> {
    let log = snapshot.transaction().open_table(LOG)?;
    let mut sum = 0_u64;
    for item in log.iter()?.rev() {
        let (seq, bytes) = item?;
        sum = sum.saturating_add(bytes.value().len() as u64);
        if sum > bytes_max {
            return Ok(seq.value());
        }
    }
    Ok(0)
}
