//! Playing a recording of a flight recorder again: the same actors, one thread, virtual time.
//!
//! Owns [`play`] (exactly as it was, with every effect checked) and [`what_if`] (with some inputs edited, to compare the
//! ends). How order is kept is `drive.rs`, what actors are given is `deck.rs` and `transport.rs`, where each step belongs is
//! `plan.rs`, and the free run is `free.rs`. Recordings are `landfall::flight`'s.
//!
//! A recording is of a store whose storage actor ran on a thread of its own. What one actor did is in the order in which
//! it did it; between actors, a step comes after the steps that sent it what it handles, and a commit comes before the
//! first view of the store that shows it. That order is played on one thread.

mod deck;
mod drive;
mod edit;
mod free;
mod plan;
mod transport;

use std::collections::BTreeMap;
use std::sync::Arc;

use landfall::flight::{Noted, PRINTS, Recording, SeatName, state_hash};
use landfall::{
    DataStore, Disk, Env, Error, Immediate, NoTrace, Query, RecordKey, Schema, Seq, StorageError,
};
use landfall_storage::history::read_exported;
use serde_json::Value as Json;

use crate::clock::SimClock;
use crate::disk::SimDisk;
use crate::trace::TraceLog;
use crate::world::in_virtual_time;
pub use deck::Compared;
use deck::Control;
pub use edit::{Edit, EditError, input_json};
pub use free::Told;

/// Why a recording cannot be played at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// Its schema cannot be read.
    #[error("the schema of the recording cannot be read: {0}")]
    Schema(String),
    /// The log with which it begins cannot be read.
    #[error("the log with which the recording begins cannot be used: {0}")]
    Base(#[from] StorageError),
    /// The store cannot be opened with it.
    #[error("the recorded store does not open: {0}")]
    Open(#[from] Error),
    /// An edit does not fit the recording.
    #[error(transparent)]
    Edit(#[from] EditError),
}

/// The first effect that is not as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Order number of the event.
    pub order: u64,
    /// The actor.
    pub seat: SeatName,
    /// What the recording has.
    pub recorded: String,
    /// What happens now.
    pub now: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            order,
            seat,
            recorded,
            now,
        } = self;
        write!(
            f,
            "event {order}, {}: recorded was {recorded}; now {now}",
            seat.actor
        )
    }
}

/// One moment of a replay, after an event was played.
#[derive(Debug)]
pub struct Moment<'m> {
    /// The event.
    pub noted: &'m Noted,
    /// The actor.
    pub seat: &'m SeatName,
    /// The store as it is.
    pub store: &'m DataStore,
    /// Whether the log has grown with this event.
    pub committed: bool,
}

/// What a watcher of a replay wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// Go on.
    On,
    /// End here.
    Stop,
}

/// Hears of each moment.
pub type Watch<'w> = dyn FnMut(&Moment<'_>) -> Go + 'w;

/// What came of a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Played {
    /// Events that were played: steps, answers, frames.
    pub events: u64,
    /// Order number of the last one.
    pub last: u64,
    /// The first effect that differs; nothing is played after it.
    pub difference: Option<Difference>,
    /// The newest entry of the log, and its check.
    pub head: (Seq, u32),
    /// Fingerprint of everything that the app sees.
    pub state: u64,
    /// Whether the end was compared: the recording has one, and it was reached.
    pub reached_end: bool,
    /// First missing order number and how many are missing, if the replay ended at what the recorder dropped.
    pub gap: Option<(u64, u64)>,
}

/// The ends of a recording with and without edits.
#[derive(Clone, Debug)]
pub struct Ends {
    /// The records without edits.
    pub without: BTreeMap<RecordKey, Json>,
    /// The records with them.
    pub with: BTreeMap<RecordKey, Json>,
    /// Requests of the edited run to which the recording has no answer; they found the server unreachable.
    pub unanswered: u64,
    /// Records that differ although nothing was edited: such a run keeps times, not every order, and if this is not 0 then
    /// what differs with edits may be due to that, and says nothing.
    pub drift: usize,
    /// What the actors did without edits and with them.
    pub told: (Vec<Told>, Vec<Told>),
}

/// What of a recording can be compared with this program: everything, if both print messages in the same way.
pub fn comparable(recording: &Recording) -> Compared {
    if recording.head.prints == PRINTS {
        Compared::Everything
    } else {
        Compared::Outside
    }
}

/// Plays a recording as it was, up to its end, its cut, what was dropped, the first difference, or the watcher's word.
/// Everything is compared that is [`comparable`].
///
/// # Errors
/// [`ReplayError`] if it cannot be begun.
pub fn play(recording: &Recording, watch: &mut Watch<'_>) -> Result<Played, ReplayError> {
    play_comparing(recording, comparable(recording), watch)
}

