//! An edit against a deletion, and a delete against an edit: what stands, and what the app is told of what does not.

use std::sync::{Arc, Mutex};

use landfall::{
    ConflictHandler, DecideBy, ErrorHandler, ErrorKind, FieldMap, HubEvent, HubEvents, Mutation,
    MutationKind, Resolution, Stage, SyncConflict, SyncError, Value,
};
use landfall_backend::{BackendConfig, ConflictStrategy};
use landfall_sim::{Judge, SimClient, pass};

use crate::support::{MINUTE_MS, Note, World, config, create, find, simulate, texts};

/// What the app was told.
#[derive(Clone)]
struct Told {
    all: Arc<Mutex<Vec<SyncError>>>,
    judge: Judge,
}

impl ErrorHandler for Told {
    fn handle(&self, error: SyncError) {
        self.judge.heard(error.clone());
        // Every outage is told as well, which is not what these tests are about.
        if error.key.is_some() {
            self.all.lock().expect("no test panics with it").push(error);
        }
    }
}

impl Told {
    fn all(&self) -> Vec<SyncError> {
        self.all.lock().expect("no test panics with it").clone()
    }
}

const STRATEGIES: [ConflictStrategy; 2] = [
    ConflictStrategy::Automerge,
    ConflictStrategy::OptimisticConcurrency,
];

/// Anna, who is away, and Bert, who share a note with the text `note` and the count 1.
struct Apart {
    world: World,
    anna: SimClient,
    bert: SimClient,
    told: Told,
    events: HubEvents,
}

async fn apart(conflict: ConflictStrategy, handler: Option<Box<dyn ConflictHandler>>) -> Apart {
    let world = World::new(BackendConfig { conflict, ..config() });
    let (anna, bert) = (world.client("anna"), world.client("bert"));
    let told = Told {
        all: Arc::default(),
        judge: anna.judge().clone(),
    };
    let errors = told.clone();
    anna.boot_with(|builder| {
        let builder = builder.error_handler(errors);
        match handler {
            Some(handler) => builder.conflict_handler(Boxed(handler)),
            None => builder,
        }
    })
    .await
    .expect("nothing goes wrong here");
    bert.boot().await.expect("nothing goes wrong here");
    create(&bert, "note", 1).await;
    pass(MINUTE_MS).await;
    anna.link().partition();
    pass(MINUTE_MS).await;
    let events = anna.store().hub().await.expect("nothing goes wrong here");
    Apart {
        world,
        anna,
        bert,
        told,
        events,
    }
}

struct Boxed(Box<dyn ConflictHandler>);

impl ConflictHandler for Boxed {
    fn decide(&self, conflict: SyncConflict) -> futures_util::future::BoxFuture<'static, Resolution> {
        self.0.decide(conflict)
    }
}

async fn rewrite(client: &SimClient, from: &str, to: &str) {
    let edited = Note::copy_of(&find(client, from), |note| note.text = to.to_owned());
    client
        .store()
        .save(edited)
        .await
        .expect("nothing goes wrong here");
}

async fn delete(client: &SimClient, text: &str) {
    client
        .store()
        .delete(&find(client, text))
        .await
        .expect("nothing goes wrong here");
}

fn text(fields: Option<&FieldMap>) -> Option<&str> {
    fields?.get("text").and_then(Value::as_str)
}

impl Apart {
    async fn meet(&self) {
        self.anna.link().repair();
        pass(5 * MINUTE_MS).await;
    }

    /// What the Hub said of the conflict.
    fn resolved(&mut self) -> Vec<serde_json::Value> {
        let mut resolved = Vec::new();
        while let Some(event) = self.events.try_next() {
            if matches!(event, HubEvent::ConflictResolved { .. }) {
                resolved.push(event.data());
            }
        }
        resolved
    }

    fn parked(&self) -> Vec<Mutation> {
        self.anna
            .store()
            .outbox()
            .parked(10)
            .expect("nothing goes wrong here")
    }

