//! The actor over a real store; the test takes in the sender's place, and says what the server said.

use std::sync::{Arc, Mutex};

use actix::Actor;
use landfall_core::{
    Association, Base, FieldDef, FieldMap, FieldType, KeyDef, KeyKind, ModelParts, MutationKind, RecordKey,
    Refusal, Scalar, Schema, SchemaParts, Timestamps, Value,
};
use landfall_storage::{CACHE_BYTES_DEFAULT, OnIncompatible, Store, StoreOptions};
use tokio::sync::mpsc::UnboundedReceiver;

use super::*;
use crate::handlers::ErrorHandler;
use crate::storage::{Epoch, Settlement, StorageActor, StorageMessage, WriteOp};
use crate::test_support::{Platter, ear, on_paused_time, paused_env};

/// More than the window has places.
const MANY: usize = 1_100;

/// A project has tasks, a note stands for itself.
fn schema() -> Arc<Schema> {
    let belongs_to = Association::BelongsTo {
        targets: vec!["projectId".into()],
    };
    let to_project = FieldDef {
        ty: FieldType::Model("Project".into()),
        association: Some(belongs_to),
        ..FieldDef::scalar("project", Scalar::Id)
    };
    let models = [("Project", None), ("Task", Some(to_project)), ("Note", None)];
    let model = |(name, relation): (&str, Option<FieldDef>)| ModelParts {
        name: name.into(),
        plural_name: format!("{name}s"),
        syncable: true,
        fields: [
            FieldDef {
                required: true,
                ..FieldDef::scalar("id", Scalar::Id)
            },
            FieldDef::scalar("projectId", Scalar::Id),
        ]
        .into_iter()
        .chain(relation)
        .collect(),
        key: KeyDef {
            kind: KeyKind::Custom,
            fields: vec!["id".into()],
            declared: true,
        },
        indexes: Vec::new(),
        timestamps: Timestamps {
            created_at: None,
            updated_at: None,
        },
        auth: Vec::new(),
    };
    let parts = SchemaParts {
        models: models.into_iter().map(model).collect(),
        ..SchemaParts::default()
    };
    Arc::new(Schema::build(parts).expect("the schema is sound"))
}

/// Keeps what it is told.
#[derive(Default)]
struct App(Mutex<Vec<SyncError>>);

impl ErrorHandler for App {
    fn handle(&self, error: SyncError) {
        self.0.lock().unwrap().push(error);
    }
}

/// A store whose outbox is asked by the test.
struct Lab {
    disk: Platter,
    reader: Reader,
    app: Arc<App>,
    storage: Port<StorageMessage>,
    outbox: Port<OutboxMessage>,
    /// Where the sender would be.
    sender: Port<MutationMessage>,
    _woken: UnboundedReceiver<(u64, MutationMessage)>,
}

/// A lab whose sending has begun.
fn lab() -> Lab {
    lab_on(Platter::default(), HELD_BACK_MAX)
}

fn lab_on(disk: Platter, held_back_max: usize) -> Lab {
    let env = paused_env(None);
    let options = StoreOptions {
        disk: disk.disk(),
        schema: schema(),
        cache_bytes: CACHE_BYTES_DEFAULT,
        incompatible: OnIncompatible::Refuse,
        now_ms: 0,
    };
    let store = Store::open(options).expect("the disk is well");
    let reader = store.reader();
    let (hub, _) = ear(&env);
    let mut outbox = OutboxActor::new(env.clone(), reader.clone(), hub.clone());
    outbox.held_back_max = held_back_max;
    let outbox = Port::new(&outbox.start(), env.clone());
    let storage = StorageActor::new(env.clone(), store, true).with_listeners(outbox.clone(), hub);
    let (sender, woken) = ear(&env);
    let lab = Lab {
        disk,
        reader,
        app: Arc::default(),
        storage: Port::new(&storage.start(), env.clone()),
        outbox,
        sender,
        _woken: woken,
    };
    lab.resume();
    lab
}

impl Lab {
    /// Begins a run, which reads the outbox anew as a start of the process does.
    fn resume(&self) {
        let settings = SyncSettings {
            error_handler: Arc::clone(&self.app) as Arc<dyn ErrorHandler>,
            ..SyncSettings::default()
        };
        let resume = OutboxMessage::Resume {
            processor: self.sender.clone(),
            settings: Box::new(settings),
        };
        self.outbox.tell(resume).unwrap();
    }

