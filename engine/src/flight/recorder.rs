//! Recording while a store runs.
//!
//! Owns [`Recorder`] (one for each store), the seats that it gives to actors, and the thread that writes. An actor never waits
//! for it: if the writer cannot keep up, events are dropped, which shows in the file by their missing numbers, in the log by
//! a warning, and in [`RecorderReport`].
//!
//! Invariants: 1. an actor's clocks stand still during a step, at what the step's event says; 2. an event gets its
//! number where it happens, so that numbers tell the order in which actors acted on each other.
//!
//! Bounds: [`RECORDER_QUEUE_MAX`] events wait for the writer; a file grows to the length that the builder was given, and
//! nothing more is recorded then.
#![allow(clippy::disallowed_methods, reason = "the recorder's thread is made here")]

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use landfall_actors::flight::{Answer, Commit, Deck, Flight, Input, Seat};
use landfall_actors::{Clock, Entropy, Env};
use landfall_core::Seq;
use landfall_storage::history::History;
use landfall_storage::{Reader, StorageError};
use landfall_wire::Transport;

use super::event::{Event, Noted, SeatName};
use super::file::{FLIGHT_VERSION, Head, Kind, MAGIC, SEGMENT_BYTES, put_event, put_segment};
use super::transport::RecordedTransport;

/// Events that wait for the writer. Some tenths of a second of a busy store; more would only delay the moment at which
/// a disk that is too slow shows.
pub const RECORDER_QUEUE_MAX: usize = 16 * 1024;

/// How long an event stays in memory while nothing else happens, so that a crash loses little.
const FLUSH_AFTER: Duration = Duration::from_millis(100);

/// What a recorder has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecorderReport {
    /// Events that were given a number.
    pub events: u64,
    /// Those of them that were dropped because the writer could not keep up, or because the file was full.
    pub dropped: u64,
    /// Whether writing failed, or the file reached its bound; nothing more is recorded then.
    pub stopped: bool,
}

/// Records one store.
#[derive(Debug)]
pub(crate) struct Recorder {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    sender: Sender<Item>,
    order: AtomicU64,
    dropped: AtomicU64,
    stopped: AtomicBool,
    seats: AtomicU32,
}

#[derive(Debug)]
enum Item {
    Base(Vec<u8>),
    Event(Noted),
    Close,
}

impl Recorder {
    /// Makes the file and starts the writer.
    pub(crate) fn start(path: &Path, bytes_max: u64, head: &Head) -> io::Result<Arc<Self>> {
        let (sender, receiver) = bounded(RECORDER_QUEUE_MAX);
        let shared = Arc::new(Shared {
            sender,
            order: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            seats: AtomicU32::new(0),
        });
        let mut file = File::create_new(path)?;
        file.write_all(&MAGIC)?;
        let mut writer = Writer {
            file,
            number: 0,
            bytes: MAGIC.len() as u64,
            bytes_max,
            payload: Vec::with_capacity(SEGMENT_BYTES * 2),
        };
        writer.segment(Kind::Head, &serde_json::to_vec(head)?)?;
        let told = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("landfall-recorder".to_owned())
            .spawn(move || {
                if let Err(error) = writer.run(&receiver) {
                    told.stopped.store(true, Ordering::SeqCst);
                    tracing::warn!(%error, "nothing more is recorded; the store goes on");
                }
            })?;
        Ok(Arc::new(Self {
            shared,
            writer: Mutex::new(Some(thread)),
        }))
    }

    /// The head of a recording.
    pub(crate) fn head(
        schema: &landfall_core::Schema,
        queues_changes: bool,
        transport: Option<&Arc<dyn Transport>>,
    ) -> Head {
        Head {
            version: FLIGHT_VERSION,
            written_by: env!("CARGO_PKG_VERSION").to_owned(),
            schema: landfall_core::schema_to_json(schema),
            queues_changes,
            endpoint: transport.map(|transport| without_query(transport.endpoint())),
        }
    }

