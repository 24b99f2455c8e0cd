//! Recording while a store runs.
//!
//! Owns [`Recorder`] (one for each store), the seats that it gives to actors, and the thread that writes. An actor never
//! waits for it: if the writer cannot keep up, events are dropped, which shows in the file by their missing numbers, in the
//! log by a warning, and in [`RecorderReport`].
//!
//! Invariants: 1. an actor's clocks stand still during a step, at what the step's event says; 2. an event gets its
//! number where it happens, so that numbers tell the order in which actors acted on each other.
//!
//! Bounds: [`RECORDER_QUEUE_MAX`] events wait for the writer, of [`RECORDER_QUEUE_BYTES_MAX`] bytes and the last of them; a
//! file grows to the length that the builder was given, and nothing more is recorded then.
#![allow(clippy::disallowed_methods, reason = "the recorder's thread is made here")]

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use landfall_actors::flight::{Answer, Commit, Deck, Input, Seat};
use landfall_actors::{Clock, Entropy, Env};
use landfall_core::{ModelSync, Schema, Seq};
use landfall_storage::history::History;
use landfall_storage::{Reader, StorageError};
use landfall_wire::Transport;

use super::event::{Event, Noted, SeatName};
use super::file::{Directed, FLIGHT_VERSION, Head, Kind, MAGIC, SEGMENT_BYTES, put_event, put_segment};
use super::transport::RecordedTransport;

/// Events that wait for the writer. Some tenths of a second of a busy store; more would only delay the moment at which
/// a disk that is too slow shows.
pub const RECORDER_QUEUE_MAX: usize = 16 * 1024;

/// Bytes of events that wait for the writer; while so many do, further ones are dropped. Events hold whole answers of the
/// server, so that a bound on their number alone would allow gigabytes beside a slow disk. One event may be longer than
/// this, and is recorded if it is the only one that waits.
pub const RECORDER_QUEUE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How long the writer keeps an event in memory, whatever else happens, so that a crash loses little.
const FLUSH_AFTER: Duration = Duration::from_millis(100);

/// What a recorder has done so far; see [`DataStore::recording`](crate::DataStore::recording).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecorderReport {
    /// Events that were given a number.
    pub events: u64,
    /// Those of them that are not in the file, or not all, because the writer could not keep up, or because it stopped.
    pub dropped: u64,
    /// Whether writing failed, or the file reached its bound; nothing more is recorded then.
    pub stopped: bool,
}

/// Why a store is not recorded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoBeginning {
    /// A recording would have to hold what the log goes on from, and does not.
    #[error(
        "its log was trimmed, and goes on from what a recording cannot hold; a store with its whole log can be"
    )]
    Trimmed,
    /// The log could not be read or written down.
    #[error("the log with which it begins cannot be copied: {0}")]
    Uncopied(#[from] StorageError),
}

/// Records one store.
#[derive(Debug)]
pub(crate) struct Recorder {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    path: PathBuf,
}

#[derive(Debug)]
struct Shared {
    sender: Sender<Item>,
    /// Bytes of the events that wait for the writer.
    queued: AtomicU64,
    order: AtomicU64,
    dropped: AtomicU64,
    stopped: AtomicBool,
    seats: AtomicU32,
}

#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all are events, and a box for each would cost more"
)]
enum Item {
    /// A part of the log with which the store begins, and whom to tell that it is in the file.
    Base(Vec<u8>, Sender<()>),
    /// An event, and the bytes that it counts for.
    Event(Noted, u64),
    Close,
}

