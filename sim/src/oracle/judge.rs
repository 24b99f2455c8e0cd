//! Who watches one client.
//!
//! Owns [`Judge`]: it looks after every commit of its client's store, and when the store is opened again. It reads what
//! an app could read (snapshots, the log, observers) and writes nothing, so that a run with it is the run without it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use landfall::{DataStore, ErrorHandler, ErrorKind, RecordKey, Seq, SyncError, Value};
use landfall_core::IdPart;
use tokio::sync::Notify;

use super::causal::Reads;
use super::ledger::{Attempt, Ledger};
use super::log::LogAudit;
use super::stream::{Depth, StreamFold};
use super::{Fault, Violation};
use crate::network::Network;
use crate::random::Stream;

/// One commit in so many is followed by a replay of the whole log, which costs as much as all other checks together.
const VERIFY_ONE_IN: u64 = 150;

/// For so many entries of the log the thorough looks become rarer by one commit, so that what they cost stays in step with
/// the length of a run.
const ENTRIES_PER_COMMIT: u64 = 8;

/// Lost changes that are kept for scripts; a script has few.
const LOSSES_MAX: usize = 100;

/// How long after a refusal is in the log the app may still be told of it, in virtual milliseconds: longer than any hop
/// between actors is held, also by a slow disk.
const TELL_MS_MAX: u64 = 30_000;

/// Entries of a record's story in a report.
const STORY_MAX: usize = 200;

/// Watches one client; clones are the same judge.
#[derive(Clone)]
pub struct Judge(Arc<Shared>);

struct Shared {
    name: String,
    network: Network,
    bell: Notify,
    state: Mutex<State>,
    chance: Stream,
}

#[derive(Default)]
struct State {
    store: Option<DataStore>,
    log: LogAudit,
    streams: Vec<StreamFold>,
    ledger: Ledger,
    reads: Reads,
    /// Which refusals and losses the error handler was told, and how often.
    told: BTreeMap<Ended, u64>,
    /// When each of them was found in the log, oldest first.
    ended: BTreeMap<Ended, Vec<u64>>,
    /// Changes of which the app was told that they are lost, the first [`LOSSES_MAX`].
    lost: Vec<SyncError>,
    /// Pairs of records that are written together.
    pairs: Vec<(RecordKey, RecordKey)>,
}

/// A change that was refused with this message, or given up without one; of this record.
type Ended = (RecordKey, Option<String>);

impl State {
    /// A crash or a clear may have come between a refusal and its report: what was not told by now need not be.
    fn forget_untold(&mut self) {
        for (ended, times) in &mut self.ended {
            let told = self.told.get(ended).copied().unwrap_or(0);
            times.truncate(usize::try_from(told).unwrap_or(usize::MAX));
        }
    }
}

impl std::fmt::Debug for Judge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Judge({})", self.0.name)
    }
}

/// Rings a judge from within the store that it watches. The judge holds that store, so neither this nor what is told may
/// hold the judge: a run would leave its stores in memory for good.
pub(crate) struct Bell(Weak<Shared>);

impl Bell {
    /// Has the judge look as soon as whoever acts now is done.
    pub(crate) fn ring(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.bell.notify_one();
        }
    }
}

/// Notes what the app is told.
struct Told(Weak<Shared>);

impl ErrorHandler for Told {
    fn handle(&self, error: SyncError) {
        if let Some(shared) = self.0.upgrade() {
            Judge(shared).heard(error);
        }
    }
}

impl Judge {
    pub(crate) fn new(name: &str, network: Network) -> Self {
        Self(Arc::new(Shared {
            name: name.to_owned(),
            bell: Notify::new(),
            state: Mutex::default(),
            chance: network.seed().stream(&format!("judge {name}")),
            network,
        }))
    }

    /// What has the judge look as soon as whoever acts now is done.
    pub(crate) fn bell(&self) -> Bell {
        Bell(Arc::downgrade(&self.0))
    }

    /// Looks whenever it is rung; ends never.
    pub(crate) async fn watch(self) {
        loop {
            self.0.bell.notified().await;
            self.look();
        }
    }

