//! Taking back what the app did.
//!
//! Owns [`DataStore::undo`]. The log stays as it is: what is taken back is written once more the other way round, as
//! writes of their own in one transaction, which are sent to the server like any other.
//!
//! Invariants: 1. nothing that was done since is overwritten or taken along; where something was, nothing is taken back at
//! all; 2. no record refers to a missing one that did not before; 3. both are true of the store that the writes meet: what was
//! read is expected in their command, and what refers to a record that goes is looked for in it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use landfall_actors::WriteOp;
use landfall_core::{Base, Change, LogEntry, MutationKind, Record, RecordKey, Seq, parents};
use landfall_storage::Snapshot;
use landfall_storage::history::{Filter, History, PastState, Scope};

use crate::datastore::DataStore;
use crate::error::Error;

/// Most entries of a transaction that are taken back together; an app's transaction is far shorter, and all of them are
/// held in memory.
const ENTRIES_MAX: usize = 10_000;

/// How often it is tried while others write the records that are taken back, or those that they refer to.
const TRIES_MAX: usize = 16;

impl DataStore {
    /// Takes back a write of the app, and with it all writes of the same transaction, or what a delete took along.
    /// Returns the records as they are then; those that are gone are not among them.
    ///
    /// What was created is deleted, what was deleted is made again, and changed fields get the values that they had.
    /// This happens in one transaction, by writes of their own, which are sent to the server like any other. `entry` is
    /// the position of one of the writes, from [`DataStore::history`]. The entries that take it back name it as their
    /// cause; of a transaction they name the first entry.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let post = store.save(Post::builder().title("Reef").build()?).await?;
    /// store.delete(&post).await?;
    ///
    /// let (_, newest) = store.history()?.bounds();
    /// let back = store.undo(newest).await?;
    /// assert_eq!(back[0].get("title"), Some(&"Reef".into()));
    /// assert!(store.get::<Post>(post.id.as_str())?.is_some());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::CannotUndo`] if the entry is no write, or something that it wrote was changed since: by the app, or by
    /// the server. So it is if another record refers by now to one that would be deleted, or if one would refer again to a
    /// record that was there and is gone; the error names it. [`Error::Changed`] if others were quicker again and again.
    /// As [`DataStore::save`] and [`DataStore::delete`].
    pub async fn undo(&self, entry: Seq) -> Result<Vec<Record>, Error> {
        let history = self.history()?;
        let writes = together(&history, history.entry(entry)?)?;
        let keys: Vec<RecordKey> = unique(writes.iter().filter_map(|write| write.change.key()));
        let scope = Scope::Records(keys.iter().cloned().collect());
        let (Some(first), Some(last)) = (writes.first(), writes.last()) else {
            return Ok(Vec::new());
        };
        let group = match &first.change {
            Change::Write(write) => write.group,
            _ => None,
        };
        let undone = Undone {
            entry,
            before: history.as_of(Seq(first.seq.0 - 1), &scope)?,
            after: history.as_of(last.seq, &scope)?,
            begun: Seq(first.seq.0 - 1),
            history,
            keys,
        };
        let mut tries = 1;
        loop {
            let ops = undone.ops(&self.snapshot()?)?;
            if ops.is_empty() {
                return Ok(Vec::new());
            }
            match self.records().take_back(group.unwrap_or(entry), ops).await {
                Ok(_) => break,
                Err(Error::Changed { .. }) if tries < TRIES_MAX => tries += 1,
                Err(Error::CannotUndo { reason, .. }) => return Err(cannot(entry, reason)),
                Err(error) => return Err(error),
            }
        }
        let now = self.snapshot()?;
        let mut left = Vec::new();
        for key in &undone.keys {
            left.extend(now.get(&key.model, &key.id)?);
        }
        Ok(left)
    }
}

/// What is taken back.
struct Undone {
    /// The entry that was asked for.
    entry: Seq,
    /// The records that were written, in the order in which they were first.
    keys: Vec<RecordKey>,
    /// These records before that, and after it.
    before: PastState,
    after: PastState,
    /// The newest entry before all of it.
    begun: Seq,
    history: History,
}

