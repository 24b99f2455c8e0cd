//! Projections from the log alone: made again, or compared with those in force.
//!
//! Owns [`rebuild`] and [`verify`].

use std::cell::RefCell;
use std::cmp::Ordering;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use redb::{Database, Durability, Key, ReadOnlyTable, ReadableDatabase, ReadableTable, WriteTransaction};
use serde::de::DeserializeOwned;

use landfall_core::{Mutation, Seq, SyncCursor};

use crate::base;
use crate::catalog::Catalog;
use crate::codec;
use crate::digest;
use crate::error::StorageError;
use crate::panics::unless_it_panics;
use crate::projections::Projections;
use crate::scratch::Scratch;
use crate::snapshot::Snapshot;
use crate::tables::{BASE, CURSORS, IN_FLIGHT, INDEX, LOG, META, OUTBOX, RECORDS, meta};

/// What [`verify`], and so `DataStore::snapshot()?.verify()`, found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Entries replayed.
    pub entries: u64,
    /// Records compared.
    pub records: u64,
    /// Differences between the projections in force and those replayed, at most [`DIFFERENCES_MAX`]; empty if they agree.
    pub differences: Vec<String>,
}

/// Most differences that are listed; one is enough to know that something is wrong, a few help to see what.
pub const DIFFERENCES_MAX: usize = 20;

/// Replays the log into emptied projections. Returns the number of entries.
pub(crate) fn rebuild(transaction: &WriteTransaction, catalog: &Arc<Catalog>) -> Result<u64, StorageError> {
    transaction.delete_table(RECORDS)?;
    transaction.delete_table(OUTBOX)?;
    transaction.delete_table(IN_FLIGHT)?;
    transaction.delete_table(INDEX)?;
    transaction.delete_table(CURSORS)?;
    digest::forget(transaction)?;
    let mut projections = Projections::make(transaction, &Rc::default())?;
    let log = transaction.open_table(LOG)?;
    let start = chain_start(&transaction.open_table(META)?)?;
    let mut project = |seq: Seq, bytes: &[u8]| -> Result<ControlFlow<()>, StorageError> {
        projections.project(catalog, &codec::entry::decode_known(seq, bytes)?)?;
        Ok(ControlFlow::Continue(()))
    };
    base::each(&transaction.open_table(BASE)?, start.0, &mut project)?;
    let mut digests = digest::Maker::after(start.1);
    replay(&log, start, |seq, bytes| {
        if let Some(made) = digests.take(seq, bytes) {
            digest::insert(transaction, made)?;
        }
        project(seq, bytes).map(drop)
    })
}

/// Replays the log of a snapshot into a scratch store and compares.
///
/// Beside a store in a directory that is a file without a name, which takes as much room as the records and what goes with them for as
/// long as this lasts, and some megabytes of memory. Beside other stores it is in memory.
///
/// # Errors
/// [`StorageError::Corrupt`] if the log itself is damaged; [`StorageError::NoRoomToVerify`].
pub fn verify(snapshot: &Snapshot) -> Result<Verification, StorageError> {
    verify_while(snapshot, &|| true)
}

/// The same for as long as it may go on; [`StorageError::Closed`] then.
pub(crate) fn verify_while(
    snapshot: &Snapshot,
    goes_on: &dyn Fn() -> bool,
) -> Result<Verification, StorageError> {
    verify_in(&Scratch::beside(snapshot.place())?, snapshot, goes_on)
}

/// The same in a database that is empty.
pub(crate) fn verify_in(
    scratch: &Scratch,
    snapshot: &Snapshot,
    goes_on: &dyn Fn() -> bool,
) -> Result<Verification, StorageError> {
    let mut found = Verification::default();
    scratch.within(|database| fill(database, snapshot, goes_on, &mut found))?;
    let replayed = Snapshot::new(
        scratch.database().begin_read()?,
        Arc::clone(snapshot.catalog()),
        None,
    )?;
    compare_all(snapshot, &replayed, goes_on, &mut found)?;
    Ok(found)
}

/// Makes the projections that the log of a snapshot makes.
fn fill(
    scratch: &Database,
    snapshot: &Snapshot,
    goes_on: &dyn Fn() -> bool,
    found: &mut Verification,
) -> Result<(), StorageError> {
    let catalog = snapshot.catalog();
    let mut transaction = scratch.begin_write()?;
    transaction.set_durability(Durability::None)?;
    {
        let mut projections = Projections::make(&transaction, &Rc::default())?;
        let start = chain_start(&snapshot.transaction().open_table(META)?)?;
        let mut project = |seq: Seq, bytes: &[u8]| -> Result<ControlFlow<()>, StorageError> {
            unless_over(goes_on)?;
            projections.project(catalog, &codec::entry::decode_known(seq, bytes)?)?;
            Ok(ControlFlow::Continue(()))
        };
        if let Some(based) = base::of(snapshot.transaction())? {
            base::each(&based, start.0, &mut project)?;
        }
        let log = snapshot.transaction().open_table(LOG)?;
        let mut digests = digest::Verifier::of(snapshot.transaction(), start);
        found.entries = replay(&log, start, |seq, bytes| {
            if let Some(wrong) = digests.take(seq, bytes) {
                note(found, || wrong);
            }
            project(seq, bytes).map(drop)
        })?;
    }
    transaction.commit()?;
    Ok(())
}