    /// An error handler that notes what the app is told.
    pub(crate) fn error_handler(&self) -> impl ErrorHandler + 'static {
        Told(Arc::downgrade(&self.0))
    }

    /// The store was opened: what was there before must still be there, and the log must replay.
    pub(crate) async fn opened(&self, store: &DataStore) {
        let faults = {
            let mut state = self.state();
            state.store = Some(store.clone());
            state.log.stopped = false;
            match store.snapshot() {
                Ok(snapshot) => state.log.recovered(&snapshot).unwrap_or_default(),
                Err(_) => Vec::new(),
            }
        };
        self.report(faults);
        self.verify(store, Depth::Thorough);
        self.look();
        self.look_at_promises(None);
        self.observe_anew(store).await;
    }

    /// Listens to every model anew.
    pub(crate) async fn observe_anew(&self, store: &DataStore) {
        self.state().streams.clear();
        let models: Vec<String> = store.schema().models().map(|def| def.name.to_string()).collect();
        let mut streams = Vec::new();
        for model in models {
            streams.extend(StreamFold::open(store, &model).await);
        }
        self.state().streams = streams;
    }

    /// The store is gone.
    pub(crate) fn closed(&self) {
        self.look();
        self.check_told();
        let mut state = self.state();
        state.store = None;
        state.streams.clear();
        state.forget_untold();
    }

    /// Sync was stopped: from here on nothing of it may take effect.
    pub(crate) fn stopped(&self) {
        self.look();
        self.state().log.stopped = true;
    }

    /// Sync is about to be started again.
    pub(crate) fn started(&self) {
        self.look();
        self.state().log.stopped = false;
    }

    /// The app is about to clear everything, and gives up its claims.
    pub(crate) fn clearing(&self) {
        self.check_told();
        let mut state = self.state();
        state.ledger.release_all();
        state.streams.clear();
        state.forget_untold();
    }

    /// What the app was promised.
    pub(crate) fn ledger<T>(&self, use_it: impl FnOnce(&mut Ledger) -> T) -> T {
        use_it(&mut self.state().ledger)
    }

    pub(crate) fn begin(&self, key: &RecordKey, text: Option<Value>) -> Attempt {
        self.ledger(|ledger| ledger.begin(key, text))
    }

    /// A user writes a text after having read a version of its record.
    pub(crate) fn read_before(&self, text: &str, version: Option<u64>) {
        self.0
            .network
            .watch(|server| server.causality().read_before(text, version));
    }

    /// The identifiers of all records that the log told of, gone ones included, as a field that refers to one holds them.
    pub(crate) fn references(&self) -> Vec<Value> {
        let state = self.state();
        let ids = state.log.told_of().filter_map(|key| key.id.parts().first());
        ids.map(IdPart::to_value).collect()
    }

    /// The client has deleted a record, and with it these, which belong to it.
    pub(crate) fn cascaded(&self, parent: &RecordKey, children: BTreeSet<RecordKey>) {
        let client = &self.0.name;
        self.0
            .network
            .watch(|server| server.cascaded(client, parent.clone(), children));
    }

    /// Two records are written together from here on.
    pub(crate) fn pair(&self, one: RecordKey, other: RecordKey) {
        self.0
            .network
            .watch(|server| server.pair(one.clone(), other.clone()));
        let mut state = self.state();
        if !state.pairs.contains(&(one.clone(), other.clone())) {
            state.pairs.push((one, other));
        }
    }

    /// Notes what the app was told. Judges hear it themselves unless a client is opened with another error handler; that
    /// handler has to pass it on.
    pub fn heard(&self, error: SyncError) {
        let mut state = self.state();
        if let Some(key) = &error.key {
            // That the server cannot be reached is told of a change as well, and ends nothing; no refusal says the same.
            let said = (error.kind != ErrorKind::LostUpdate).then(|| error.message.clone());
            *state.told.entry((key.clone(), said)).or_default() += 1;
        }
        if error.kind == ErrorKind::LostUpdate && state.lost.len() < LOSSES_MAX {
            state.lost.push(error);
        }
    }

    /// The changes of which the app was told that they are lost.
    pub fn lost(&self) -> Vec<SyncError> {
        self.state().lost.clone()
    }

    /// Notes a violation.
    pub(crate) fn violated(&self, invariant: &'static str, what: &str) {
        self.report(vec![Fault {
            invariant,
            key: None,
            what: what.to_owned(),
        }]);
    }

    /// Looks at everything that happened since the last time.
    pub(crate) fn look(&self) {
        let entries = self.state().log.newest().0;
        let thorough = self.0.chance.below(VERIFY_ONE_IN + entries / ENTRIES_PER_COMMIT) == 0;
        self.look_with(if thorough { Depth::Thorough } else { Depth::Usual });
    }

    /// Looks for the last time: everything is repaired and must be as it is to be.
    pub(crate) fn look_last(&self) {
        self.look_with(Depth::Last);
    }

    /// Looks at everything, whether or not it has changed.
    pub(crate) fn look_at_all(&self) {
        self.look_with(Depth::Thorough);
    }

    /// As [`Judge::look`]; unless it is a usual look, it compares everything, whatever changed, and replays the log.
    fn look_with(&self, depth: Depth) {
        let Some(store) = self.state().store.clone() else {
            return;
        };
        let snapshot = match store.snapshot() {
            Ok(snapshot) => snapshot,
            Err(error) => return self.unreadable(depth, &error.to_string()),
        };
        let (mut faults, touched) = {
            let mut guard = self.state();
            let state = &mut *guard;
            let network = &self.0.network;
            let now_ms = network.clock.elapsed_ms();
            // A store whose disk fails can be read again later.
            let looked = network.watch(|server| {
                state
                    .log
                    .look(&self.0.name, &snapshot, server, network.findings())
            });
            let looked = match looked {
                Ok(looked) => looked,
                Err(error) => {
                    drop(guard);
                    return self.unreadable(depth, &error.to_string());
                }
            };
            let mut faults = looked.faults;
            for stream in &mut state.streams {
                faults.extend(stream.check(&store, &looked.touched, depth, now_ms));
            }
            network.watch(|server| {
                looked
                    .retried
                    .iter()
                    .for_each(|text| server.causality().decided(text));
                for key in &looked.deletes_given_up {
                    server.keeps(&self.0.name, key);
                }
            });
            for ended in &looked.refused {
                state.ended.entry(ended.clone()).or_default().push(now_ms);
                state.ledger.release(&ended.0);
            }
            if looked.cleared {
                state.ledger.release_all();
                state.reads.forget();
                // Observers of what was before have ended.
                state.streams.clear();
                state.forget_untold();
            }
            faults.extend(state.reads.check(&snapshot, &looked.touched));
            (faults, looked.touched)
        };
        faults.extend(self.0.network.watch(super::server::ServerWatch::take_faults));
        let link = self.0.network.link(&self.0.name);
        if link.flooded() || link.sockets() > 2 {
            faults.push(Fault {
                invariant: "I14",
                key: None,
                what: format!(
                    "{} sockets are open, or too many requests are on their way",
                    link.sockets()
                ),
            });
        }
        self.report(faults);
        self.look_at_promises(Some(touched.into_iter().collect()));
        if depth != Depth::Usual {
            self.verify(&store, depth);
        }
    }

    /// A disk that cannot be read now says nothing about what is on it; unless everything is repaired.
    fn unreadable(&self, depth: Depth, error: &str) {
        if depth == Depth::Last {
            self.violated(
                "I16",
                &format!("nothing fails any more, and the store cannot be read: {error}"),
            );
        }
    }

    /// Whether the app reads what it was promised; all of it, or only these records.
    fn look_at_promises(&self, keys: Option<Vec<RecordKey>>) {
        let state = self.state();
        let Some(snapshot) = state.store.as_ref().and_then(|store| store.snapshot().ok()) else {
            return;
        };
        let text = |key: &RecordKey| {
            let record = snapshot.get(&key.model, &key.id).ok()?;
            Some(record.and_then(|record| record.get("text").cloned()))
        };
        let mut faults = Vec::new();
        let all = keys.is_none();
        for key in keys.unwrap_or_else(|| state.ledger.keys()) {
            let Some(text) = text(&key) else { continue };
            if let Some(objection) = state.ledger.objection(&key, text.as_ref()) {
                let invariant = if all { "I1" } else { "I8" };
                faults.push(Fault::new(invariant, &key, objection));
            }
        }
        for (one, other) in &state.pairs {
            let claimed = state.ledger.claims(one) && state.ledger.claims(other);
            if let (Some(left), Some(right)) = (text(one), text(other))
                && claimed
                && left != right
            {
                let what = format!("{one} is {left:?} and {other}, written together with it, is {right:?}");
                faults.push(Fault::new("I9", one, what));
            }
        }
        drop(state);
        self.report(faults);
    }

    /// Replays the whole log beside the store and compares.
    fn verify(&self, store: &DataStore, depth: Depth) {
        let verified = match store.snapshot().and_then(|snapshot| Ok(snapshot.verify()?)) {
            Ok(verified) => verified,
            Err(error) => return self.unreadable(depth, &error.to_string()),
        };
        let faults = verified.differences.into_iter().map(|difference| Fault {
            invariant: "I16",
            key: None,
            what: format!("the log does not replay: {difference}"),
        });
        self.report(faults.collect());
    }

    /// Whether every refusal was told that did not come just now.
    pub(crate) fn check_told(&self) {
        let latest_ms = self.0.network.clock.elapsed_ms().saturating_sub(TELL_MS_MAX);
        let state = self.state();
        let silent: Vec<Fault> = state
            .ended
            .iter()
            .filter_map(|(ended, times)| {
                let told = state.told.get(ended).copied().unwrap_or(0);
                let due = times.iter().filter(|at_ms| **at_ms <= latest_ms).count() as u64;
                let (key, said) = ended;
                let how = said
                    .as_ref()
                    .map_or("given up".to_owned(), |said| format!("refused ({said})"));
                let what = format!("{key} was {how} {due} times, and the app was told {told} times");
                (told < due).then(|| Fault::new("I15", key, what))
            })
            .collect();
        drop(state);
        self.report(silent);
    }

    /// Whether the log of the open store has a change of the app that gives a record this text; true if it cannot be read
    /// now.
    pub(crate) fn has_logged(&self, key: &RecordKey, text: &str) -> bool {
        let store = self.state().store.clone();
        let entries = store.and_then(|store| store.snapshot().ok()?.log(0.., usize::MAX).ok());
        entries.is_none_or(|entries| {
            entries.iter().rev().any(|entry| match &entry.change {
                // What was cleared since need not be there any more.
                landfall_core::Change::Cleared => true,
                landfall_core::Change::Write(write) => {
                    write.key == *key && write.patch.get("text").and_then(Value::as_str) == Some(text)
                }
                _ => false,
            })
        })
    }

    /// What the log says of a record, for reports.
    pub(crate) fn story(&self, key: &RecordKey) -> Vec<String> {
        let state = self.state();
        let Some(store) = &state.store else {
            return vec!["the client is off".to_owned()];
        };
        let entries = store
            .snapshot()
            .and_then(|snapshot| Ok(snapshot.log(0.., usize::MAX)?));
        let entries = entries.unwrap_or_default();
        let of_record = entries.iter().filter(|entry| entry.change.key() == Some(key));
        let mut lines: Vec<String> = of_record
            .map(|entry| {
                let cause = entry
                    .cause
                    .map_or_else(String::new, |cause| format!(" because of {cause}"));
                let detail = match &entry.change {
                    landfall_core::Change::Write(write) => {
                        format!(": {} {:?}", write.kind.verb(), write.patch)
                    }
                    landfall_core::Change::Remote(remote) => {
                        format!(": version {}", remote.remote.sync.version.0)
                    }
                    landfall_core::Change::Acknowledged(ack) => {
                        format!(" {}: version {}", ack.mutation, ack.remote.sync.version.0)
                    }
                    landfall_core::Change::Sent(sent) => {
                        format!(" {}: attempt {}", sent.mutation, sent.attempt)
                    }
                    change => change
                        .mutation()
                        .map_or_else(String::new, |seq: Seq| format!(" {seq}")),
                };
                format!(
                    "{} {:?} {}{detail}{cause}",
                    entry.seq,
                    entry.origin,
                    entry.change.name()
                )
            })
            .collect();
        let excess = lines.len().saturating_sub(STORY_MAX);
        lines.drain(..excess);
        lines
    }

    fn report(&self, faults: Vec<Fault>) {
        let network = &self.0.network;
        for fault in faults {
            let at_ms = network.clock.elapsed_ms();
            network.findings().violated(Violation {
                invariant: fault.invariant,
                at_ms,
                step: network.trace.len(),
                who: self.0.name.clone(),
                key: fault.key.map(|key| key.to_string()),
                what: fault.what,
            });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
