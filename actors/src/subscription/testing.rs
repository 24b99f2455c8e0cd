//! What the tests of subscriptions share: a schema, records as the server sends them, and a server that talks to the
//! machine at once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value as Json, json};

use landfall_core::{
    FieldDef, KeyDef, KeyKind, ModelParts, Op, Predicate, RecordId, Scalar, Schema, SchemaParts, Timestamps,
    Value,
};
use landfall_wire::{Credentials, Frame, HttpResponse, ServerError, SubscriptionId, TransportError};

use super::catalog::{Catalog, Feed};
use super::fetch::Wanted;
use super::line::{SocketId, Start};
use super::machine::{Effect, Input, Machine, Notice, Stored};
use super::{Heard, SubscriptionMessage};
use crate::config::SyncSettings;
use crate::reachability::Outcome;
use crate::storage::RemoteBatch;

/// A schema of those models, each with an identifier, a required title and a rating; `Setting` does not sync.
pub(super) fn schema(models: &[&str]) -> Arc<Schema> {
    let model = |name: &&str| ModelParts {
        name: (*name).into(),
        plural_name: format!("{name}s"),
        syncable: *name != "Setting",
        fields: vec![
            FieldDef {
                required: true,
                ..FieldDef::scalar("id", Scalar::Id)
            },
            FieldDef {
                required: true,
                ..FieldDef::scalar("title", Scalar::String)
            },
            FieldDef::scalar("rating", Scalar::Int),
        ],
        key: KeyDef {
            kind: KeyKind::Managed,
            fields: vec!["id".into()],
            declared: false,
        },
        indexes: Vec::new(),
        timestamps: Timestamps::default(),
        auth: Vec::new(),
    };
    let parts = SchemaParts {
        models: models.iter().map(model).collect(),
        ..SchemaParts::default()
    };
    Arc::new(Schema::build(parts).expect("the schema is sound"))
}

/// Settings under which only posts with a rating above 3 sync.
pub(super) fn high_ratings() -> SyncSettings {
    let expression = Predicate::field("rating", Op::Gt(Value::Int(3)));
    SyncSettings {
        expressions: [("Post".into(), expression)].into(),
        ..SyncSettings::default()
    }
}

/// A schema of posts, and an expression that selects those with a rating above 3.
pub(crate) fn high_ratings_of_posts() -> (Arc<Schema>, Predicate) {
    let expression = Predicate::field("rating", Op::Gt(Value::Int(3)));
    (schema(&["Post"]), expression)
}

/// A record as the server sends it.
pub(super) fn record(id: &str, rating: i64) -> Json {
    json!({ "id": id, "title": "t", "rating": rating, "_version": 1, "_lastChangedAt": 1, "_deleted": null })
}

/// A record with some of its members replaced.
pub(super) fn record_with(id: &str, members: Json) -> Json {
    let mut record = record(id, 5);
    let Json::Object(members) = members else {
        panic!("members of an object")
    };
    record
        .as_object_mut()
        .expect("a record is an object")
        .extend(members);
    record
}

/// A refusal of `start`s for one root field.
struct Refusal {
    root: &'static str,
    error: ServerError,
    times: usize,
}

/// The machine and a server that answers at once, unless told otherwise. Effects are noted as words.
pub(super) struct Lab {
    pub(super) machine: Machine,
    pub(super) now_ms: u64,
    log: Vec<String>,
    reports: Vec<Outcome>,
    heard: VecDeque<Input>,
    /// Errors with which the next sockets open.
    pub(super) opening: VecDeque<TransportError>,
    /// What the server answers to `connection_init`.
    pub(super) greeting: Frame,
    refusals: Vec<Refusal>,
    /// Root fields whose `start` is not answered.
    pub(super) mute: Vec<&'static str>,
    /// Whether batches are stored at once.
    pub(super) stores: Option<Stored>,
    /// What the server answers when asked for a record.
    pub(super) records: BTreeMap<RecordId, Json>,
    roots: BTreeMap<SubscriptionId, String>,
    live: BTreeMap<String, SubscriptionId>,
    socket: Option<SocketId>,
    next_id: u64,
    /// How many credentials the transport has.
    pub(super) credentials: u32,
}