impl Recorder {
    /// Makes the file and starts the writer.
    pub(crate) fn start(path: &Path, bytes_max: u64, head: &Head) -> io::Result<Arc<Self>> {
        let (sender, receiver) = bounded(RECORDER_QUEUE_MAX);
        let shared = Arc::new(Shared::new(sender));
        let file = File::create_new(path)?;
        let recorder = Arc::new(Self {
            shared: Arc::clone(&shared),
            writer: Mutex::new(None),
            path: path.to_owned(),
        });
        let thread = Writer::begin(file, bytes_max, head).and_then(|mut writer| {
            std::thread::Builder::new()
                .name("landfall-recorder".to_owned())
                .spawn(move || {
                    if let Err(error) = writer.run(&receiver, &shared) {
                        shared.stopped.store(true, Ordering::SeqCst);
                        // What was on its way into the file is as lost as what would have come after it.
                        let queued = receiver.try_iter().filter(|item| matches!(item, Item::Event(..)));
                        let lost = writer.unwritten + queued.count() as u64;
                        shared.dropped.fetch_add(lost, Ordering::SeqCst);
                        tracing::warn!(%error, "nothing more is recorded; the store goes on");
                    }
                })
        });
        match thread {
            Ok(thread) => *recorder.writer() = Some(thread),
            Err(error) => {
                recorder.give_up();
                return Err(error);
            }
        }
        Ok(recorder)
    }

    /// The head of a recording.
    pub(crate) fn head(
        schema: &Schema,
        queues_changes: bool,
        transport: Option<&Arc<dyn Transport>>,
    ) -> Head {
        let both = schema.models().map(|def| (&def.name, ModelSync::Both));
        // As it was before anything was said of directions: those are applied to it again. Each model is there.
        let undirected = schema.with_model_sync(both).unwrap_or_else(|_| schema.clone());
        Head {
            version: FLIGHT_VERSION,
            written_by: env!("CARGO_PKG_VERSION").to_owned(),
            schema: landfall_core::schema_to_json(&undirected),
            queues_changes,
            endpoint: transport.map(|transport| without_query(transport.endpoint())),
            directions: schema.models().map(|def| Directed::of(def)).collect(),
            prints: landfall_actors::flight::PRINTS,
        }
    }

    /// Begins with a store that was just opened. What cannot be recorded from its beginning cannot be played: then nothing
    /// is, no file is left, the log says why, and the store goes on.
    pub(crate) fn begin(&self, reader: &Reader) {
        if let Err(error) = self.base(reader) {
            self.give_up();
            tracing::warn!(%error, "the store is not recorded");
        }
    }

    /// Records the log with which the store begins. Waits for the writer: this belongs to opening.
    fn base(&self, reader: &Reader) -> Result<(), NoBeginning> {
        struct Chunks<'s>(&'s Shared, Vec<u8>);
        impl Write for Chunks<'_> {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.1.extend_from_slice(bytes);
                if self.1.len() >= SEGMENT_BYTES {
                    self.flush()?;
                }
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                let gone = || io::Error::other("the recorder has stopped");
                let (written, is_written) = bounded(1);
                let chunk = Item::Base(std::mem::take(&mut self.1), written);
                self.0.sender.send(chunk).map_err(|_| gone())?;
                // One at a time, so that a long log is never all in memory.
                is_written.recv().map_err(|_| gone())
            }
        }
        let history = History::of_snapshot(reader.snapshot()?)?;
        if history.has_base()? {
            return Err(NoBeginning::Trimmed);
        }
        let mut chunks = Chunks(&self.shared, Vec::new());
        history.export(&mut chunks, None)?;
        let cannot = |error: io::Error| StorageError::Io {
            cause: error.to_string(),
        };
        Ok(chunks.flush().map_err(cannot)?)
    }

    /// Who gives seats to the actors of a store in that world.
    pub(crate) fn deck(self: &Arc<Self>, world: &Env) -> Arc<dyn Deck> {
        Arc::new(RecorderDeck {
            recorder: Arc::clone(self),
            world: world.clone(),
        })
    }

    /// What it has done so far.
    pub(crate) fn report(&self) -> RecorderReport {
        RecorderReport {
            events: self.shared.order.load(Ordering::SeqCst),
            dropped: self.shared.dropped.load(Ordering::SeqCst),
            stopped: self.shared.stopped.load(Ordering::SeqCst),
        }
    }

    /// Records nothing from here on, and takes the file away, of which nothing could be played.
    pub(crate) fn give_up(&self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.close();
        if let Err(error) = std::fs::remove_file(&self.path) {
            let file = self.path.display();
            tracing::warn!(%error, %file, "the recording that was not made is left behind; remove it");
        }
    }

    /// Notes how the store ends.
    pub(crate) fn end(&self, head: Seq, check: u32, state: u64, at_ms: u64) {
        self.shared.note(0, at_ms, Event::End { head, check, state });
    }

    /// Has everything written, and closes the file. What is noted afterwards is lost.
    pub(crate) fn close(&self) {
        let writer = self.writer().take();
        if let Some(writer) = writer {
            // One that has stopped hears nothing, and has ended already. One that panicked has written what it could.
            self.shared.sender.send(Item::Close).unwrap_or(());
            writer.join().unwrap_or(());
        }
    }

    fn writer(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.close();
    }
}