impl Undone {
    /// What is to be carried out: first that all is still as it is now, then the writes; nothing if there are none.
    fn ops(&self, now: &Snapshot) -> Result<Vec<WriteOp>, Error> {
        let (mut saves, mut deletes) = (Vec::new(), Vec::new());
        // Parents are made before their children and deleted after them, so the way back is the way in reverse.
        for key in self.keys.iter().rev() {
            match way_back(key, self.entry, &self.before, &self.after, now)? {
                Some(WayBack::Save(record)) => saves.push(record),
                Some(WayBack::Delete) => deletes.push(key.clone()),
                None => {}
            }
        }
        if saves.is_empty() && deletes.is_empty() {
            return Ok(Vec::new());
        }
        let mut expected: BTreeSet<RecordKey> = self.keys.iter().cloned().collect();
        expected.extend(self.parents(&saves, now)?);
        let mut ops = Vec::new();
        for key in expected {
            let read = now.get(&key.model, &key.id)?;
            let row = read.map_or(Base::NONE, |read| read.base().clone());
            ops.push(WriteOp::Expect { key, row });
        }
        // What moves away from a record does so before that one goes.
        ops.extend(saves.into_iter().map(save));
        ops.extend(deletes.into_iter().map(|key| WriteOp::Delete {
            key,
            condition: None,
            guard: None,
        }));
        Ok(ops)
    }

    /// The records that these will refer to and do not refer to now. One that is gone is an error, unless it was not there
    /// before either: what refers to nothing may do so again.
    fn parents(&self, saves: &[Record], now: &Snapshot) -> Result<BTreeSet<RecordKey>, Error> {
        let key_of = |record: &Record| Some(RecordKey::new(record.def().name.clone(), record.id()?));
        let made: BTreeSet<RecordKey> = saves.iter().filter_map(key_of).collect();
        let (mut there, mut missing) = (BTreeSet::new(), Vec::new());
        for (record, key) in saves.iter().filter_map(|record| Some((record, key_of(record)?))) {
            let of = |record: &Record| parents(now.schema(), record.def(), &record.values().to_vec());
            let known = now.get(&key.model, &key.id)?.map_or_else(Vec::new, |is| of(&is));
            for parent in of(record) {
                if known.contains(&parent) || made.contains(&parent) {
                    continue;
                }
                if now.get(&parent.model, &parent.id)?.is_some() {
                    there.insert(parent);
                } else {
                    missing.push((key.clone(), parent));
                }
            }
        }
        if missing.is_empty() {
            return Ok(there);
        }
        let scope = Scope::Records(missing.iter().map(|(_, parent)| parent.clone()).collect());
        let before = self.history.as_of(self.begun, &scope)?;
        match missing.iter().find(|(_, parent)| before.get(parent).is_some()) {
            Some((child, parent)) => Err(cannot(
                self.entry,
                format!(
                    "`{child}` referred to `{parent}`, which is gone since; bring `{parent}` back first, nothing was changed"
                ),
            )),
            None => Ok(there),
        }
    }
}

