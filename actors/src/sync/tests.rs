//! The actor on paused time, with a real store and a server that answers from a script.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use landfall_core::{
    Association, FieldDef, FieldType, KeyDef, KeyKind, ModelParts, OUTCOME_NOT_SHOWN, RecordId, Refusal,
    SCHEMA_MISMATCH, Scalar, Schema, SchemaParts, Seq, Stage, SyncCursor, Timestamps,
};
use landfall_storage::{CACHE_BYTES_DEFAULT, Disk, OnIncompatible, Reader, Store, StoreOptions};
use landfall_wire::{Credentials, HttpRequest, HttpResponse, Socket, Transport};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc::UnboundedReceiver;

use super::*;
use crate::config::SyncSettings;
use crate::handlers::ErrorHandler;
use crate::port::Port;
use crate::storage::{Epoch, Settlement, StorageActor, WriteOp};
use crate::test_support::{Platter, SimTime, ear, on_paused_time, paused_env};

/// How long a request takes.
const ROUND_TRIP_MS: u64 = 50;

/// Answers each operation from a queue, and notes what it was asked.
#[derive(Default)]
struct Server {
    answers: Mutex<BTreeMap<&'static str, VecDeque<Result<Json, TransportError>>>>,
    asked: Mutex<Vec<String>>,
}

impl Server {
    fn answer(&self, operation: &'static str, answer: Result<Json, TransportError>) {
        self.answers
            .lock()
            .unwrap()
            .entry(operation)
            .or_default()
            .push_back(answer);
    }

    /// What was asked since it was last looked at.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Transport for Server {
    fn execute(&self, request: HttpRequest) -> BoxFuture<'static, Result<HttpResponse, TransportError>> {
        let body: Json = serde_json::from_str(&request.body).expect("a request is JSON");
        let token = body["variables"]["nextToken"]
            .as_str()
            .unwrap_or("first")
            .to_owned();
        self.asked
            .lock()
            .unwrap()
            .push(format!("{} {token}", request.operation));
        let mut answers = self.answers.lock().unwrap();
        let answer = answers
            .get_mut(request.operation.as_str())
            .and_then(VecDeque::pop_front);
        let answer = answer.unwrap_or_else(|| panic!("{} was not expected", request.operation));
        Box::pin(async move {
            SimTime::pass(ROUND_TRIP_MS).await;
            answer.map(|body| HttpResponse::new(200, body.to_string()))
        })
    }

    fn connect(&self) -> BoxFuture<'static, Result<Box<dyn Socket>, TransportError>> {
        unreachable!("sync needs no socket")
    }

    fn authorize(&self, _: &str) -> BoxFuture<'static, Result<Credentials, TransportError>> {
        unreachable!("requests are authorized by the transport")
    }

    fn endpoint(&self) -> &str {
        "http://script"
    }
}

/// Posts that belong to a blog.
fn schema() -> Arc<Schema> {
    let required = |name| FieldDef {
        required: true,
        ..FieldDef::scalar(name, Scalar::Id)
    };
    let model = |name: &str, more: Vec<FieldDef>| ModelParts {
        name: name.into(),
        plural_name: format!("{name}s"),
        syncable: true,
        fields: [vec![required("id"), required("title")], more].concat(),
        key: KeyDef {
            kind: KeyKind::Managed,
            fields: vec!["id".into()],
            declared: false,
        },
        indexes: Vec::new(),
        timestamps: Timestamps {
            created_at: None,
            updated_at: None,
        },
        auth: Vec::new(),
    };
    let blog = FieldDef {
        ty: FieldType::Model("Blog".into()),
        association: Some(Association::BelongsTo {
            targets: vec!["blogId".into()],
        }),
        ..FieldDef::scalar("blog", Scalar::String)
    };
    let post = model("Post", vec![FieldDef::scalar("blogId", Scalar::Id), blog]);
    let parts = SchemaParts {
        models: vec![post, model("Blog", Vec::new())],
        ..SchemaParts::default()
    };
    Arc::new(Schema::build(parts).expect("the schema is sound"))
}

fn record(id: &str) -> Json {
    json!({ "id": id, "title": "t", "_version": 1, "_lastChangedAt": 1, "_deleted": null })
}

fn page(field: &str, items: &[Json], next_token: Option<&str>) -> Json {
    // Within a day of the tests' clock, so that the next sync is a delta sync.
    json!({ "data": { field: { "items": items, "nextToken": next_token, "startedAt": 1_700_000_000_000_i64 } } })
}