/// Addresses are for people; credentials that somebody put into one are not.
fn without_query(endpoint: &str) -> String {
    let address = endpoint.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = address.split_once("://") else {
        return address.to_owned();
    };
    let host_end = rest.find('/').unwrap_or(rest.len());
    let host = rest[..host_end].rfind('@').map_or(0, |at| at + 1);
    format!("{scheme}://{}", &rest[host..])
}

impl Shared {
    fn new(sender: Sender<Item>) -> Self {
        Self {
            sender,
            queued: AtomicU64::new(0),
            order: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            seats: AtomicU32::new(0),
        }
    }

    fn note(&self, seat: u32, at_ms: u64, event: Event) {
        if self.stopped.load(Ordering::Relaxed) {
            return;
        }
        let order = self.order.fetch_add(1, Ordering::SeqCst) + 1;
        let noted = Noted {
            order,
            at_ms,
            seat,
            event,
        };
        let weight = noted.weight();
        // Counted before the writer could take it away again.
        if self.queued.fetch_add(weight, Ordering::SeqCst) >= RECORDER_QUEUE_BYTES_MAX {
            self.queued.fetch_sub(weight, Ordering::SeqCst);
            self.drop_one(order);
            return;
        }
        match self.sender.try_send(Item::Event(noted, weight)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                self.queued.fetch_sub(weight, Ordering::SeqCst);
                self.drop_one(order);
            }
            Err(TrySendError::Disconnected(_)) => {
                self.dropped.fetch_add(1, Ordering::SeqCst);
                self.stopped.store(true, Ordering::Relaxed);
            }
        }
    }

    fn drop_one(&self, order: u64) {
        if self.dropped.fetch_add(1, Ordering::SeqCst) == 0 {
            tracing::warn!(
                order,
                "the recorder cannot keep up and drops events; a replay ends here"
            );
        }
    }
}

struct Writer {
    file: File,
    number: u32,
    bytes: u64,
    bytes_max: u64,
    payload: Vec<u8>,
    /// Events that were taken and are not in the file yet.
    unwritten: u64,
    /// When the oldest event of the payload is to be in the file; nothing if there is none.
    due: Option<Instant>,
}

impl Writer {
    /// Writes the head.
    fn begin(mut file: File, bytes_max: u64, head: &Head) -> io::Result<Self> {
        file.write_all(&MAGIC)?;
        let mut writer = Self {
            file,
            number: 0,
            bytes: MAGIC.len() as u64,
            bytes_max,
            payload: Vec::with_capacity(SEGMENT_BYTES * 2),
            unwritten: 0,
            due: None,
        };
        writer.segment(Kind::Head, &serde_json::to_vec(head)?)?;
        Ok(writer)
    }

    fn run(&mut self, receiver: &Receiver<Item>, shared: &Shared) -> io::Result<()> {
        loop {
            let item = match self.due {
                Some(due) => receiver.recv_deadline(due),
                None => receiver.recv().map_err(RecvTimeoutError::from),
            };
            match item {
                Ok(Item::Event(noted, weight)) => {
                    shared.queued.fetch_sub(weight, Ordering::SeqCst);
                    self.take(&noted, Instant::now())?;
                }
                Ok(Item::Base(chunk, written)) => {
                    self.segment(Kind::Base, &chunk)?;
                    // Who sent it may have gone.
                    written.send(()).unwrap_or(());
                }
                Err(RecvTimeoutError::Timeout) => self.flush()?,
                Ok(Item::Close) | Err(RecvTimeoutError::Disconnected) => return self.flush(),
            }
        }
    }