fn unless_over(goes_on: &dyn Fn() -> bool) -> Result<(), StorageError> {
    if goes_on() {
        Ok(())
    } else {
        Err(StorageError::Closed)
    }
}

fn compare_all(
    ours: &Snapshot,
    theirs: &Snapshot,
    goes_on: &dyn Fn() -> bool,
    found: &mut Verification,
) -> Result<(), StorageError> {
    let (our, their) = (ours.transaction(), theirs.transaction());
    let mut records = 0;
    // Rows are compared by value, since their layouts may differ.
    as_far_as_readable("the records", found, |found, last| {
        walk_both(
            &our.open_table(RECORDS)?,
            &their.open_table(RECORDS)?,
            |key, side, _| {
                unless_over(goes_on)?;
                last.replace(text(key));
                records += 1;
                let name = || format!("record {}", text(key));
                match side {
                    Side::Both => compare_states(key, ours, theirs, name, found)?,
                    alone => note(found, || alone.tell(&name())),
                }
                Ok(())
            },
        )
    })?;
    found.records = records;
    as_far_as_readable("the indexes", found, |found, last| {
        walk_both(
            &our.open_table(INDEX)?,
            &their.open_table(INDEX)?,
            |key, side, _| {
                unless_over(goes_on)?;
                last.replace(text(key));
                if side != Side::Both {
                    note(found, || side.tell(&format!("index entry {}", text(key))));
                }
                Ok(())
            },
        )
    })?;
    compare_outbox(ours, theirs, found)?;
    as_far_as_readable("the sync cursors", found, |found, last| {
        walk_both(
            &our.open_table(CURSORS)?,
            &their.open_table(CURSORS)?,
            |model, side, values| {
                last.replace(model.to_owned());
                compare_decoded::<SyncCursor>(&format!("sync cursor of {model}"), side, values, found);
                Ok(())
            },
        )
    })
}

fn compare_outbox(ours: &Snapshot, theirs: &Snapshot, found: &mut Verification) -> Result<(), StorageError> {
    let (our, their) = (ours.transaction(), theirs.transaction());
    as_far_as_readable("the mutations that wait", found, |found, last| {
        walk_both(
            &our.open_table(OUTBOX)?,
            &their.open_table(OUTBOX)?,
            |seq, side, values| {
                last.replace(Seq(seq).to_string());
                compare_decoded::<Mutation>(&format!("pending mutation {}", Seq(seq)), side, values, found);
                Ok(())
            },
        )
    })?;
    as_far_as_readable("the mutations on their way", found, |found, last| {
        walk_both(
            &our.open_table(IN_FLIGHT)?,
            &their.open_table(IN_FLIGHT)?,
            |seq, side, _| {
                last.replace(Seq(seq).to_string());
                if side != Side::Both {
                    note(found, || side.tell(&format!("the way of mutation {}", Seq(seq))));
                }
                Ok(())
            },
        )
    })
}

/// Compares a table up to the page of it that is damaged, if one is; `last` is what was looked at before.
fn as_far_as_readable(
    what: &str,
    found: &mut Verification,
    compare: impl FnOnce(&mut Verification, &RefCell<String>) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let last = RefCell::default();
    match unless_it_panics(|| compare(found, &last)) {
        Err(StorageError::Corrupt { what: why, .. }) => {
            let last = last.into_inner();
            let place = if last.is_empty() {
                String::new()
            } else {
                format!(" after {last}")
            };
            note(found, || format!("{what} cannot be read{place}: {why}"));
            Ok(())
        }
        compared => compared,
    }
}

/// Where an entry of a projection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Store,
    Log,
    Both,
}

impl Side {
    fn tell(self, what: &str) -> String {
        match self {
            Self::Store => format!("{what} is in the store, but the log does not make it"),
            Self::Log => format!("{what} is made by the log, but is not in the store"),
            Self::Both => format!("{what} is in the store, but the log makes another"),
        }
    }
}

