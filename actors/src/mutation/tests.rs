//! The actor on paused time, with a real store, a real outbox and a server that keeps records and loses answers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use landfall_core::{Base, Record, RecordId, RecordKey, Resolution, Stage, Value};
use landfall_storage::{CACHE_BYTES_DEFAULT, Disk, OnIncompatible, Reader, Store, StoreOptions};
use landfall_wire::{Credentials, Socket, Transport};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc::UnboundedReceiver;

use super::machine::LATE_MS;
use super::testing::schema;
use super::*;
use crate::config::SyncSettings;
use crate::handlers::{ConflictHandler, ErrorHandler};
use crate::outbox::OutboxActor;
use crate::port::Port;
use crate::storage::{Epoch, StorageActor, WriteDone, WriteError, WriteOp};
use crate::test_support::{SimTime, ear, on_paused_time, paused_env};

/// How long a request takes.
const ROUND_TRIP_MS: u64 = 50;

/// What happens to an answer on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It is lost after the server has done what was asked.
    LoseReply,
    /// The server wants other credentials.
    Deny,
    /// The server refuses the record.
    Refuse,
    /// The server does not take several mutations in one request.
    RefuseSeveral,
    /// The request is lost, and nothing is done.
    LoseRequest,
    /// The answer is about another record.
    MixUp,
}

/// A server with optimistic concurrency.
#[derive(Default)]
struct Server {
    /// Version, title, and whether it is deleted, by identifier.
    records: Mutex<BTreeMap<String, (u64, Json, bool)>>,
    faults: Mutex<Vec<Fault>>,
    /// Operations as they came.
    asked: Mutex<Vec<String>>,
}

impl Server {
    fn record(&self, id: &str) -> Option<Json> {
        let records = self.records.lock().unwrap();
        let (version, title, deleted) = records.get(id)?;
        let (version, deleted) = (*version, *deleted);
        Some(
            json!({ "id": id, "title": title, "_version": version, "_lastChangedAt": version, "_deleted": deleted }),
        )
    }

    fn version(&self, id: &str) -> u64 {
        self.records
            .lock()
            .unwrap()
            .get(id)
            .map_or(0, |(version, ..)| *version)
    }

    /// Someone else writes a title.
    fn overwrite(&self, id: &str, title: &str) {
        let version = self.version(id) + 1;
        self.records
            .lock()
            .unwrap()
            .insert(id.to_owned(), (version, title.into(), false));
    }

    /// Carries out all that a request asks for, each under its alias.
    fn answer(&self, operation: &str, variables: &Json) -> Json {
        if variables.get("input0").is_none() {
            return self.answer_one(operation, variables);
        }
        let (mut data, mut errors) = (serde_json::Map::new(), Vec::new());
        for number in 0.. {
            let Some(input) = variables.get(format!("input{number}")) else {
                break;
            };
            let mut answer = self.answer_one(operation, &json!({ "input": input }));
            let alias = format!("m{number}");
            let field = answer["data"]
                .as_object_mut()
                .and_then(|data| data.values_mut().next());
            data.insert(alias.clone(), field.map(Json::take).unwrap_or_default());
            if let Some(of_one) = answer["errors"].as_array_mut() {
                for mut error in std::mem::take(of_one) {
                    error["path"] = json!([alias]);
                    errors.push(error);
                }
            }
        }
        json!({ "data": data, "errors": errors })
    }

