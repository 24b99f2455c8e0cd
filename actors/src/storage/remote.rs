//! What the server's records do to the store: those that arrive, those that leave, those that cannot be read.
//!
//! Owns the rest of [`Batch`] that is about records of the server. What arrives is weighed by `landfall_core`.
//!
//! Invariant: a record of which a change waits never leaves.

use std::cmp::Ordering;

use landfall_core::{
    Change, Checkpoint, Evicted, ModelDef, ModelName, Origin, Quarantined, Record, RecordKey, RecordState,
    Remote, RemoteRecord, Seq, SyncMetadata, planted,
};
use landfall_storage::{ChangeKind, Txn};

use super::logged::Stored;
use super::write::{Batch, LEFT_EXPRESSION, Stop};
use super::{LeftOver, RemoteBatch, RemoteCounts};
use crate::hub::HubEvent;

/// Why a record leaves that a full sync did not meet.
const NOT_MET: &str = "a full sync did not meet it: the server has it no longer, or sync does not cover it";

/// Most of a doubtful record that is logged, in bytes of JSON: enough to recognize it by.
const DOUBTFUL_JSON_BYTES_MAX: usize = 4 * 1024;

/// Why what was known of a record goes before the server's record of now comes.
const TAKEN_BACK: &str = "the server has an older version than it had told, another record under the same version, \
                          or a tombstone of an earlier time";

/// What the server said of a record before, if its record as of that time contradicts it: an older version (a server that
/// was restored from a backup), a newer tombstone of an earlier time, or the same version with another time of change and
/// other content. Other content alone
/// proves nothing: a resolver or a stream behind the server may fill fields in without a new version.
///
/// Nothing of the record may wait: what waits meets the server's record as a conflict.
fn contradiction(
    def: &ModelDef,
    state: &RecordState,
    remote: &RemoteRecord,
    as_of_ms: i64,
) -> Option<SyncMetadata> {
    let known = state.sync.filter(|known| known.last_changed_at_ms < as_of_ms)?;
    if !state.pending.is_empty() {
        return None;
    }
    let differs = || match &state.row {
        Some(row) if !remote.sync.deleted => remote.fields.iter().any(|(name, value)| {
            let slot = def.slot(name);
            slot.is_some_and(|slot| row[slot.index()].cmp_total(value).is_ne())
        }),
        row => row.is_some() == remote.sync.deleted,
    };
    let contradicts = match remote.sync.version.cmp(&known.version) {
        Ordering::Less => true,
        Ordering::Equal => remote.sync.last_changed_at_ms != known.last_changed_at_ms && differs(),
        // Whoever hears of such a tombstone takes it for that of an earlier life. But the server has one row of a record, and
        // no other came after it: a machine whose clock is behind took the delete.
        Ordering::Greater => remote.sync.deleted,
    };
    contradicts.then_some(known)
}

/// Whether the server has another value than the store under the same version and time, and nothing waits to be sent.
/// Either one of the two was not written by way of the server, as by an app whose model stayed here for a while, and
/// must not be lost, or the server is at fault; nothing tells which. What only the server has is no reason for doubt.
fn is_in_doubt(def: &ModelDef, state: &RecordState, remote: &RemoteRecord) -> bool {
    let Some(row) = state
        .row
        .as_ref()
        .filter(|_| state.pending.is_empty() && state.sync == Some(remote.sync))
    else {
        return false;
    };
    remote.fields.iter().any(|(name, value)| {
        let own = def.slot(name).map(|slot| &row[slot.index()]);
        own.is_some_and(|own| !own.is_null() && own.cmp_total(value).is_ne())
    })
}

/// What is logged of such a record.
fn doubtful(key: &RecordKey, remote: &RemoteRecord) -> Quarantined {
    let mut json = serde_json::to_string(&remote.fields).unwrap_or_default();
    let end = (0..=DOUBTFUL_JSON_BYTES_MAX.min(json.len()))
        .rev()
        .find(|at| json.is_char_boundary(*at));
    json.truncate(end.unwrap_or_default());
    Quarantined {
        model: key.model.clone(),
        reason: format!(
            "{} differs from the server's under the same version and time; what is here stays, save it to send it",
            key.id
        ),
        json,
    }
}

impl Batch {
    /// Takes a record out of the store that sync does not cover.
    pub(super) fn evict(
        &mut self,
        txn: &mut Txn<'_>,
        origin: Origin,
        cause: Option<Seq>,
        key: RecordKey,
        reason: &str,
        sync: Option<SyncMetadata>,
    ) -> Result<(), Stop> {
        let change = Change::Evicted(Evicted {
            key,
            reason: reason.to_owned(),
            sync,
        });
        self.append(txn, origin, cause, change)?;
        Ok(())
    }