/// Keeps what the app is told of errors.
#[derive(Default)]
struct Errors(Mutex<Vec<SyncError>>);

impl ErrorHandler for Errors {
    fn handle(&self, error: SyncError) {
        self.0.lock().unwrap().push(error);
    }
}

/// A processor with everything around it that it talks to.
struct Lab {
    server: Arc<Server>,
    reader: Reader,
    errors: Arc<Errors>,
    port: Port<SyncMessage>,
    hub: UnboundedReceiver<(u64, HubMessage)>,
    supervisor: UnboundedReceiver<(u64, SupervisorMessage)>,
    reachability: UnboundedReceiver<(u64, ReachabilityMessage)>,
    storage: Port<StorageMessage>,
}

fn lab() -> Lab {
    lab_on(Disk::Memory)
}

fn lab_on(disk: Disk) -> Lab {
    let server = Arc::new(Server::default());
    let env = paused_env(Some(Arc::clone(&server) as Arc<dyn Transport>));
    let schema = schema();
    let options = StoreOptions {
        disk,
        schema: Arc::clone(&schema),
        cache_bytes: CACHE_BYTES_DEFAULT,
        incompatible: OnIncompatible::Refuse,
        now_ms: 0,
    };
    let store = Store::open(options).expect("a store in memory");
    let reader = store.reader();
    let (hub_port, hub) = ear(&env);
    let (supervisor_port, supervisor) = ear(&env);
    let (reachability_port, reachability) = ear(&env);
    let (outbox_port, _) = ear(&env);
    let errors = Arc::new(Errors::default());
    let handler = Arc::clone(&errors) as Arc<dyn ErrorHandler>;
    let storage = Port::new(&StorageActor::new(env.clone(), store, true).start(), env.clone());
    let context = supervisor::Context {
        schema,
        reader: reader.clone(),
        settings: SyncSettings {
            error_handler: handler,
            ..SyncSettings::default()
        },
        epoch: Epoch::default(),
        storage: storage.clone(),
        outbox: outbox_port,
        hub: hub_port,
        supervisor: supervisor_port,
        reachability: reachability_port,
        endpoint: crate::EndpointTrouble::default(),
        env: env.clone(),
    };
    let port = Port::new(&SyncProcessor::new(context).start(), env);
    Lab {
        server,
        reader,
        errors,
        port,
        hub,
        supervisor,
        reachability,
        storage,
    }
}

impl Lab {
    /// Everything that the hub was told, with its time.
    fn events(&mut self) -> Vec<(u64, &'static str, Json)> {
        let mut events = Vec::new();
        while let Ok((at_ms, message)) = self.hub.try_recv() {
            if let HubMessage::Publish(event) = message {
                events.push((at_ms, event.name(), event.data()));
            }
        }
        events
    }

    fn cursor(&self, model: &str) -> SyncCursor {
        self.reader.snapshot().unwrap().cursor(&model.into()).unwrap()
    }

    fn has(&self, model: &str, id: &str) -> bool {
        self.reader
            .snapshot()
            .unwrap()
            .get(model, &RecordId::text(id))
            .unwrap()
            .is_some()
    }
}