    fn answer_one(&self, operation: &str, variables: &Json) -> Json {
        let input = &variables["input"];
        let id = input["id"]
            .as_str()
            .or_else(|| variables["id"].as_str())
            .expect("an identifier");
        let field = format!("{}{}", operation[..1].to_ascii_lowercase(), &operation[1..]);
        let error = |error_type: &str, data: Json| {
            let error = json!({ "path": [field], "errorType": error_type, "message": "no", "data": data });
            json!({ "data": { field.clone(): null }, "errors": [error] })
        };
        let version = self.version(id);
        if operation.starts_with("Create") && version > 0 {
            return error("ConditionalCheckFailedException", Json::Null);
        }
        let is_change = operation.starts_with("Update") || operation.starts_with("Delete");
        if is_change && input["_version"].as_u64() != Some(version) {
            return error("ConflictUnhandled", self.record(id).unwrap_or_default());
        }
        if !operation.starts_with("Get") {
            let deleted = operation.starts_with("Delete");
            self.records
                .lock()
                .unwrap()
                .insert(id.to_owned(), (version + 1, input["title"].clone(), deleted));
        }
        json!({ "data": { field: self.record(id) } })
    }

    /// What was asked since it was last looked at.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Transport for Server {
    fn execute(&self, request: HttpRequest) -> BoxFuture<'static, Result<HttpResponse, TransportError>> {
        let body: Json = serde_json::from_str(&request.body).expect("a request is JSON");
        let operation = request.operation.as_str().to_owned();
        self.asked.lock().unwrap().push(operation.clone());
        let fault = self.faults.lock().unwrap().pop();
        let answer = match fault {
            None => Ok(HttpResponse::new(
                200,
                self.answer(&operation, &body["variables"]).to_string(),
            )),
            Some(Fault::LoseReply) => {
                self.answer(&operation, &body["variables"]);
                Err(TransportError::Interrupted { reason: "cut".into() })
            }
            Some(Fault::LoseRequest) => Err(TransportError::Interrupted { reason: "cut".into() }),
            Some(Fault::RefuseSeveral) => {
                let errors = json!([{ "errorType": "ValidationError", "message": "one at a time" }]);
                let body = json!({ "data": null, "errors": errors });
                Ok(HttpResponse::new(400, body.to_string()))
            }
            Some(Fault::MixUp) => {
                let answer = self.answer(&operation, &body["variables"]).to_string();
                let answer = answer.replace(r#""id":"a""#, r#""id":"b""#);
                Ok(HttpResponse::new(200, answer))
            }
            Some(Fault::Deny) => Ok(HttpResponse::new(401, "{}")),
            Some(Fault::Refuse) => {
                let errors = json!([{ "path": ["x"], "errorType": "Unauthorized", "message": "not yours" }]);
                Ok(HttpResponse::new(
                    200,
                    json!({ "data": null, "errors": errors }).to_string(),
                ))
            }
        };
        Box::pin(async move {
            SimTime::pass(ROUND_TRIP_MS).await;
            answer
        })
    }

    fn connect(&self) -> BoxFuture<'static, Result<Box<dyn Socket>, TransportError>> {
        unreachable!("mutations need no socket")
    }

    fn authorize(&self, _: &str) -> BoxFuture<'static, Result<Credentials, TransportError>> {
        unreachable!("requests are authorized by the transport")
    }

    fn endpoint(&self) -> &str {
        "http://memory"
    }
}

/// What the app is asked and told.
#[derive(Default)]
struct App {
    errors: Mutex<Vec<SyncError>>,
    conflicts: Mutex<Vec<SyncConflict>>,
    /// Whether the conflict handler never answers.
    hangs: AtomicBool,
}

impl ErrorHandler for App {
    fn handle(&self, error: SyncError) {
        self.errors.lock().unwrap().push(error);
    }
}

impl ConflictHandler for App {
    fn decide(&self, conflict: SyncConflict) -> BoxFuture<'static, Resolution> {
        let asks_again = conflict.attempts == 1;
        self.conflicts.lock().unwrap().push(conflict);
        if self.hangs.load(Ordering::SeqCst) {
            return Box::pin(std::future::pending());
        }
        Box::pin(async move {
            assert!(asks_again, "a handler may fail");
            SimTime::pass(ROUND_TRIP_MS).await;
            Resolution::KeepLocal
        })
    }
}