    /// Stores a batch of the server's records.
    pub(super) fn apply_remote(
        &mut self,
        txn: &mut Txn<'_>,
        batch: RemoteBatch,
    ) -> Result<RemoteCounts, Stop> {
        let model = txn.model(&batch.model)?;
        let mut counts = RemoteCounts::default();
        let (origin, first) = (batch.origin, txn.next_seq());
        let received = batch.records.len() + batch.outside.len() + batch.bad.len();
        if batch.origin == Origin::Subscription {
            let brought = batch.records.iter().chain(&batch.outside);
            let events = brought.map(|remote| HubEvent::SubscriptionDataProcessed {
                record: Record::from_fields(model.clone(), &remote.fields).with_sync(Some(remote.sync)),
            });
            self.changes.events.extend(events);
        }
        let skipped = usize::from(planted("page-row-skipped") && batch.origin == Origin::Sync);
        for remote in batch.records.into_iter().skip(skipped) {
            let key = RecordKey {
                model: model.name.clone(),
                id: remote.id.clone(),
            };
            // Most echoes say nothing new, and what says nothing new is no entry.
            let state = txn.state(&key)?;
            if remote.sync.deleted && planted("tombstones-skipped") {
                continue;
            }
            // After the record went back it is not as it was read: it is read again.
            let as_read = if state.accepts(remote.sync) || planted("old-version-taken") {
                Some(state)
            } else {
                let contradicted = batch
                    .as_of_ms
                    .and_then(|as_of_ms| contradiction(&model, &state, &remote, as_of_ms));
                let Some(known) = contradicted else {
                    if batch.as_of_ms.is_some() && is_in_doubt(&model, &state, &remote) {
                        self.set_aside(txn, batch.origin, doubtful(&key, &remote))?;
                    }
                    continue;
                };
                self.go_back(txn, batch.origin, &key, known, remote.sync)?;
                None
            };
            let change = Change::Remote(Remote { key, remote });
            let told = self.append_to(txn, as_read, batch.origin, None, change)?;
            match told.visible.map(|visible| visible.kind) {
                Some(ChangeKind::Insert) => counts.new += 1,
                Some(ChangeKind::Update) => counts.updated += 1,
                Some(ChangeKind::Delete) => counts.deleted += 1,
                None => {}
            }
        }
        for remote in batch.outside {
            counts.deleted += u64::from(self.leave(txn, batch.origin, &model.name, remote)?);
        }
        if let Some(left_over) = batch.left_over {
            counts.deleted += self.sweep(txn, batch.origin, &model.name, *left_over)?;
        }
        for bad in batch.bad {
            self.set_aside(txn, batch.origin, bad)?;
        }
        if let Some(cursor) = batch.cursor {
            let change = Change::Checkpoint(Checkpoint {
                model: model.name.clone(),
                cursor,
            });
            self.append(txn, batch.origin, None, change)?;
        }
        self.changes.tally.remote(origin, received);
        self.changes.logged.stored(|| Stored {
            origin,
            model: model.name.clone(),
            received,
            counts,
            entries: (first, txn.next_seq()),
        });
        Ok(counts)
    }

    /// Logs and tells of a record of the server that is not taken in, unless that was done before.
    fn set_aside(&mut self, txn: &mut Txn<'_>, origin: Origin, bad: Quarantined) -> Result<(), Stop> {
        if !self.quarantine.is_news(&bad) {
            return Ok(());
        }
        self.changes.events.push(HubEvent::RecordQuarantined {
            model: bad.model.clone(),
            reason: bad.reason.clone(),
        });
        self.append(txn, origin, None, Change::Quarantined(bad))?;
        Ok(())
    }

    /// Forgets what the server had said of a record before it took it back.
    fn go_back(
        &mut self,
        txn: &mut Txn<'_>,
        origin: Origin,
        key: &RecordKey,
        known: SyncMetadata,
        found: SyncMetadata,
    ) -> Result<(), Stop> {
        tracing::warn!(%key, known = known.version.0, found = found.version.0, "the server took a version back");
        if found.version <= known.version {
            self.changes.events.push(HubEvent::ServerWentBack {
                key: key.clone(),
                known: known.version,
                found: found.version,
            });
        }
        self.evict(txn, origin, None, key.clone(), TAKEN_BACK, None)
    }

    /// Takes in a record that the sync expression does not select. Returns whether it has left the store.
    fn leave(
        &mut self,
        txn: &mut Txn<'_>,
        origin: Origin,
        model: &ModelName,
        remote: RemoteRecord,
    ) -> Result<bool, Stop> {
        let key = RecordKey {
            model: model.clone(),
            id: remote.id.clone(),
        };
        let state = txn.state(&key)?;
        let is_news = state.accepts(remote.sync);
        if !state.pending.is_empty() {
            // What waits is merged with it; the record leaves with the answer to the last of it.
            if is_news {
                self.append(txn, origin, None, Change::Remote(Remote { key, remote }))?;
            }
            return Ok(false);
        }
        let leaves = state.row.is_some() && (is_news || state.sync == Some(remote.sync));
        if leaves {
            self.evict(txn, origin, None, key, LEFT_EXPRESSION, Some(remote.sync))?;
        }
        Ok(leaves)
    }

    /// Takes records out of the store that a full sync has not met. Returns how many.
    fn sweep(
        &mut self,
        txn: &mut Txn<'_>,
        origin: Origin,
        model: &ModelName,
        left_over: LeftOver,
    ) -> Result<u64, Stop> {
        let mut swept = 0;
        for id in left_over.ids {
            let key = RecordKey {
                model: model.clone(),
                id,
            };
            let state = txn.state(&key)?;
            let is_old = state
                .sync
                .is_some_and(|sync| !sync.deleted && sync.last_changed_at_ms < left_over.before_ms);
            if is_old && state.row.is_some() && state.pending.is_empty() {
                self.evict(txn, origin, None, key, NOT_MET, None)?;
                swept += 1;
            }
        }
        for (id, sync) in left_over.outside {
            let key = RecordKey {
                model: model.clone(),
                id,
            };
            let state = txn.state(&key)?;
            let is_as_it_was = state.sync == Some(sync);
            if is_as_it_was && state.row.is_some() && state.pending.is_empty() {
                self.evict(txn, origin, None, key, LEFT_EXPRESSION, Some(sync))?;
                swept += 1;
            }
        }
        Ok(swept)
    }
}