    /// Makes a record of that key, such as `Task/t1`, of this project, and returns its change.
    async fn save(&self, key: &str, project: Option<&str>) -> Seq {
        let (model, id) = key.split_once('/').expect("a model and an identifier");
        let ops = vec![WriteOp::Save {
            model: model.into(),
            values: vec![Value::from(id), project.map_or(Value::Null, Value::from)],
            base: Base::NONE,
            seen: None,
            condition: None,
        }];
        let saved = self
            .storage
            .ask(|reply| StorageMessage::Write {
                ops,
                grouped: true,
                reply,
            })
            .await;
        saved.expect("it answers").expect("it is sound");
        let state = self.reader.snapshot().unwrap().state(&RecordKey::new(model, id));
        state.unwrap().pending.last().expect("it waits").seq
    }

    /// Makes notes of these names in one commit.
    async fn save_notes(&self, names: &[&str], grouped: bool) -> Vec<Seq> {
        let save = |id: &&str| WriteOp::Save {
            model: "Note".into(),
            values: vec![Value::from(*id), Value::Null],
            base: Base::NONE,
            seen: None,
            condition: None,
        };
        let ops = names.iter().map(save).collect();
        let write = |reply| StorageMessage::Write { ops, grouped, reply };
        let saved = self.storage.ask(write).await.expect("it answers");
        saved.expect("they are sound");
        let snapshot = self.reader.snapshot().unwrap();
        let waits = |id: &&str| snapshot.state(&RecordKey::new("Note", *id)).unwrap().pending[0].seq;
        names.iter().map(waits).collect()
    }

    /// The app edits a parked task, so that it belongs to this project.
    async fn move_to(&self, mutation: Seq, project: &str) -> Result<(), String> {
        let patch = FieldMap::from([("projectId".into(), project.into())]);
        let edit = |reply| StorageMessage::EditParked {
            mutation,
            patch,
            reply,
        };
        let edited = self.storage.ask(edit).await.expect("it answers");
        edited.map_err(|error| error.to_string())
    }

    /// The server refuses a change.
    async fn refuse(&self, mutation: Seq) {
        let settlement = Settlement::Refused {
            refusal: Refusal {
                error_type: None,
                message: "no".to_owned(),
            },
            remote: None,
        };
        // Only what was sent can be refused.
        let mark = |reply| StorageMessage::MarkSent {
            epoch: Epoch::default(),
            mutations: vec![mutation],
            reply,
        };
        let marked = self.storage.ask(mark).await.expect("it answers");
        marked.expect("it waits");
        let settle = |reply| StorageMessage::Settle {
            epoch: Epoch::default(),
            mutation,
            settlement,
            covered: true,
            reply,
        };
        self.storage
            .ask(settle)
            .await
            .expect("it answers")
            .expect("it waits");
    }

    /// What goes next, as numbers of changes; it is with the sender then.
    async fn take(&self, held_up: &BTreeSet<Topic>) -> Vec<Seq> {
        let held_up = held_up.clone();
        let take = |reply| OutboxMessage::Take {
            max: 32,
            held_up,
            reply,
        };
        let taken = self.outbox.ask(take).await.expect("it answers");
        taken.into_iter().map(|(seq, ..)| seq).collect()
    }

    /// What goes next, and would be without anything held up.
    async fn next(&self) -> Vec<Seq> {
        self.take(&BTreeSet::new()).await
    }

    fn told(&self) -> Vec<String> {
        let errors = self.app.0.lock().unwrap();
        errors.iter().map(|error| error.message.clone()).collect()
    }
}

#[test]
fn many_children_behind_a_refused_parent_hold_up_nobody_else() {
    on_paused_time(async {
        let lab = lab();
        let parent = lab.save("Project/p", None).await;
        for number in 0..MANY {
            lab.save(&format!("Task/t{number}"), Some("p")).await;
        }
        assert_eq!(lab.next().await, [parent], "the children wait for it");
        lab.refuse(parent).await;
        let note = lab.save("Note/n", None).await;
        assert_eq!(lab.next().await, [note]);
        // The same after a restart.
        lab.resume();
        assert_eq!(lab.next().await, [note]);
        let later = lab.save("Note/m", None).await;
        assert_eq!(lab.next().await, [later]);
        assert_eq!(lab.told(), [] as [&str; 0]);
    });
}

#[test]
fn many_parked_changes_at_the_front_let_what_is_behind_them_go_after_a_restart() {
    on_paused_time(async {
        let lab = lab();
        for number in 0..MANY {
            let seq = lab.save(&format!("Note/n{number}"), None).await;
            lab.refuse(seq).await;
        }
        let last = lab.save("Note/last", None).await;
        lab.resume();
        assert_eq!(lab.next().await, [last]);
    });
}