impl Lab {
    /// Whatever the settings, nothing is connected yet.
    pub(super) fn new(models: &[&str], settings: &SyncSettings) -> Self {
        Self {
            machine: Machine::new(Catalog::new(&schema(models), settings)),
            now_ms: 0,
            log: Vec::new(),
            reports: Vec::new(),
            heard: VecDeque::new(),
            opening: VecDeque::new(),
            greeting: Frame::ConnectionAck {
                connection_timeout_ms: None,
            },
            refusals: Vec::new(),
            mute: Vec::new(),
            stores: Some(Stored::Done),
            records: BTreeMap::new(),
            roots: BTreeMap::new(),
            live: BTreeMap::new(),
            socket: None,
            next_id: 0,
            credentials: 1,
        }
    }

    /// Models of that name, connected, established and drained; what happened so far is forgotten.
    pub(super) fn live(models: &[&str], settings: &SyncSettings) -> Self {
        let mut lab = Self::new(models, settings);
        lab.step(Input::Connect);
        lab.step(Input::Drain);
        let log = lab.log();
        assert_eq!(log.last().map(String::as_str), Some("drained"), "{log:?}");
        lab
    }

    /// The next `times` starts for a root field are refused.
    pub(super) fn refuse(&mut self, root: &'static str, error_type: &str, message: &str, times: usize) {
        self.refusals.push(Refusal {
            root,
            error: ServerError::new(error_type, message),
            times,
        });
    }