/// The writes of the transaction that an entry belongs to, oldest first.
fn together(history: &History, entry: LogEntry) -> Result<Vec<LogEntry>, Error> {
    let group = match &entry.change {
        Change::Write(write) => write.group,
        other => {
            return Err(cannot(
                entry.seq,
                format!("it is a {}, not a write of the app", other.name()),
            ));
        }
    };
    let Some(group) = group else {
        return with_what_it_took_along(history, entry);
    };
    let writes = Filter {
        kinds: vec!["write".to_owned()],
        first: Some(group),
        ..Filter::default()
    };
    let (mut found, mut failed) = (Vec::new(), None);
    history.entries(&writes, |_, write| {
        let write = match write {
            Ok(write) => write,
            Err(error) => {
                failed = Some(error);
                return ControlFlow::Break(());
            }
        };
        let of_group = matches!(&write.change, Change::Write(write) if write.group == Some(group));
        if !of_group || found.len() > ENTRIES_MAX {
            return ControlFlow::Break(());
        }
        found.push(write);
        ControlFlow::Continue(())
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    if found.len() > ENTRIES_MAX {
        let reason = format!("its transaction has more than {ENTRIES_MAX} writes");
        return Err(cannot(entry.seq, reason));
    }
    Ok(found)
}

/// A delete by itself with the deletes that it took along, which come right before it. It says how many they are.
fn with_what_it_took_along(history: &History, entry: LogEntry) -> Result<Vec<LogEntry>, Error> {
    let took_along = match &entry.change {
        Change::Write(write) if write.kind == MutationKind::Delete => write.took_along,
        _ => return Ok(vec![entry]),
    };
    let Some(took_along) = took_along else {
        return with_what_seems_taken_along(history, entry);
    };
    let first = entry.seq.0.saturating_sub(u64::from(took_along));
    if entry.seq.0 - first > ENTRIES_MAX as u64 {
        return Err(took_too_many(entry.seq));
    }
    let mut found = Vec::new();
    for seq in first..entry.seq.0 {
        let along = history.entry(Seq(seq))?;
        // A migration may have taken away what was deleted, model and all.
        if matches!(&along.change, Change::Write(_)) {
            found.push(along);
        }
    }
    found.push(entry);
    Ok(found)
}

/// The same of a delete of an older version, which does not say how many: they come right before it, each refers to a record
/// that is deleted after it, and all have the time of one commit. Of what was deleted within the same millisecond by itself that
/// may be true as well.
fn with_what_seems_taken_along(history: &History, entry: LogEntry) -> Result<Vec<LogEntry>, Error> {
    let mut gone: BTreeSet<RecordKey> = entry.change.key().cloned().into_iter().collect();
    let at_ms = entry.at_ms;
    let mut found = vec![entry];
    let (start, _) = history.bounds();
    while let Some(last) = found.last()
        && matches!(&last.change, Change::Write(write) if write.kind == MutationKind::Delete)
        && last.seq > start
    {
        let before = history.entry(Seq(last.seq.0 - 1))?;
        let Change::Write(write) = &before.change else {
            break;
        };
        let along = write.kind == MutationKind::Delete
            && write.group.is_none()
            && before.at_ms == at_ms
            && write.parents.iter().any(|parent| gone.contains(parent));
        if !along {
            break;
        }
        gone.insert(write.key.clone());
        found.push(before);
        if found.len() > ENTRIES_MAX {
            return Err(took_too_many(found[0].seq));
        }
    }
    found.reverse();
    Ok(found)
}

fn took_too_many(seq: Seq) -> Error {
    cannot(seq, format!("it took along more than {ENTRIES_MAX} records"))
}

fn unique<'k>(keys: impl Iterator<Item = &'k RecordKey>) -> Vec<RecordKey> {
    let mut seen = BTreeSet::new();
    keys.filter(|key| seen.insert(*key)).cloned().collect()
}

/// What brings a record back to what it was.
enum WayBack {
    /// It is saved so.
    Save(Record),
    /// It goes.
    Delete,
}

/// The write that brings a record back to what it was; `None` if nothing about it changed.
fn way_back(
    key: &RecordKey,
    entry: Seq,
    before: &PastState,
    after: &PastState,
    now: &Snapshot,
) -> Result<Option<WayBack>, Error> {
    let (was, became) = (before.get(key), after.get(key));
    let is = now.get(&key.model, &key.id)?;
    let changed_since = |what: &str| cannot(entry, format!("{key} {what} since"));
    Ok(match (was, became, is) {
        (None, None, _) => None,
        (None, Some(made), Some(is)) if same(&made, &is) => Some(WayBack::Delete),
        (None, Some(_), Some(_)) => return Err(changed_since("was changed")),
        (Some(was), None, None) => {
            let def = now.schema().model(&key.model).unwrap_or(was.def());
            let record = Record::from_fields(Arc::clone(def), &was.to_fields());
            Some(WayBack::Save(record))
        }
        (Some(_), None, Some(_)) => return Err(changed_since("was made again")),
        (Some(was), Some(became), Some(mut is)) => {
            let mut differs = false;
            for (field, old) in was.to_fields() {
                let written = became.get(&field).filter(|value| **value != old);
                match (written, is.get(&field)) {
                    (None, _) => {}
                    (Some(written), Some(value)) if written == value => {
                        differs = true;
                        is.set(&field, old);
                    }
                    (Some(_), _) => return Err(changed_since(&format!("had `{field}` changed"))),
                }
            }
            differs.then_some(WayBack::Save(is))
        }
        (_, Some(_), None) => return Err(changed_since("was deleted")),
    })
}

/// Whether what the app can write is the same in both. By name: the schema may have changed, and with it the order of
/// the fields.
fn same(made: &Record, is: &Record) -> bool {
    let written = made.def().stored_fields().filter(|field| !field.read_only);
    written
        .map(|field| &field.name)
        .all(|name| made.get(name) == is.get(name))
}

fn save(record: Record) -> WriteOp {
    let model = record.def().name.clone();
    let (values, seen, base): (_, _, Base) = record.into_parts();
    WriteOp::Save {
        model,
        values,
        base,
        seen,
        condition: None,
    }
}

fn cannot(seq: Seq, reason: String) -> Error {
    Error::CannotUndo { seq, reason }
}