/// A store with an outbox and a processor.
struct Lab {
    server: Arc<Server>,
    app: Arc<App>,
    reader: Reader,
    context: supervisor::Context,
    port: Port<MutationMessage>,
    hub: UnboundedReceiver<(u64, HubMessage)>,
}

/// A lab whose outbox is paused.
fn lab() -> Lab {
    lab_with(1)
}

/// A lab whose outbox is paused, with so many mutations to a request.
fn lab_with(mutations_per_request: usize) -> Lab {
    let server = Arc::new(Server::default());
    let env = paused_env(Some(Arc::clone(&server) as Arc<dyn Transport>));
    let schema = schema();
    let options = StoreOptions {
        disk: Disk::Memory,
        schema: Arc::clone(&schema),
        cache_bytes: CACHE_BYTES_DEFAULT,
        incompatible: OnIncompatible::Refuse,
        now_ms: 0,
    };
    let store = Store::open(options).expect("a store in memory");
    let reader = store.reader();
    let (hub_port, hub) = ear(&env);
    let (supervisor, _) = ear(&env);
    let (reachability, _) = ear(&env);
    let app = Arc::new(App::default());
    let outbox = OutboxActor::new(env.clone(), reader.clone(), hub_port.clone());
    let outbox = Port::new(&outbox.start(), env.clone());
    let storage =
        StorageActor::new(env.clone(), store, true).with_listeners(outbox.clone(), hub_port.clone());
    let context = supervisor::Context {
        schema,
        reader: reader.clone(),
        settings: SyncSettings {
            error_handler: Arc::clone(&app) as Arc<dyn ErrorHandler>,
            conflict_handler: Arc::clone(&app) as Arc<dyn ConflictHandler>,
            mutations_per_request,
            ..SyncSettings::default()
        },
        epoch: Epoch::default(),
        storage: Port::new(&storage.start(), env.clone()),
        outbox,
        hub: hub_port,
        supervisor,
        reachability,
        endpoint: crate::EndpointTrouble::default(),
        env: env.clone(),
    };
    let port = Port::new(&MutationProcessor::new(context.clone()).start(), env);
    Lab {
        server,
        app,
        reader,
        context,
        port,
        hub,
    }
}

impl Lab {
    async fn write(&self, ops: Vec<WriteOp>) -> Result<Vec<WriteDone>, WriteError> {
        self.context
            .storage
            .ask(|reply| StorageMessage::Write {
                ops,
                grouped: true,
                reply,
            })
            .await
            .expect("the store answers")
    }

    fn stored(&self, id: &str) -> Option<Record> {
        self.reader
            .snapshot()
            .unwrap()
            .get("Todo", &RecordId::text(id))
            .unwrap()
    }

    /// Saves a to-do, on top of what is stored of it.
    async fn save(&self, id: &str, title: &str) {
        self.save_tagged(id, title, Value::Null).await;
    }

    async fn save_tagged(&self, id: &str, title: &str, tags: Value) {
        let (base, seen) = match self.stored(id) {
            Some(record) => (record.base().clone(), record.sync()),
            None => (Base::NONE, None),
        };
        let values = vec![Value::from(id), Value::from(title), tags];
        let save = WriteOp::Save {
            model: "Todo".into(),
            values,
            base,
            seen,
            condition: None,
        };
        self.write(vec![save]).await.expect("the write is sound");
    }

    async fn delete(&self, id: &str) {
        let delete = WriteOp::Delete {
            key: RecordKey::new("Todo", id),
            condition: None,
            guard: None,
        };
        self.write(vec![delete]).await.expect("the write is sound");
    }

    fn resume(&self) {
        self.context
            .outbox
            .tell(OutboxMessage::Resume {
                processor: self.port.clone(),
                settings: Box::new(self.context.settings.clone()),
            })
            .unwrap();
    }

