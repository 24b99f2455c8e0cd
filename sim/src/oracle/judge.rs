//! Who watches one client.
//!
//! Owns [`Judge`]: it looks after every commit of its client's store, and when the store is opened again. It reads what
//! an app could read (snapshots, the log, observers) and writes nothing, so that a run with it is the run without it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// Records whose refusals the error handler was told.
    told: BTreeMap<RecordKey, u64>,
    refused: BTreeMap<RecordKey, u64>,
    /// Changes of which the app was told that they are lost, the first [`LOSSES_MAX`].
    lost: Vec<SyncError>,
    /// Pairs of records that are written together.
    pairs: Vec<(RecordKey, RecordKey)>,
    /// Whether a crash may have come between a refusal and its report.
    interrupted: bool,
}

impl std::fmt::Debug for Judge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Judge({})", self.0.name)
    }
}

/// Notes what the app is told.
struct Told(Judge);

impl ErrorHandler for Told {
    fn handle(&self, error: SyncError) {
        let mut state = self.0.state();
        if let Some(key) = &error.key {
            *state.told.entry(key.clone()).or_default() += 1;
        }
        if error.kind == ErrorKind::LostUpdate && state.lost.len() < LOSSES_MAX {
            state.lost.push(error);
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

    /// Has the judge look as soon as whoever acts now is done.
    pub(crate) fn ring(&self) {
        self.0.bell.notify_one();
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
        Told(self.clone())
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
        self.verify(store);
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
        let mut state = self.state();
        state.store = None;
        state.streams.clear();
        state.interrupted = true;
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
        let mut state = self.state();
        state.ledger.release_all();
        state.streams.clear();
        state.interrupted = true;
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

    /// As [`Judge::look`]; unless it is a usual look, it compares everything, whatever changed, and replays the log.
    fn look_with(&self, depth: Depth) {
        let Some(store) = self.state().store.clone() else {
            return;
        };
        let Ok(snapshot) = store.snapshot() else { return };
        let (mut faults, touched) = {
            let mut guard = self.state();
            let state = &mut *guard;
            let network = &self.0.network;
            let now_ms = network.clock.elapsed_ms();
            // A store whose disk fails can be read again later.
            let Ok(looked) = network.watch(|server| state.log.look(&snapshot, server, network.findings()))
            else {
                return;
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
            });
            for key in &looked.refused {
                *state.refused.entry(key.clone()).or_default() += 1;
                state.ledger.release(key);
            }
            if looked.cleared {
                state.ledger.release_all();
                state.reads.forget();
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
            self.verify(&store);
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
    pub(crate) fn verify(&self, store: &DataStore) {
        let verified = store.snapshot().and_then(|snapshot| Ok(snapshot.verify()?));
        // A disk that cannot be read now says nothing about what is on it.
        let Ok(verified) = verified else { return };
        let faults = verified.differences.into_iter().map(|difference| Fault {
            invariant: "I16",
            key: None,
            what: format!("the log does not replay: {difference}"),
        });
        self.report(faults.collect());
    }

    /// Whether every refusal was told, once nothing is on its way any more.
    pub(crate) fn check_told(&self) {
        let state = self.state();
        if state.interrupted {
            return;
        }
        let silent: Vec<Fault> = state
            .refused
            .iter()
            .filter(|(key, times)| state.told.get(key).copied().unwrap_or(0) < **times)
            .map(|(key, times)| {
                let what =
                    format!("{key} was refused or given up {times} times and the app was told less often");
                Fault::new("I15", key, what)
            })
            .collect();
        drop(state);
        self.report(silent);
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