#[test]
fn many_changes_without_credentials_are_passed_by() {
    on_paused_time(async {
        let lab = lab();
        let mut notes = Vec::new();
        for number in 0..MANY {
            notes.push(lab.save(&format!("Note/n{number}"), None).await);
        }
        let project = lab.save("Project/p", None).await;
        let held_up = BTreeSet::from([Topic {
            model: "Note".into(),
            kind: MutationKind::Create,
        }]);
        assert_eq!(lab.take(&held_up).await, [project]);
        let later = lab.save("Project/q", None).await;
        assert_eq!(lab.take(&held_up).await, [later]);
        assert_eq!(lab.next().await, notes[..32], "once there are credentials");
    });
}

#[test]
fn a_refused_part_of_what_is_only_committed_together_holds_back_no_other() {
    on_paused_time(async {
        let lab = lab();
        let apart = lab.save_notes(&["a", "b", "c"], false).await;
        assert_eq!(lab.next().await, apart, "side by side");
        lab.refuse(apart[0]).await;
        lab.resume();
        assert_eq!(lab.next().await, apart[1..]);
        let together = lab.save_notes(&["x", "y", "z"], true).await;
        assert_eq!(lab.next().await, together[..1], "a transaction is sent in order");
        lab.refuse(together[0]).await;
        assert_eq!(lab.next().await, [], "and its rest waits for what was refused");
    });
}

#[test]
fn an_edit_names_no_parent_whose_create_waits_behind_it() {
    on_paused_time(async {
        let lab = lab();
        let before = lab.save("Project/before", None).await;
        let task = lab.save("Task/t", None).await;
        lab.refuse(task).await;
        lab.save("Project/behind", None).await;
        let refused = lab.move_to(task, "behind").await.expect_err("it would go first");
        assert!(refused.contains("edit it once that create is sent"), "{refused}");
        lab.move_to(task, "before").await.expect("that one goes first");
        assert!(!lab.next().await.contains(&task));
        lab.refuse(before).await;
        assert_eq!(lab.next().await, [], "it waits for its parent");
    });
}

#[test]
fn more_than_can_be_looked_at_is_told_once_and_goes_when_there_is_room() {
    on_paused_time(async {
        for begins_anew in [true, false] {
            fills_up(begins_anew).await;
        }
    });
}

/// More wait than the outbox looks at, which it finds where it reads what waits, or where that comes one by one.
async fn fills_up(begins_anew: bool) {
    let lab = lab_on(Platter::default(), 300);
    let mut parked = Vec::new();
    for number in 0..600 {
        let seq = lab.save(&format!("Note/n{number}"), None).await;
        lab.refuse(seq).await;
        parked.push(seq);
    }
    if begins_anew {
        lab.resume();
    }
    let last = lab.save("Note/last", None).await;
    assert_eq!(lab.next().await, []);
    assert_eq!(lab.next().await, []);
    let told = lab.told();
    // Once in each run.
    let runs = 1 + usize::from(begins_anew);
    assert_eq!(told.len(), runs, "{told:?}");
    assert!(told[0].starts_with("300 changes"), "{told:?}");
    for mutation in &parked[..400] {
        let discard = |reply| StorageMessage::DiscardParked {
            mutation: *mutation,
            reply,
        };
        let discarded = lab.storage.ask(discard).await.expect("it answers");
        discarded.expect("it is parked");
    }
    assert_eq!(lab.next().await, [last]);
    assert_eq!(lab.told().len(), runs);
}

#[test]
fn a_change_that_cannot_be_read_holds_up_no_other_and_is_told_once() {
    on_paused_time(async {
        let first = lab();
        first.save("Note/a", None).await;
        let damaged = first.save("Note/fragile", None).await;
        let sound = first.save("Note/z", None).await;
        first.storage.tell(StorageMessage::Halt).expect("it runs");
        while !matches!(first.reader.snapshot(), Err(StorageError::Closed)) {
            tokio::task::yield_now().await;
        }
        first.disk.damage(b"fragile");
        let lab = lab_on(first.disk.clone(), HELD_BACK_MAX);
        assert_eq!(lab.next().await, [Seq(damaged.0 - 1), sound]);
        lab.resume();
        assert_eq!(lab.next().await.len(), 2);
        let told = lab.told();
        assert!(
            told.len() == 1 && told[0].contains(&damaged.to_string()),
            "{told:?}"
        );
        let drained = lab.outbox.ask(|reply| OutboxMessage::Drained {
            within: Some(Duration::from_secs(1)),
            reply,
        });
        assert!(!drained.await.expect("it answers"), "it waits all the same");
    });
}