    /// The first mutation that waits.
    fn first(&self) -> Seq {
        let snapshot = self.reader.snapshot().unwrap();
        snapshot.pending(Seq::ZERO, 1).unwrap()[0].seq
    }

    fn pending(&self) -> u64 {
        self.reader.snapshot().unwrap().pending_len().unwrap()
    }

    fn now_ms(&self) -> u64 {
        self.context.env.clock.now_ms()
    }

    /// Names of the events that the hub was told.
    fn events(&mut self) -> Vec<&'static str> {
        let mut events = Vec::new();
        while let Ok((_, message)) = self.hub.try_recv() {
            match message {
                HubMessage::Publish(event) => events.push(event.name()),
                HubMessage::PublishAll(all) => events.extend(all.iter().map(HubEvent::name)),
                _ => {}
            }
        }
        events
    }

    async fn drained(&self) {
        self.context
            .outbox
            .ask(|reply| OutboxMessage::Drained { within: None, reply })
            .await
            .expect("the outbox answers");
    }
}

#[test]
fn three_hundred_offline_creates_take_ten_round_trips() {
    on_paused_time(async {
        let lab = lab();
        for number in 0..300 {
            lab.save(&format!("t{number}"), "offline").await;
        }
        let start_ms = lab.now_ms();
        lab.resume();
        lab.drained().await;
        assert_eq!(lab.now_ms() - start_ms, 10 * ROUND_TRIP_MS);
        assert_eq!(lab.server.asked().len(), 300);
        assert_eq!(
            lab.stored("t7")
                .and_then(|record| record.sync())
                .map(|sync| sync.version.0),
            Some(1)
        );
    });
}

#[test]
fn several_changes_share_a_request_and_each_is_judged_alone() {
    on_paused_time(async {
        let lab = lab_with(8);
        // Another client has made these two: one the same, one with other values.
        lab.server.overwrite("t3", "offline");
        lab.server.overwrite("t5", "theirs");
        for number in 0..32 {
            lab.save(&format!("t{number}"), "offline").await;
        }
        lab.resume();
        lab.drained().await;
        let asked = lab.server.asked();
        let creates = asked
            .iter()
            .filter(|operation| *operation == "CreateTodo")
            .count();
        assert_eq!(creates, 4, "{asked:?}");
        let conflicts = lab.app.conflicts.lock().unwrap();
        let conflicts: Vec<String> = conflicts
            .iter()
            .map(|conflict| conflict.key.to_string())
            .collect();
        assert_eq!(conflicts.len(), 1, "{conflicts:?}");
        assert!(conflicts[0].contains("t5"), "{conflicts:?}");
        for number in 0..32 {
            let version = if number == 5 { 2 } else { 1 };
            assert_eq!(lab.server.version(&format!("t{number}")), version, "t{number}");
        }
    });
}

#[test]
fn an_answer_about_another_record_is_not_stored_under_the_one_that_was_asked_for() {
    on_paused_time(async {
        let lab = lab();
        lab.save("a", "mine").await;
        lab.server.faults.lock().unwrap().push(Fault::MixUp);
        lab.resume();
        lab.drained().await;
        assert_eq!(
            lab.server.asked(),
            ["CreateTodo", "GetTodo"],
            "the server is asked for the record"
        );
        let stored = lab.stored("a").expect("it is there");
        assert_eq!(stored.get("id"), Some(&Value::from("a")));
        assert_eq!(stored.sync().map(|sync| sync.version.0), Some(1));
        assert!(lab.stored("b").is_none());
    });
}

#[test]
fn after_a_lost_answer_to_several_changes_each_is_asked_about() {
    on_paused_time(async {
        let lab = lab_with(4);
        for number in 0..4 {
            lab.save(&format!("t{number}"), "offline").await;
        }
        lab.server.faults.lock().unwrap().push(Fault::LoseReply);
        lab.resume();
        lab.drained().await;
        let asked = lab.server.asked();
        assert_eq!(
            asked.iter().filter(|operation| *operation == "GetTodo").count(),
            4
        );
        assert_eq!(
            asked
                .iter()
                .filter(|operation| *operation == "CreateTodo")
                .count(),
            1
        );
        for number in 0..4 {
            assert_eq!(lab.server.version(&format!("t{number}")), 1);
        }
    });
}