/// Visits the keys of two tables in order, each key once, with the values at it.
fn walk_both<K: Key + 'static, V: redb::Value + 'static>(
    ours: &ReadOnlyTable<K, V>,
    theirs: &ReadOnlyTable<K, V>,
    mut visit: impl for<'a> FnMut(K::SelfType<'a>, Side, [Option<V::SelfType<'a>>; 2]) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let (mut ours, mut theirs) = (ours.iter()?, theirs.iter()?);
    let (mut our, mut their) = (ours.next().transpose()?, theirs.next().transpose()?);
    loop {
        let order = match (&our, &their) {
            (None, None) => return Ok(()),
            (Some((a, _)), Some((b, _))) => {
                K::compare(K::as_bytes(&a.value()).as_ref(), K::as_bytes(&b.value()).as_ref())
            }
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
        };
        {
            let values = [our.as_ref(), their.as_ref()].map(|item| item.map(|(_, value)| value.value()));
            match (&our, &their, order) {
                (Some((key, _)), _, Ordering::Less) => visit(key.value(), Side::Store, values)?,
                (Some((key, _)), _, Ordering::Equal) => visit(key.value(), Side::Both, values)?,
                (_, Some((key, _)), _) => visit(key.value(), Side::Log, values)?,
                (_, None, _) => {}
            }
        }
        if order.is_le() {
            our = ours.next().transpose()?;
        }
        if order.is_ge() {
            their = theirs.next().transpose()?;
        }
    }
}

fn compare_states(
    key: &[u8],
    ours: &Snapshot,
    theirs: &Snapshot,
    name: impl Fn() -> String,
    found: &mut Verification,
) -> Result<(), StorageError> {
    match (ours.state_at(key), theirs.state_at(key)) {
        (Ok(in_force), Ok(replayed)) if in_force == replayed => {}
        (Ok(in_force), Ok(replayed)) => {
            note(found, || {
                format!(
                    "{} is {in_force:?} in the store and {replayed:?} by the log",
                    name()
                )
            });
        }
        (Err(StorageError::Corrupt { what, .. }), _) => {
            note(found, || format!("{} cannot be read: {what}", name()));
        }
        (Err(error), _) | (_, Err(error)) => return Err(error),
    }
    Ok(())
}

/// Compares values by what they mean, since an older version may have written them in another form.
fn compare_decoded<T: DeserializeOwned + PartialEq>(
    what: &str,
    side: Side,
    [ours, theirs]: [Option<&[u8]>; 2],
    found: &mut Verification,
) {
    let decode = |bytes: Option<&[u8]>| bytes.and_then(|bytes| rmp_serde::from_slice::<T>(bytes).ok());
    let same = side == Side::Both
        && (ours == theirs || decode(ours).is_some_and(|ours| Some(ours) == decode(theirs)));
    if !same {
        note(found, || side.tell(what));
    }
}

fn note(found: &mut Verification, difference: impl FnOnce() -> String) {
    if found.differences.len() < DIFFERENCES_MAX {
        found.differences.push(difference());
    }
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// First entry of the log and the check of the one before it.
pub(crate) fn chain_start(
    meta_table: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<(Seq, u32), StorageError> {
    let Some(value) = meta_table.get(meta::LOG_START)? else {
        return Ok((Seq::ZERO.next(), 0));
    };
    let value = value.value();
    match (
        value.first_chunk::<8>(),
        value.get(8..).and_then(|rest| rest.first_chunk::<4>()),
    ) {
        (Some(seq), Some(check)) if *seq != [0; 8] => {
            Ok((Seq(u64::from_le_bytes(*seq)), u32::from_le_bytes(*check)))
        }
        _ => Err(StorageError::corrupt("the start of the log is damaged")),
    }
}

/// Hands every entry to `each`, in order, after checking that it follows the one before.
fn replay(
    log: &impl ReadableTable<u64, &'static [u8]>,
    (start, mut check): (Seq, u32),
    mut each: impl FnMut(Seq, &[u8]) -> Result<(), StorageError>,
) -> Result<u64, StorageError> {
    let mut expected = start;
    let unreadable = |expected: Seq, error: StorageError| match error {
        StorageError::Corrupt { what, .. } => StorageError::corrupt(format!(
            "entry {expected} of the log and those after it cannot be read: {what}"
        )),
        other => other,
    };
    let mut entries = unless_it_panics(|| Ok(log.iter()?)).map_err(|error| unreadable(expected, error))?;
    loop {
        // Only the reading of it: where `each` fails, the log is whole.
        let next = unless_it_panics(|| match entries.next().transpose()? {
            Some((seq, bytes)) => {
                // Where its page is damaged, it is found out here.
                let _there = bytes.value();
                Ok(Some((Seq(seq.value()), bytes)))
            }
            None => Ok(None),
        });
        let Some((seq, bytes)) = next.map_err(|error| unreadable(expected, error))? else {
            return Ok(expected.0 - start.0);
        };
        if seq != expected {
            return Err(StorageError::corrupt(format!(
                "entry {expected} is missing; the log goes on with {seq}"
            )));
        }
        check = codec::entry::verify(seq, bytes.value(), check)?;
        each(seq, bytes.value())?;
        expected = seq.next();
    }
}

#[cfg(test)]
mod tests;