/// As [`play`], and what is compared is the caller's choice.
///
/// # Errors
/// [`ReplayError`] if it cannot be begun.
pub fn play_comparing(
    recording: &Recording,
    compared: Compared,
    watch: &mut Watch<'_>,
) -> Result<Played, ReplayError> {
    let trace = TraceLog::default();
    in_virtual_time(&trace, async {
        let control = Arc::new(Control::strict(
            SimClock::start(),
            plan::openings(drive::playable(recording)),
            drive::is_cut(recording),
        ));
        control.compare(compared, plan::steps(&recording.events));
        let store = open(recording, &control)?;
        // A store whose end was recorded is closed then, and shows nothing more.
        let mut newest = store.snapshot()?;
        let mut played = drive::drive(&store, &control, recording, &mut |moment| {
            if let Ok(snapshot) = moment.store.snapshot() {
                newest = snapshot;
            }
            watch(moment)
        })
        .await;
        let snapshot = store.snapshot().unwrap_or(newest);
        played.head = snapshot.head_and_check()?;
        played.state = state_hash(&snapshot)?;
        store.halt();
        Ok(played)
    })
}

/// Plays a recording with some inputs edited, and once without, and compares the records at the end. Inputs that come more
/// than a year after the first are not played.
///
/// # Errors
/// [`ReplayError`] if it cannot be begun, or an edit does not fit.
pub fn what_if(recording: &Recording, edits: &[Edit]) -> Result<Ends, ReplayError> {
    let edited = edit::apply(recording, edits)?;
    let (without, (_, told_without)) = free_run(recording)?;
    let (with, (unanswered, told_with)) = free_run(&edited)?;
    let mut exact = BTreeMap::new();
    let last = recording
        .events
        .iter()
        .rev()
        .find(|noted| noted.event.name() != "End");
    let last = last.map_or(0, |noted| noted.order);
    let mut keep = |moment: &Moment<'_>| {
        if moment.noted.order.saturating_add(64) >= last || moment.committed {
            exact = records(moment.store);
        }
        Go::On
    };
    play(recording, &mut keep)?;
    let drift = changed(&exact, &without).count();
    Ok(Ends {
        without,
        with,
        unanswered,
        drift,
        told: (told_without, told_with),
    })
}

/// The records that are not the same on both sides.
pub fn changed<'r>(
    one: &'r BTreeMap<RecordKey, Json>,
    other: &'r BTreeMap<RecordKey, Json>,
) -> impl Iterator<Item = &'r RecordKey> {
    let only_other = other.keys().filter(|key| !one.contains_key(*key));
    one.iter()
        .filter(|(key, record)| other.get(*key) != Some(*record))
        .map(|(key, _)| key)
        .chain(only_other)
}

/// The records at the end of a free run; the calls without an answer, and what happened.
type FreeEnd = (BTreeMap<RecordKey, Json>, (u64, Vec<Told>));

fn free_run(recording: &Recording) -> Result<FreeEnd, ReplayError> {
    let trace = TraceLog::default();
    in_virtual_time(&trace, async {
        let control = Arc::new(Control::free(
            SimClock::start(),
            free::Script::of(&recording.events),
        ));
        let store = open(recording, &control)?;
        free::run(&store, recording).await;
        let end = (records(&store), control.told());
        store.halt();
        Ok(end)
    })
}

/// Every record that the app sees, as JSON; what cannot be read is left out.
fn records(store: &DataStore) -> BTreeMap<RecordKey, Json> {
    let mut all = BTreeMap::new();
    for def in store.schema().models() {
        for record in store
            .records()
            .query(&Query::all(def.name.clone()))
            .unwrap_or_default()
        {
            if let Some(id) = record.id() {
                all.insert(
                    RecordKey::new(def.name.clone(), id),
                    landfall::record_json(&record),
                );
            }
        }
    }
    all
}

/// The recorded store as it was when its recording began.
fn open(recording: &Recording, control: &Arc<Control>) -> Result<DataStore, ReplayError> {
    let schema: Schema = landfall::schema_from_json(&recording.head.schema).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        ReplayError::Schema(faults.join("; "))
    })?;
    let disk = SimDisk::new(0);
    if !recording.base.is_empty() {
        let history = read_exported(recording.base.clone())?;
        if !history.is_empty() {
            history.fork_to(history.bounds().1, &disk.disk())?;
        }
    }
    let endpoint = recording.head.endpoint.as_deref();
    let env = Env {
        clock: Arc::clone(control) as Arc<dyn landfall::Clock>,
        entropy: Arc::clone(control) as Arc<dyn landfall::Entropy>,
        transport: endpoint.map(transport::nowhere),
        trace: Arc::new(NoTrace),
        schedule: Arc::new(Immediate),
        flight: control.flight(endpoint),
        meter: landfall_actors::Meter::default(),
    };
    let mut builder = DataStore::builder(&Arc::new(schema)).disk(Disk::Custom(disk.opener()));
    if !recording.head.queues_changes {
        builder = builder.local_only();
    }
    for directed in &recording.head.directions {
        builder = builder.model_sync_named(directed.model.clone(), directed.sync);
    }
    Ok(builder.open_in(env)?)
}