#[test]
fn a_server_that_takes_one_at_a_time_gets_one_at_a_time() {
    on_paused_time(async {
        let lab = lab_with(4);
        for number in 0..4 {
            lab.save(&format!("t{number}"), "offline").await;
        }
        lab.server.faults.lock().unwrap().push(Fault::RefuseSeveral);
        lab.resume();
        lab.drained().await;
        assert_eq!(
            lab.server.asked(),
            ["CreateTodo"; 5],
            "all in one, then each alone"
        );
        assert_eq!(*lab.app.errors.lock().unwrap(), []);
        for number in 4..8 {
            lab.save(&format!("t{number}"), "online").await;
        }
        lab.drained().await;
        assert_eq!(lab.server.asked(), ["CreateTodo"; 4], "and so it stays");
    });
}

#[test]
fn a_list_that_went_out_again_alone_may_be_carried_out_late_from_then_on() {
    on_paused_time(async {
        let lab = lab_with(2);
        lab.resume();
        for id in ["a", "b"] {
            lab.save(id, "old").await;
        }
        lab.drained().await;
        SimTime::pass(LATE_MS).await;
        lab.server.asked();
        lab.context.outbox.tell(OutboxMessage::Pause).unwrap();
        for id in ["a", "b"] {
            let tags = Value::List(vec![Value::from("x")]);
            lab.save_tagged(id, "old", tags).await;
        }
        let faults = [Fault::LoseRequest, Fault::LoseRequest, Fault::RefuseSeveral];
        lab.server.faults.lock().unwrap().extend(faults);
        let start_ms = lab.now_ms();
        lab.resume();
        lab.drained().await;
        let asked = lab.server.asked();
        let questions = asked.iter().filter(|operation| *operation == "GetTodo").count();
        assert_eq!((asked.len(), questions), (9, 4), "{asked:?}");
        // The refusal of both; then each alone, until nothing more can come of them; then, while only one may be tried, the
        // question and the update of the one, and those of the other.
        assert_eq!(lab.now_ms() - start_ms, LATE_MS + 5 * ROUND_TRIP_MS);
    });
}

#[test]
fn a_lost_answer_takes_effect_once_and_a_conflict_is_decided_by_the_app() {
    on_paused_time(async {
        let mut lab = lab();
        lab.resume();
        lab.server.faults.lock().unwrap().push(Fault::LoseReply);
        lab.save("a", "one").await;
        lab.drained().await;
        assert_eq!(
            lab.server.asked(),
            ["CreateTodo", "GetTodo"],
            "asked before anything is sent again"
        );
        assert_eq!(lab.server.version("a"), 1);

        lab.server.faults.lock().unwrap().push(Fault::LoseReply);
        lab.save("a", "two").await;
        lab.drained().await;
        assert_eq!(lab.server.asked(), ["UpdateTodo", "GetTodo"]);
        assert_eq!(lab.server.version("a"), 2);

        lab.server.overwrite("a", "theirs");
        lab.save("a", "three").await;
        lab.drained().await;
        assert_eq!(lab.server.asked(), ["UpdateTodo", "UpdateTodo"]);
        assert_eq!(lab.server.record("a").unwrap()["title"], "three");
        let conflict = lab
            .app
            .conflicts
            .lock()
            .unwrap()
            .pop()
            .expect("the app was asked");
        let title = |fields: Option<FieldMap>| fields.and_then(|fields| fields.get("title").cloned());
        assert_eq!(title(conflict.local), Some(Value::from("three")));
        assert_eq!(title(conflict.base), Some(Value::from("two")));
        assert_eq!(title(Some(conflict.remote.fields)), Some(Value::from("theirs")));
        assert_eq!(
            (conflict.attempts, &conflict.changed[..]),
            (1, &["title".into()][..])
        );

        lab.delete("a").await;
        lab.drained().await;
        assert_eq!(lab.server.record("a").unwrap()["_deleted"], true);
        assert!(lab.app.errors.lock().unwrap().is_empty());
        assert_eq!(
            lab.events()
                .iter()
                .filter(|event| **event == "outboxMutationProcessed")
                .count(),
            4
        );
    });
}