#[test]
fn a_base_sync_fills_the_store_and_tells_everybody() {
    on_paused_time(async {
        let mut lab = lab();
        lab.server
            .answer("SyncBlogs", Ok(page("syncBlogs", &[record("b1")], Some("t1"))));
        let broken = json!({ "id": "b2", "title": null, "_version": 1, "_lastChangedAt": 1 });
        lab.server
            .answer("SyncBlogs", Ok(page("syncBlogs", &[broken, record("b3")], None)));
        lab.server
            .answer("SyncPosts", Ok(page("syncPosts", &[record("p1")], None)));
        lab.port.tell(SyncMessage::Start).unwrap();
        SimTime::pass(1_000).await;
        assert_eq!(
            lab.server.asked(),
            ["SyncBlogs first", "SyncBlogs t1", "SyncPosts first"]
        );
        let progress = |model: &str, received: u64| json!({ "model": model, "received": received });
        let synced = |model: &str, new: u64| {
            let counts = json!({ "new": new, "updated": 0, "deleted": 0 });
            json!({ "model": model, "isFullSync": true, "isDeltaSync": false, "counts": counts })
        };
        assert_eq!(
            lab.events(),
            [
                // In the order of the schema, and not in that of the sync.
                (0, "syncQueriesStarted", json!({ "models": ["Post", "Blog"] })),
                (50, "syncProgress", progress("Blog", 1)),
                (100, "syncProgress", progress("Blog", 3)),
                (100, "modelSynced", synced("Blog", 2)),
                (150, "syncProgress", progress("Post", 1)),
                (150, "modelSynced", synced("Post", 1)),
                (150, "syncQueriesReady", Json::Null),
            ]
        );
        let (at_ms, told) = lab.supervisor.try_recv().unwrap();
        assert!(
            matches!(told, SupervisorMessage::SyncFinished { epoch: Epoch(0) }) && at_ms == 150,
            "{told:?}"
        );
        assert!(
            lab.has("Blog", "b1") && lab.has("Blog", "b3") && lab.has("Post", "p1") && !lab.has("Blog", "b2")
        );
        assert_eq!(lab.cursor("Blog").last_sync_ms, Some(1_700_000_000_000));
        let mut reports = 0;
        while let Ok((_, ReachabilityMessage::Report(Outcome::Reached))) = lab.reachability.try_recv() {
            reports += 1;
        }
        assert_eq!(reports, 3);
    });
}

#[test]
fn a_sync_that_was_cut_off_goes_on_where_it_stopped() {
    on_paused_time(async {
        let mut lab = lab();
        lab.server
            .answer("SyncBlogs", Ok(page("syncBlogs", &[record("b1")], Some("t1"))));
        lab.server.answer(
            "SyncBlogs",
            Err(TransportError::Interrupted { reason: "cut".into() }),
        );
        lab.server
            .answer("SyncBlogs", Ok(page("syncBlogs", &[record("lost")], None)));
        lab.port.tell(SyncMessage::Start).unwrap();
        // The second page fails at 100 and is asked for again at 200; its answer at 250 comes after the cancel.
        SimTime::pass(230).await;
        lab.port.tell(SyncMessage::Cancel).unwrap();
        SimTime::pass(1_000).await;
        assert_eq!(
            lab.server.asked(),
            ["SyncBlogs first", "SyncBlogs t1", "SyncBlogs t1"]
        );
        assert!(
            lab.has("Blog", "b1") && !lab.has("Blog", "lost"),
            "nothing is stored after a cancel"
        );
        assert_eq!(lab.cursor("Blog").last_sync_ms, None);
        assert!(
            lab.supervisor.try_recv().is_err(),
            "nobody waits for the end of it"
        );

        lab.server
            .answer("SyncBlogs", Ok(page("syncBlogs", &[record("b2")], None)));
        lab.server
            .answer("SyncBlogs", Ok(page("syncBlogs", &[record("b3")], None)));
        lab.server.answer(
            "SyncPosts",
            Ok(json!({ "data": null, "errors": [{ "errorType": "Unauthorized", "message": "no" }] })),
        );
        lab.port.tell(SyncMessage::Start).unwrap();
        SimTime::pass(1_000).await;
        assert_eq!(
            lab.server.asked(),
            ["SyncBlogs t1", "SyncBlogs first", "SyncPosts first"]
        );
        assert!(lab.has("Blog", "b2") && lab.has("Blog", "b3"));
        assert_eq!(lab.cursor("Blog").last_sync_ms, Some(1_700_000_000_000));
        assert_eq!(lab.cursor("Post"), SyncCursor::default());
        let failed = lab
            .events()
            .into_iter()
            .find(|(_, name, _)| *name == "modelSyncFailed");
        assert_eq!(
            failed.map(|(_, _, data)| data["model"].clone()),
            Some("Post".into())
        );
        assert!(matches!(
            lab.supervisor.try_recv(),
            Ok((_, SupervisorMessage::SyncFinished { .. }))
        ));
        let errors = std::mem::take(&mut *lab.errors.0.lock().unwrap());
        assert_eq!(
            (errors.len(), errors[0].kind, errors[0].process),
            (1, ErrorKind::Unauthorized, Process::Sync)
        );
        assert_eq!(errors[0].model.as_deref(), Some("Post"));

        lab.port.tell(SyncMessage::Stop).unwrap();
        SimTime::pass(1).await;
        assert!(
            lab.port.tell(SyncMessage::Start).is_err(),
            "the actor has stopped"
        );
    });
}

