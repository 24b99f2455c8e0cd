//! Taking back what the app did.
//!
//! Owns [`DataStore::undo`]. The log stays as it is: what is taken back is written once more the other way round, as
//! writes of their own in one transaction, which are sent to the server like any other.
//!
//! Invariant: nothing that was done since is overwritten; where something was, nothing is taken back at all.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use landfall_actors::WriteOp;
use landfall_core::{Base, Change, LogEntry, MutationKind, Record, RecordKey, Seq};
use landfall_storage::Snapshot;
use landfall_storage::history::{Filter, History, PastState, Scope};

use crate::datastore::DataStore;
use crate::error::Error;

/// Most entries of a transaction that are taken back together; an app's transaction is far shorter, and all of them are
/// held in memory.
const ENTRIES_MAX: usize = 10_000;

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
    /// the server. As [`DataStore::save`] and [`DataStore::delete`].
    pub async fn undo(&self, entry: Seq) -> Result<Vec<Record>, Error> {
        let history = self.history()?;
        let writes = together(&history, history.entry(entry)?)?;
        let keys: Vec<RecordKey> = unique(writes.iter().filter_map(|write| write.change.key()));
        let scope = Scope::Records(keys.iter().cloned().collect());
        let (Some(first), Some(last)) = (writes.first(), writes.last()) else {
            return Ok(Vec::new());
        };
        let before = history.as_of(Seq(first.seq.0 - 1), &scope)?;
        let after = history.as_of(last.seq, &scope)?;
        let now = self.snapshot()?;
        // Parents are made before their children and deleted after them, so the way back is the way in reverse.
        let ops = keys
            .iter()
            .rev()
            .filter_map(|key| way_back(key, entry, &before, &after, &now).transpose())
            .collect::<Result<Vec<_>, _>>()?;
        if ops.is_empty() {
            return Ok(Vec::new());
        }
        let group = match &first.change {
            Change::Write(write) => write.group,
            _ => None,
        };
        self.records().take_back(group.unwrap_or(entry), ops).await?;
        let now = self.snapshot()?;
        let mut left = Vec::new();
        for key in &keys {
            left.extend(now.get(&key.model, &key.id)?);
        }
        Ok(left)
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

/// A delete by itself with the deletes that it took along: they come right before it, each refers to a record that is
/// deleted after it, and all have the time of one commit.
fn with_what_it_took_along(history: &History, entry: LogEntry) -> Result<Vec<LogEntry>, Error> {
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
            return Err(cannot(
                found[0].seq,
                format!("it took along more than {ENTRIES_MAX} records"),
            ));
        }
    }
    found.reverse();
    Ok(found)
}

fn unique<'k>(keys: impl Iterator<Item = &'k RecordKey>) -> Vec<RecordKey> {
    let mut seen = BTreeSet::new();
    keys.filter(|key| seen.insert(*key)).cloned().collect()
}

/// The write that brings a record back to what it was; `None` if nothing about it changed.
fn way_back(
    key: &RecordKey,
    entry: Seq,
    before: &PastState,
    after: &PastState,
    now: &Snapshot,
) -> Result<Option<WriteOp>, Error> {
    let (was, became) = (before.get(key), after.get(key));
    let is = now.get(&key.model, &key.id)?;
    let changed_since = |what: &str| cannot(entry, format!("{key} {what} since"));
    Ok(match (was, became, is) {
        (None, None, _) => None,
        (None, Some(made), Some(is)) if same(&made, &is) => Some(WriteOp::Delete {
            key: key.clone(),
            condition: None,
            guard: None,
        }),
        (None, Some(_), Some(_)) => return Err(changed_since("was changed")),
        (Some(was), None, None) => {
            let def = now.schema().model(&key.model).unwrap_or(was.def());
            Some(save(Record::from_fields(Arc::clone(def), &was.to_fields())))
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
            differs.then(|| save(is))
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