#[test]
fn a_handler_that_panics_parks_the_change_and_the_store_goes_on() {
    on_paused_time(async {
        let lab = lab();
        lab.resume();
        lab.save("a", "one").await;
        lab.drained().await;
        lab.server.overwrite("a", "theirs");
        lab.save("a", "two").await;
        // Its first answer is overtaken by another writer, and the second time it fails.
        SimTime::pass(ROUND_TRIP_MS + 10).await;
        lab.server.overwrite("a", "theirs again");
        SimTime::pass(1_000).await;
        assert_eq!(lab.app.conflicts.lock().unwrap().len(), 2);
        let errors = std::mem::take(&mut *lab.app.errors.lock().unwrap());
        assert_eq!(errors.len(), 1);
        assert!(errors[0].message.contains("panicked"), "{}", errors[0].message);
        lab.save("b", "goes on").await;
        SimTime::pass(1_000).await;
        assert_eq!(lab.server.version("b"), 1);
        assert_eq!(lab.pending(), 1, "the change is parked");
    });
}

#[test]
fn a_handler_that_never_answers_parks_the_change_after_a_while() {
    on_paused_time(async {
        let lab = lab();
        lab.resume();
        lab.save("a", "one").await;
        lab.drained().await;
        lab.server.overwrite("a", "theirs");
        lab.app.hangs.store(true, Ordering::SeqCst);
        lab.save("a", "two").await;
        let limit_ms = u64::try_from(SyncSettings::default().conflict_timeout.as_millis()).unwrap();
        SimTime::pass(limit_ms - 1_000).await;
        assert!(lab.app.errors.lock().unwrap().is_empty(), "it has time left");
        SimTime::pass(2_000).await;
        let errors = std::mem::take(&mut *lab.app.errors.lock().unwrap());
        assert_eq!(errors.len(), 1);
        assert!(
            errors[0].message.contains("took too long"),
            "{}",
            errors[0].message
        );
        assert!(errors[0].remote.is_some(), "the server's record is beside it");
        assert_eq!(lab.pending(), 1);
    });
}

#[test]
fn a_parked_change_is_edited_and_sent_or_given_up() {
    on_paused_time(async {
        let lab = lab();
        lab.resume();
        let parked = || {
            let snapshot = lab.reader.snapshot().unwrap();
            let waiting = snapshot.pending(Seq::ZERO, 9).unwrap();
            assert!(matches!(waiting[0].stage, Stage::Parked(_)), "{waiting:?}");
            waiting[0].seq
        };
        lab.server.faults.lock().unwrap().push(Fault::Refuse);
        lab.save("a", "bad").await;
        SimTime::pass(1_000).await;
        let mutation = parked();
        let edit = |patch: &[(&str, Value)]| {
            let patch = patch.iter().map(|(name, value)| ((*name).into(), value.clone()));
            let patch: FieldMap = patch.collect();
            lab.context.storage.ask(move |reply| StorageMessage::EditParked {
                mutation,
                patch,
                reply,
            })
        };
        let refused = edit(&[("colour", "red".into())]).await.unwrap();
        assert!(matches!(refused, Err(WriteError::Refused(_))), "{refused:?}");
        edit(&[("title", "good".into())])
            .await
            .unwrap()
            .expect("it is sound");
        lab.drained().await;
        assert_eq!(lab.server.record("a").unwrap()["title"], "good");
        assert_eq!(
            lab.stored("a").unwrap().get("title"),
            Some(&Value::from("good")),
            "the record shows the edit"
        );
        let again = edit(&[("title", "late".into())]).await.unwrap();
        assert!(matches!(again, Err(WriteError::NotParked { .. })), "{again:?}");

        lab.server.faults.lock().unwrap().push(Fault::Refuse);
        lab.save("a", "bad").await;
        SimTime::pass(1_000).await;
        let mutation = parked();
        lab.context
            .storage
            .ask(|reply| StorageMessage::DiscardParked { mutation, reply })
            .await
            .unwrap()
            .expect("it is parked");
        assert_eq!(lab.pending(), 0);
        assert_eq!(lab.stored("a").unwrap().get("title"), Some(&Value::from("good")));
    });
}