#[test]
fn records_that_the_server_forgot_leave_though_one_that_it_cannot_show_has_no_name() {
    on_paused_time(async {
        let mut lab = lab();
        let blogs = ["b1", "b2", "b3", "b4"].map(record);
        lab.server
            .answer("SyncBlogs", Ok(page("syncBlogs", &blogs, None)));
        lab.server.answer("SyncPosts", Ok(page("syncPosts", &[], None)));
        lab.port.tell(SyncMessage::Start).unwrap();
        SimTime::pass(1_000).await;
        let broken = |path: Json| {
            let message = "Cannot return null for non-nullable type: 'String' within parent 'Blog'";
            json!([{ "message": message, "path": path }])
        };
        let mut again = page("syncBlogs", &[record("b1"), Json::Null], None);
        again["errors"] = broken(json!(["syncBlogs", "items", 1, "title"]));
        lab.server.answer("SyncBlogs", Ok(again));
        lab.server.answer("SyncPosts", Ok(page("syncPosts", &[], None)));
        let gone = json!({ "data": { "getBlog": null } });
        let cannot_be_shown =
            json!({ "data": { "getBlog": null }, "errors": broken(json!(["getBlog", "title"])) });
        for answer in [gone.clone(), cannot_be_shown, gone] {
            lab.server.answer("GetBlog", Ok(answer));
        }
        lab.server.asked();
        SimTime::pass(24 * 60 * 60 * 1_000).await;
        let asked = lab.server.asked();
        assert_eq!(asked[0], "SyncBlogs first");
        assert_eq!(
            asked.iter().filter(|line| line.starts_with("GetBlog")).count(),
            3,
            "{asked:?}"
        );
        let has = ["b1", "b2", "b3", "b4"].map(|id| lab.has("Blog", id));
        assert_eq!(has, [true, false, true, false]);
        assert_eq!(
            lab.errors.0.lock().unwrap().len(),
            1,
            "the item without a name, and nothing else"
        );
        assert!(
            lab.events()
                .iter()
                .filter(|(_, name, _)| *name == "modelSynced")
                .count()
                >= 4
        );
    });
}

/// A change of a post that the server has refused, for its schema's sake or for another reason.
async fn refused(lab: &Lab, id: &str, error_type: &str) -> Seq {
    let op = WriteOp::Save {
        model: "Post".into(),
        values: vec![id.into(), "mine".into(), landfall_core::Value::Null],
        base: landfall_core::Base::default(),
        seen: None,
        condition: None,
    };
    let written = lab.storage.ask(|reply| StorageMessage::Write {
        ops: vec![op],
        grouped: true,
        reply,
    });
    written.await.unwrap().expect("it is sound");
    let waiting = lab.reader.snapshot().unwrap().pending(Seq::ZERO, 9).unwrap();
    let seq = waiting.last().expect("it waits").seq;
    park(lab, seq, error_type).await;
    seq
}

async fn park(lab: &Lab, seq: Seq, error_type: &str) {
    park_saying(lab, seq, error_type, "no").await;
}

async fn park_saying(lab: &Lab, seq: Seq, error_type: &str, message: &str) {
    let settlement = Settlement::Refused {
        refusal: Refusal {
            error_type: Some(error_type.to_owned()),
            message: message.to_owned(),
        },
        remote: None,
    };
    // Only what was sent can be refused; one whose outcome is unknown was.
    let marked = lab.storage.ask(|reply| StorageMessage::MarkSent {
        epoch: Epoch::default(),
        mutations: vec![seq],
        reply,
    });
    marked.await.unwrap().expect("it is stored");
    let settled = lab.storage.ask(|reply| StorageMessage::Settle {
        epoch: Epoch::default(),
        mutation: seq,
        settlement,
        covered: true,
        reply,
    });
    settled.await.unwrap().expect("it is stored");
}

async fn retry(lab: &Lab, mutation: Seq) {
    let retried = lab
        .storage
        .ask(|reply| StorageMessage::RetryParked { mutation, reply });
    retried.await.unwrap().expect("it is parked");
}