    /// Records the log with which the store begins. Waits for the writer: this belongs to opening.
    pub(crate) fn base(&self, reader: &Reader) -> Result<(), StorageError> {
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
                let chunk = std::mem::take(&mut self.1);
                let gone = |_| io::Error::other("the recorder has stopped");
                self.0.sender.send(Item::Base(chunk)).map_err(gone)
            }
        }
        let mut chunks = Chunks(&self.shared, Vec::new());
        History::of_snapshot(reader.snapshot()?)?.export(&mut chunks, None)?;
        chunks.flush().map_err(|error| StorageError::Io {
            cause: error.to_string(),
        })
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

    /// Records nothing from here on.
    pub(crate) fn give_up(&self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
    }

    /// Notes how the store ends.
    pub(crate) fn end(&self, head: Seq, check: u32, state: u64, at_ms: u64) {
        self.shared.note(0, at_ms, Event::End { head, check, state });
    }

    /// Has everything written, and closes the file. What is noted afterwards is lost.
    pub(crate) fn close(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && self.shared.sender.send(Item::Close).is_ok()
        {
            // A writer that panicked has written what it could.
            writer.join().unwrap_or(());
        }
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
        match self.sender.try_send(Item::Event(noted)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                if self.dropped.fetch_add(1, Ordering::SeqCst) == 0 {
                    tracing::warn!(
                        order,
                        "the recorder cannot keep up and drops events; a replay ends here"
                    );
                }
            }
            Err(TrySendError::Disconnected(_)) => {
                self.dropped.fetch_add(1, Ordering::SeqCst);
                self.stopped.store(true, Ordering::Relaxed);
            }
        }
    }
}

struct Writer {
    file: File,
    number: u32,
    bytes: u64,
    bytes_max: u64,
    payload: Vec<u8>,
}

impl Writer {
    fn run(&mut self, receiver: &Receiver<Item>) -> io::Result<()> {
        loop {
            match receiver.recv_timeout(FLUSH_AFTER) {
                Ok(Item::Event(noted)) => {
                    put_event(&mut self.payload, &noted).map_err(io::Error::other)?;
                    if self.payload.len() >= SEGMENT_BYTES {
                        self.flush()?;
                    }
                }
                Ok(Item::Base(chunk)) => self.segment(Kind::Base, &chunk)?,
                Err(RecvTimeoutError::Timeout) => self.flush()?,
                Ok(Item::Close) | Err(RecvTimeoutError::Disconnected) => return self.flush(),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.payload.is_empty() {
            return Ok(());
        }
        let payload = std::mem::take(&mut self.payload);
        self.segment(Kind::Events, &payload)?;
        self.payload = payload;
        self.payload.clear();
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
        Env {
            clock: Arc::clone(&seat) as Arc<dyn Clock>,
            entropy: Arc::clone(&seat) as Arc<dyn Entropy>,
            transport,
            trace: Arc::clone(&env.trace),
            schedule: Arc::clone(&env.schedule),
            flight: Flight {
                deck: env.flight.deck.clone(),
                seat: Some(seat),
            },
        }
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
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_what_may_be_credentials() {
        assert_eq!(
            without_query("https://me:p@w@a.example/graphql@x?key=1"),
            "https://a.example/graphql@x"
        );
        assert_eq!(
            without_query("https://a.example/graphql"),
            "https://a.example/graphql"
        );
    }

    #[test]
    fn a_writer_that_is_full_has_events_dropped_and_says_so() {
        let (sender, receiver) = bounded(2);
        let shared = Shared {
            sender,
            order: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            seats: AtomicU32::new(0),
        };
        for bits in 0..5 {
            shared.note(1, 0, Event::Draw(bits));
        }
        assert_eq!(shared.dropped.load(Ordering::SeqCst), 3);
        drop(receiver.try_recv());
        shared.note(1, 0, Event::Draw(9));
        let kept: Vec<u64> = receiver
            .try_iter()
            .filter_map(|item| match item {
                Item::Event(noted) => Some(noted.order),
                Item::Base(_) | Item::Close => None,
            })
            .collect();
        assert_eq!(kept, [2, 6], "a hole tells what was dropped");
    }

    #[test]
    fn a_recording_ends_at_its_bound_and_says_so() {
        let home = tempfile::tempdir().unwrap();
        let head = Head {
            version: FLIGHT_VERSION,
            written_by: String::new(),
            schema: serde_json::Value::Null,
            queues_changes: false,
            endpoint: None,
        };
        let path = home.path().join("small.flight");
        let recorder = Recorder::start(&path, 512, &head).unwrap();
        for bits in 0..1_000 {
            recorder.shared.note(1, 0, Event::Draw(bits));
        }
        recorder.close();
        assert!(recorder.report().stopped);
        assert!(std::fs::metadata(&path).unwrap().len() <= 512);
    }
}