#[test]
fn a_settlement_that_comes_again_takes_nothing_from_a_later_save() {
    on_paused_time(async {
        let lab = lab();
        lab.save("a", "one").await;
        let seq = lab.first();
        let storage = &lab.context.storage;
        let marked = storage
            .ask(|reply| StorageMessage::MarkSent {
                epoch: lab.context.epoch,
                mutations: vec![seq],
                reply,
            })
            .await
            .unwrap();
        marked.expect("it is stored");
        // The conflict is stored, but the disk's answer was an error: nobody knows, so it will be told again.
        let again = || {
            let settlement = Settlement::Conflict {
                remote: super::testing::remote(3, "theirs"),
                decision: landfall_core::Decision::Retry {
                    kind: landfall_core::MutationKind::Update,
                    patch: FieldMap::from([("title".into(), "one".into())]),
                },
            };
            storage.ask(|reply| StorageMessage::Settle {
                epoch: lab.context.epoch,
                mutation: seq,
                settlement,
                covered: true,
                reply,
            })
        };
        again().await.unwrap().expect("it is stored");
        lab.save("a", "two").await;
        again().await.unwrap().expect("it says nothing new");
        assert_eq!(lab.stored("a").unwrap().get("title"), Some(&Value::from("two")));
    });
}

#[test]
fn what_may_have_been_applied_is_asked_about_before_it_is_sent_again_and_never_edited() {
    on_paused_time(async {
        let lab = lab();
        lab.resume();
        lab.save("a", "one").await;
        lab.drained().await;
        lab.server.asked();
        lab.server
            .faults
            .lock()
            .unwrap()
            .extend([Fault::Refuse, Fault::LoseReply]);
        lab.save("a", "two").await;
        let mutation = lab.first();
        SimTime::pass(5_000).await;
        assert_eq!(lab.server.asked(), ["UpdateTodo", "GetTodo"]);
        let parked = lab
            .reader
            .snapshot()
            .unwrap()
            .mutation(mutation)
            .unwrap()
            .unwrap();
        assert!(parked.may_be_applied(), "{parked:?}");
        let storage = &lab.context.storage;
        let patch = FieldMap::from([("title".into(), "three".into())]);
        let edited = storage.ask(|reply| StorageMessage::EditParked {
            mutation,
            patch,
            reply,
        });
        let edited = edited.await.unwrap();
        assert!(
            matches!(edited, Err(WriteError::MayBeApplied { .. })),
            "{edited:?}"
        );
        let retried = storage.ask(|reply| StorageMessage::RetryParked { mutation, reply });
        retried.await.unwrap().expect("it is parked");
        lab.drained().await;
        assert_eq!(lab.server.asked(), ["GetTodo"], "it was applied the first time");
        assert_eq!(lab.server.version("a"), 2);
    });
}