    /// Adds an event, and writes if that makes enough of them or the oldest has waited long enough: a queue that never
    /// runs empty must not keep it waiting.
    fn take(&mut self, noted: &Noted, now: Instant) -> io::Result<()> {
        self.unwritten += 1;
        put_event(&mut self.payload, noted).map_err(io::Error::other)?;
        let due = *self.due.get_or_insert(now + FLUSH_AFTER);
        if self.payload.len() >= SEGMENT_BYTES || now >= due {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.due = None;
        if self.payload.is_empty() {
            return Ok(());
        }
        let payload = std::mem::take(&mut self.payload);
        self.segment(Kind::Events, &payload)?;
        self.unwritten = 0;
        self.payload = payload;
        self.payload.clear();
        // What one long event needed is not kept for all that follow.
        self.payload.shrink_to(SEGMENT_BYTES * 2);
        Ok(())
    }

    fn segment(&mut self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        if self.bytes + payload.len() as u64 > self.bytes_max {
            return Err(io::Error::other(format!(
                "the recording has reached its bound of {} bytes",
                self.bytes_max
            )));
        }
        self.bytes += put_segment(&mut self.file, self.number, kind, payload)? as u64;
        self.number += 1;
        Ok(())
    }
}

struct RecorderDeck {
    recorder: Arc<Recorder>,
    world: Env,
}

impl Deck for RecorderDeck {
    fn board(&self, actor: &'static str, run: u64, env: &Env) -> Env {
        let shared = &self.recorder.shared;
        let number = shared.seats.fetch_add(1, Ordering::SeqCst) + 1;
        let (now_ms, wall_ms) = (self.world.clock.now_ms(), self.world.clock.wall_ms());
        let seat = Arc::new(RecorderSeat {
            number,
            shared: Arc::clone(shared),
            clock: Arc::clone(&self.world.clock),
            entropy: Arc::clone(&self.world.entropy),
            now_ms: AtomicU64::new(now_ms),
            wall_ms: AtomicI64::new(wall_ms),
            calls: AtomicU64::new(0),
        });
        let name = SeatName {
            actor: actor.into(),
            run,
        };
        seat.note(Event::Seated {
            name,
            now_ms,
            wall_ms,
        });
        let transport = self.world.transport.as_ref().map(|inner| {
            Arc::new(RecordedTransport::new(Arc::clone(inner), Arc::clone(&seat))) as Arc<dyn Transport>
        });
        env.seen_from(seat, transport)
    }
}

/// The seat of one actor.
pub(super) struct RecorderSeat {
    number: u32,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    now_ms: AtomicU64,
    wall_ms: AtomicI64,
    calls: AtomicU64,
}

impl RecorderSeat {
    pub(super) fn note(&self, event: Event) {
        self.shared.note(self.number, self.clock.now_ms(), event);
    }
}

impl Clock for RecorderSeat {
    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    fn wall_ms(&self) -> i64 {
        self.wall_ms.load(Ordering::SeqCst)
    }
}

impl Entropy for RecorderSeat {
    fn next_u64(&self) -> u64 {
        let bits = self.entropy.next_u64();
        self.note(Event::Draw(bits));
        bits
    }
}

impl Seat for RecorderSeat {
    fn taken(&self, step: &'static str, print: u64, input: Option<Input>) {
        let (now_ms, wall_ms) = (self.clock.now_ms(), self.clock.wall_ms());
        self.now_ms.store(now_ms, Ordering::SeqCst);
        self.wall_ms.store(wall_ms, Ordering::SeqCst);
        let event = Event::Step {
            step: step.into(),
            print,
            now_ms,
            wall_ms,
            input,
        };
        self.shared.note(self.number, now_ms, event);
    }

    fn looked(&self, head: Option<Seq>) -> bool {
        self.note(Event::Looked(head));
        true
    }

    fn committed(&self, commit: Commit) {
        self.note(Event::Committed(commit));
    }

    fn called(&self, what: &'static str, print: u64) -> u64 {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        self.note(Event::Called {
            call,
            what: what.into(),
            print,
        });
        call
    }

    fn answered(&self, call: u64, answer: Answer) {
        self.note(Event::Answered { call, answer });
    }
}

#[cfg(test)]
mod tests;