#[test]
fn what_was_refused_for_the_schema_is_tried_again_after_a_sync_a_few_times_and_nothing_else() {
    on_paused_time(async {
        let mut lab = lab();
        let [form, record, unknown] = [
            refused(&lab, "a", SCHEMA_MISMATCH).await,
            refused(&lab, "b", "Unauthorized").await,
            refused(&lab, "c", OUTCOME_NOT_SHOWN).await,
        ];
        let stage = |lab: &Lab, seq| {
            lab.reader
                .snapshot()
                .unwrap()
                .mutation(seq)
                .unwrap()
                .unwrap()
                .stage
        };
        // While the server does not know the model, nothing is tried.
        let error = json!({ "data": null, "errors": [{ "path": null, "message": "not this form" }] });
        lab.server.answer("SyncPosts", Ok(error));
        lab.server.answer("SyncBlogs", Ok(page("syncBlogs", &[], None)));
        lab.port.tell(SyncMessage::Start).unwrap();
        SimTime::pass(1_000).await;
        assert!(matches!(stage(&lab, form), Stage::Parked(_)));
        for round in 1..=mismatched::TRIES_PER_RUN + 1 {
            lab.server.answer("SyncBlogs", Ok(page("syncBlogs", &[], None)));
            lab.server.answer("SyncPosts", Ok(page("syncPosts", &[], None)));
            lab.events();
            lab.port.tell(SyncMessage::Start).unwrap();
            SimTime::pass(1_000).await;
            assert!(
                matches!(stage(&lab, record), Stage::Parked(_)),
                "its own record is why"
            );
            if round > mismatched::TRIES_PER_RUN {
                assert!(matches!(stage(&lab, form), Stage::Parked(_)), "not for ever");
                continue;
            }
            assert_eq!(stage(&lab, form), Stage::Queued, "round {round}");
            assert_eq!(stage(&lab, unknown), Stage::Unknown, "it is asked about first");
            park(&lab, form, SCHEMA_MISMATCH).await;
            park(&lab, unknown, OUTCOME_NOT_SHOWN).await;
        }
    });
}

#[test]
fn a_change_that_cannot_be_read_keeps_no_other_from_being_tried_again() {
    on_paused_time(async {
        let disk = Platter::default();
        let before = lab_on(disk.disk());
        let damaged = refused(&before, "a", SCHEMA_MISMATCH).await;
        retry(&before, damaged).await;
        // Nothing but the change says this.
        park_saying(&before, damaged, SCHEMA_MISMATCH, "fragile").await;
        let sound = refused(&before, "b", SCHEMA_MISMATCH).await;
        before.storage.tell(StorageMessage::Halt).expect("it runs");
        while before.reader.snapshot().is_ok() {
            tokio::task::yield_now().await;
        }
        disk.damage(b"fragile");
        let lab = lab_on(disk.disk());
        assert!(lab.reader.snapshot().unwrap().mutation(damaged).is_err());
        lab.server.answer("SyncBlogs", Ok(page("syncBlogs", &[], None)));
        lab.server.answer("SyncPosts", Ok(page("syncPosts", &[], None)));
        lab.port.tell(SyncMessage::Start).unwrap();
        SimTime::pass(1_000).await;
        let tried = lab.reader.snapshot().unwrap().mutation(sound).unwrap();
        assert_eq!(tried.expect("it waits").stage, Stage::Queued);
    });
}

#[test]
fn only_what_passes_by_itself_needs_nothing_done() {
    use landfall_wire::{FailureCause, FailureClass, ServerError};
    let told = |class, message: &str| {
        let error = ServerError {
            message: message.to_owned(),
            ..ServerError::default()
        };
        let cause = FailureCause::Errors {
            status: 200,
            errors: vec![error],
        };
        let trouble = Trouble::Server(Box::new(Failure { class, cause }));
        model_error(&"Blog".into(), &trouble, true).suggestion
    };
    let transient = FailureClass::Transient {
        delivery: landfall_wire::Delivery::Unknown,
        retry_after_ms: None,
    };
    let slow = ServerError::new("ThrottlingException", "slow");
    let cause = FailureCause::Errors {
        status: 200,
        errors: vec![slow],
    };
    let trouble = Trouble::Server(Box::new(Failure {
        class: transient,
        cause,
    }));
    let advice = model_error(&"Blog".into(), &trouble, true).suggestion;
    assert!(advice.starts_with("nothing needs to be done"), "{advice}");
    let advice = told(FailureClass::Permanent, "the filter cannot be read");
    assert!(advice.contains("see what the server says"), "{advice}");
    assert!(advice.contains("a sync expression"), "{advice}");
}