#[test]
fn a_change_that_is_turned_away_is_told_though_a_refused_connection_was() {
    on_paused_time(async {
        let lab = lab();
        assert!(
            lab.context.endpoint.is_news(Whole::Credentials),
            "realtime was first"
        );
        lab.resume();
        lab.server.faults.lock().unwrap().extend([Fault::Deny; 3]);
        lab.save("a", "one").await;
        lab.save("b", "two").await;
        SimTime::pass(60_000).await;
        let errors = std::mem::take(&mut *lab.app.errors.lock().unwrap());
        let [told] = errors.as_slice() else {
            panic!("one cause is told once: {errors:?}");
        };
        assert_eq!(
            (told.process, told.kind),
            (Process::Mutate, ErrorKind::Unauthorized)
        );
        assert_eq!(told.key, Some(RecordKey::new("Todo", "a")));
        assert!(told.local.is_some(), "{told:?}");
    });
}

#[test]
fn denied_credentials_wait_and_a_refused_record_is_parked_and_told() {
    on_paused_time(async {
        let mut lab = lab();
        lab.resume();
        lab.server.faults.lock().unwrap().push(Fault::Deny);
        lab.save("a", "one").await;
        lab.drained().await;
        assert!(
            lab.now_ms() >= pauses::CREDENTIALS_BACKOFF.first_ms / 2,
            "tried again after a while, not at once"
        );
        assert_eq!(lab.server.asked(), ["CreateTodo", "CreateTodo"]);
        assert!(lab.events().contains(&"outboxPaused"));

        lab.server.faults.lock().unwrap().push(Fault::Refuse);
        lab.save("a", "mine").await;
        SimTime::pass(60_000).await;
        assert_eq!(
            lab.server.asked(),
            ["UpdateTodo"],
            "what is refused is not sent again by itself"
        );
        assert_eq!(lab.pending(), 1);
        assert!(lab.events().contains(&"outboxMutationFailed"));
        let errors = std::mem::take(&mut *lab.app.errors.lock().unwrap());
        assert_eq!(
            errors.iter().map(|error| error.kind).collect::<Vec<_>>(),
            [ErrorKind::Unauthorized; 2]
        );
        assert_eq!(
            (errors[0].process, &errors[0].suggestion[..21]),
            (Process::Mutate, "check the credentials")
        );
        let refused = &errors[1];
        assert_eq!(refused.key, Some(RecordKey::new("Todo", "a")));
        assert_eq!(
            refused.local.as_ref().and_then(|local| local.get("title")),
            Some(&Value::from("mine"))
        );
        assert!(
            refused.suggestion.contains("retry the parked change"),
            "{}",
            refused.suggestion
        );
    });
}

#[test]
fn what_an_ended_run_left_on_its_way_is_found_out_by_the_next_one() {
    on_paused_time(async {
        let lab = lab();
        lab.resume();
        lab.save("a", "one").await;
        // The request is on its way when the run ends; its answer comes too late.
        SimTime::pass(10).await;
        lab.port.tell(MutationMessage::Stop).unwrap();
        lab.context.outbox.tell(OutboxMessage::Pause).unwrap();
        let epoch = Epoch(1);
        lab.context
            .storage
            .ask(|reply| StorageMessage::BeginEpoch { epoch, reply })
            .await
            .unwrap();
        SimTime::pass(1_000).await;
        assert_eq!(lab.pending(), 1);

        let context = supervisor::Context {
            epoch,
            ..lab.context.clone()
        };
        let env = context.env.clone();
        let processor = Port::new(&MutationProcessor::new(context).start(), env);
        lab.context
            .outbox
            .tell(OutboxMessage::Resume {
                processor,
                settings: Box::default(),
            })
            .unwrap();
        lab.drained().await;
        assert_eq!(lab.server.asked(), ["CreateTodo", "GetTodo"]);
        assert_eq!(
            lab.stored("a")
                .and_then(|record| record.sync())
                .map(|sync| sync.version.0),
            Some(1)
        );
    });
}