    /// What happened since it was last asked.
    pub(super) fn log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    /// What was reported about the network since it was last asked.
    pub(super) fn reports(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.reports)
    }

    /// Feeds an input, and whatever the server says to what follows.
    pub(super) fn step(&mut self, input: Input) {
        self.heard.push_back(input);
        while let Some(input) = self.heard.pop_front() {
            let effects = self.machine.step(self.now_ms, &mut || 0, input);
            effects.into_iter().for_each(|effect| self.perform(effect));
        }
    }

    /// Lets time pass, with the timer going off when it is due.
    pub(super) fn pass_to(&mut self, until_ms: u64) {
        while let Some(due_ms) = self.machine.due_ms().filter(|due_ms| *due_ms <= until_ms) {
            self.now_ms = self.now_ms.max(due_ms);
            self.step(Input::TimerDue);
        }
        self.now_ms = until_ms;
    }

    /// The server sends a frame.
    pub(super) fn frame(&mut self, frame: &Frame) {
        let socket = self.socket.expect("a socket is open");
        self.step(Input::Frame(socket, frame.to_text()));
    }

    /// The server sends a record.
    pub(super) fn data(&mut self, root: &str, record: &Json) {
        let field = format!("o{}", &root[1..]);
        self.payload(root, &json!({ "data": { field: record } }));
    }

    /// The server sends a payload.
    pub(super) fn payload(&mut self, root: &str, payload: &Json) {
        let id = self
            .live
            .get(root)
            .unwrap_or_else(|| panic!("{root} is not live"))
            .clone();
        self.frame(&Frame::Data {
            id,
            payload: payload.to_string(),
        });
    }

    /// The server ends a subscription with an error.
    pub(super) fn fail(&mut self, root: &str, error_type: &str) {
        let id = self
            .live
            .remove(root)
            .unwrap_or_else(|| panic!("{root} is not live"));
        self.frame(&Frame::Error {
            id: Some(id),
            errors: vec![ServerError::new(error_type, "failed")],
        });
    }

    /// The socket ends.
    pub(super) fn cut(&mut self) {
        let socket = self.socket.take().expect("a socket is open");
        self.step(Input::Closed(socket, "cut".into()));
    }

    /// The current socket.
    pub(super) fn socket(&self) -> SocketId {
        self.socket.expect("a socket is open")
    }

    fn note(&mut self, line: impl Into<String>) {
        self.log.push(line.into());
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Open(socket) => {
                self.note(format!("{} open {}.{}", self.now_ms, socket.line, socket.turn));
                self.heard.push_back(match self.opening.pop_front() {
                    Some(error) => Input::NotOpened(socket, error),
                    None => {
                        self.socket = Some(socket);
                        Input::Opened(socket)
                    }
                });
            }
            Effect::Send { socket, frame } => self.serve(socket, &frame.into_text()),
            Effect::Close(socket) => self.note(format!("close {}.{}", socket.line, socket.turn)),
            Effect::Authorize {
                socket,
                feed,
                data,
                attempt,
            } => self.authorize(socket, feed, data, attempt),
            Effect::Refused => self.note("refused"),
            Effect::Fetch(wanted, request) => {
                self.note(format!("get {} {}", request.operation, wanted.id));
                self.answer(wanted);
            }
            Effect::Store(batch) => {
                self.note(words(&batch));
                self.heard.extend(self.stores.map(Input::Stored));
            }
            Effect::Tell(Notice::Established) => self.note("established"),
            Effect::Tell(Notice::Lost) => self.note("lost"),
            Effect::Tell(Notice::GapFound) => self.note("gap"),
            Effect::Tell(Notice::Drained) => self.note("drained"),
            Effect::Report(outcome) => self.reports.push(outcome),
            Effect::Complain(complaint) => {
                let model = complaint.model.map(|model| model.to_string()).unwrap_or_default();
                self.note(format!("{} {model} {}", complaint.kind.name(), complaint.message));
            }
            Effect::Quit => self.note("quit"),
        }
    }

    fn authorize(&mut self, socket: SocketId, feed: Feed, data: String, attempt: u32) {
        self.next_id += 1;
        let id = SubscriptionId::new(&format!("s{}", self.next_id));
        let reason = || "there are no others".to_owned();
        let authorization = if attempt < self.credentials {
            Ok(Credentials::default())
        } else {
            Err(TransportError::Unauthorized { reason: reason() })
        };
        self.heard.push_back(Input::Authorized(
            socket,
            Start {
                feed,
                id,
                data,
                authorization,
            },
        ));
    }

    fn serve(&mut self, socket: SocketId, text: &str) {
        let answer = match Frame::parse(text).expect("the machine sends frames") {
            Frame::ConnectionInit => Some(self.greeting.clone()),
            Frame::Start { id, data, .. } => self.start(id, &data),
            Frame::Stop { id } => Some(Frame::Complete { id }),
            frame => panic!("no client sends {frame:?}"),
        };
        self.heard
            .extend(answer.map(|frame| Input::Frame(socket, frame.to_text())));
    }

    fn start(&mut self, id: SubscriptionId, data: &str) -> Option<Frame> {
        let text = data
            .split("subscription ")
            .nth(1)
            .expect("a subscription document");
        let root = text
            .split([' ', '('])
            .next()
            .expect("an operation name")
            .to_owned();
        let filtered = if data.contains("$filter") { " filtered" } else { "" };
        self.note(format!("start {root}{filtered}"));
        self.roots.insert(id.clone(), root.clone());
        if self.mute.iter().any(|mute| *mute == root) {
            return None;
        }
        let refusal = self
            .refusals
            .iter_mut()
            .find(|refusal| refusal.root == root && refusal.times > 0);
        if let Some(refusal) = refusal {
            refusal.times -= 1;
            return Some(Frame::Error {
                id: Some(id),
                errors: vec![refusal.error.clone()],
            });
        }
        self.live.insert(root, id.clone());
        Some(Frame::StartAck { id })
    }

    /// Acknowledges the last start of a root field that was mute.
    pub(super) fn acknowledge(&mut self, root: &str) {
        let of_root = |(id, of): (&SubscriptionId, &String)| (of == root).then(|| id.clone());
        let id = self
            .roots
            .iter()
            .filter_map(of_root)
            .max_by_key(number)
            .expect("it was started");
        self.live.insert(root.to_owned(), id.clone());
        self.frame(&Frame::StartAck { id });
    }

    /// The identifier under which a root field is live.
    pub(super) fn id_of(&self, root: &str) -> SubscriptionId {
        self.live[root].clone()
    }

    fn answer(&mut self, wanted: Wanted) {
        let result = match self.records.get(&wanted.id) {
            Some(record) => Ok(HttpResponse::new(
                200,
                json!({ "data": { "getPost": record } }).to_string(),
            )),
            None => Err(TransportError::Interrupted {
                reason: "broken".into(),
            }),
        };
        self.heard.push_back(Input::Fetched(wanted, result));
    }
}

fn number(id: &SubscriptionId) -> u64 {
    id.as_str()[1..].parse().expect("identifiers are numbered")
}

/// A batch in words, such as `store Post a b`.
fn words(batch: &RemoteBatch) -> String {
    let mut words = format!("store {}", batch.model);
    for record in &batch.records {
        words.push_str(&format!(" {}", record.id));
    }
    for bad in &batch.bad {
        words.push_str(&format!(" bad({})", bad.reason));
    }
    words
}

/// What the actor may hear that is printed.
pub(crate) fn samples() -> Vec<SubscriptionMessage> {
    let socket = SocketId { line: 1, turn: 2 };
    [
        Input::Opened(socket),
        Input::Frame(socket, "{}".to_owned()),
        Input::Closed(socket, "gone".to_owned()),
        Input::Stored(Stored::Done),
    ]
    .map(|input| SubscriptionMessage::Heard(Heard(input)))
    .into()
}