    fn waiting(&self) -> u64 {
        self.anna.store().outbox().len().expect("nothing goes wrong here")
    }

    fn on_server(&self) -> Option<String> {
        let records = self
            .world
            .backend
            .records("Note")
            .expect("nothing goes wrong here");
        let record = records.into_iter().find(|record| !record.sync.deleted)?;
        text(Some(&record.fields)).map(str::to_owned)
    }
}

#[test]
fn an_edit_of_a_deleted_record_is_given_up_and_told_with_all_of_it() {
    for strategy in STRATEGIES {
        simulate(async move {
            let mut apart = apart(strategy, None).await;
            rewrite(&apart.anna, "note", "edited").await;
            delete(&apart.bert, "note").await;
            apart.meet().await;
            assert_eq!((texts(&apart.anna).as_str(), apart.on_server()), ("", None));
            assert_eq!(apart.waiting(), 0, "the deletion stands");
            let told = apart.told.all();
            let [lost] = &told[..] else { panic!("{told:?}") };
            assert_eq!(
                (lost.kind, lost.operation),
                (ErrorKind::LostUpdate, Some(MutationKind::Update))
            );
            assert_eq!(lost.model.as_deref(), Some("Note"));
            assert_eq!(text(lost.local.as_ref()), Some("edited"));
            assert_eq!(text(lost.record.as_ref()), Some("edited"));
            assert_eq!(lost.record.as_ref().unwrap().get("count"), Some(&1.into()));
            assert_eq!(text(lost.base.as_ref()), Some("note"));
            assert!(lost.remote.as_ref().unwrap().sync.deleted);
            let resolved = apart.resolved();
            let [resolved] = &resolved[..] else {
                panic!("{resolved:?}")
            };
            assert_eq!(resolved["operation"], "UPDATE");
            assert_eq!(resolved["deleted"], true);
            assert_eq!(resolved["givenUp"]["text"], "edited");
            assert!(resolved["id"].is_string(), "as everywhere: {resolved}");
        });
    }
}

#[test]
fn a_delete_gives_way_to_an_edit_that_whoever_deleted_had_not_seen() {
    for strategy in STRATEGIES {
        simulate(async move {
            let mut apart = apart(strategy, None).await;
            delete(&apart.anna, "note").await;
            rewrite(&apart.bert, "note", "edited").await;
            apart.meet().await;
            assert_eq!(texts(&apart.anna), "edited");
            assert_eq!(apart.on_server().as_deref(), Some("edited"));
            assert_eq!(apart.waiting(), 0);
            let told = apart.told.all();
            let [lost] = &told[..] else { panic!("{told:?}") };
            assert_eq!(
                (lost.kind, lost.operation),
                (ErrorKind::LostUpdate, Some(MutationKind::Delete))
            );
            assert_eq!(text(lost.base.as_ref()), Some("note"));
            assert_eq!(
                text(lost.remote.as_ref().map(|remote| &remote.fields)),
                Some("edited")
            );
            let resolved = apart.resolved();
            assert_eq!(resolved.len(), 1);
            assert_eq!(resolved[0]["operation"], "DELETE");
            // Now that the edit was seen, it goes.
            delete(&apart.anna, "edited").await;
            pass(MINUTE_MS).await;
            assert_eq!((texts(&apart.bert).as_str(), apart.on_server()), ("", None));
        });
    }
}

#[test]
fn a_delete_goes_on_if_what_others_did_left_nothing_behind() {
    for strategy in STRATEGIES {
        simulate(async move {
            let apart = apart(strategy, None).await;
            delete(&apart.anna, "note").await;
            rewrite(&apart.bert, "note", "edited").await;
            pass(MINUTE_MS).await;
            rewrite(&apart.bert, "edited", "note").await;
            pass(MINUTE_MS).await;
            apart.meet().await;
            assert_eq!((texts(&apart.bert).as_str(), apart.on_server()), ("", None));
            assert_eq!(apart.told.all(), []);
            assert_eq!(apart.waiting(), 0);
        });
    }
}

/// Handlers that want their change kept.
fn keepers() -> [Box<dyn ConflictHandler>; 2] {
    let merged = |conflict: SyncConflict| {
        let text = Value::from(format!("merged {}", conflict.attempts));
        Resolution::Merged([("text".into(), text)].into())
    };
    [
        Box::new(DecideBy(|_: SyncConflict| Resolution::KeepLocal)),
        Box::new(DecideBy(merged)),
    ]
}

#[test]
fn whoever_wants_an_edit_of_a_deleted_record_kept_finds_it_parked() {
    for strategy in STRATEGIES {
        for (handler, ends) in keepers().into_iter().zip(["discarded", "retried"]) {
            simulate(async move {
                let mut apart = apart(strategy, Some(handler)).await;
                rewrite(&apart.anna, "note", "edited").await;
                delete(&apart.bert, "note").await;
                apart.meet().await;
                let parked = apart.parked();
                let [parked] = &parked[..] else {
                    panic!("{parked:?}")
                };
                let Stage::Parked(refusal) = &parked.stage else {
                    unreachable!("it is parked")
                };
                assert_eq!(refusal.error_type.as_deref(), Some("RecordDeleted"));
                assert_eq!(text(Some(&parked.patch)), Some("edited"));
                assert_eq!(texts(&apart.anna), "edited", "the app still sees it");
                let told = apart.told.all();
                let [error] = &told[..] else { panic!("{told:?}") };
                assert_eq!(error.error_type.as_deref(), Some("RecordDeleted"));
                assert_eq!(text(error.record.as_ref()), Some("edited"));
                assert_eq!(text(error.base.as_ref()), Some("note"));
                assert_eq!(apart.resolved().len(), 0, "nothing is decided");

                let store = apart.anna.store().clone();
                let again = [("text".into(), "edited again".into())].into();
                store.outbox().edit(parked.seq, again).await.unwrap();
                pass(MINUTE_MS).await;
                assert_eq!(text(Some(&apart.parked()[0].patch)), Some("edited again"));
                if ends == "retried" {
                    store.outbox().retry(parked.seq).await.unwrap();
                    pass(MINUTE_MS).await;
                    assert_eq!(apart.parked().len(), 1, "the server says the same again");
                }
                store.outbox().discard(parked.seq).await.unwrap();
                pass(MINUTE_MS).await;
                assert_eq!((texts(&apart.anna).as_str(), apart.waiting()), ("", 0));
            });
        }
    }
}

#[test]
fn a_handler_sees_the_record_on_which_the_change_was_made_and_what_others_have_changed() {
    simulate(async {
        let seen: Arc<Mutex<Vec<SyncConflict>>> = Arc::default();
        let noted = Arc::clone(&seen);
        let handler = DecideBy(move |conflict: SyncConflict| {
            noted.lock().unwrap().push(conflict);
            Resolution::KeepLocal
        });
        let apart = apart(ConflictStrategy::OptimisticConcurrency, Some(Box::new(handler))).await;
        rewrite(&apart.anna, "note", "mine").await;
        let edited = Note::copy_of(&find(&apart.bert, "note"), |note| note.count = Some(5));
        apart.bert.store().save(edited).await.unwrap();
        apart.meet().await;
        let seen = seen.lock().unwrap();
        let [conflict] = &seen[..] else { panic!("{seen:?}") };
        let base = conflict.base.as_ref().unwrap();
        assert_eq!(
            (text(Some(base)), base.get("count")),
            (Some("note"), Some(&1.into()))
        );
        let overtaken: Vec<String> = conflict.overtaken.iter().map(ToString::to_string).collect();
        assert_eq!(overtaken, ["count"]);
        assert_eq!(apart.on_server().as_deref(), Some("mine"));
    });
}
