//! A crash at every operation of a migration: the store is as it was before, or as it is after.

use std::sync::Arc;

use landfall_core::{
    Change, FieldDef, KeyDef, Migration, ModelParts, Origin, RecordId, RecordKey, RecordVersion, Remote,
    RemoteRecord, SaveRequest, Scalar, Schema, SchemaParts, Seq, SyncMetadata, Timestamps, Value,
    decide_save,
};
use landfall_sim::disk::{Dice, Platter, SimDisk, Survival};
use landfall_storage::{Migrations, OnIncompatible, Query, StorageError, Store, StoreOptions};

/// Records of the store; enough for its pages to be spread, few enough for every operation to be tried.
const RECORDS: u64 = 40;

/// Those that are local changes which wait for the server: two of three.
const WAITING: u64 = 26;

fn schema(model: &str, fields: &[FieldDef]) -> Arc<Schema> {
    let mut all = vec![FieldDef {
        required: true,
        ..FieldDef::scalar("id", Scalar::Id)
    }];
    all.extend_from_slice(fields);
    let parts = ModelParts {
        name: model.into(),
        plural_name: format!("{model}s"),
        syncable: true,
        fields: all,
        key: KeyDef::of_fields(vec!["id".into()], false),
        indexes: Vec::new(),
        timestamps: Timestamps::default(),
        auth: Vec::new(),
    };
    let parts = SchemaParts {
        models: vec![parts],
        ..SchemaParts::default()
    };
    Arc::new(Schema::build(parts).expect("sound"))
}

fn old() -> Arc<Schema> {
    schema("Note", &[FieldDef::scalar("rank", Scalar::Int)])
}

fn new() -> Arc<Schema> {
    let language = FieldDef {
        required: true,
        ..FieldDef::scalar("language", Scalar::String)
    };
    schema("Memo", &[FieldDef::scalar("mark", Scalar::String), language])
}

fn migrations() -> Migrations {
    let mut migrations = Migrations::default();
    migrations.push(
        Migration::named("memos")
            .rename_model("Note", "Memo")
            .rename_field("Memo", "rank", "mark")
            .retype("Memo", "mark")
            .fill("Memo", "language", "en"),
    );
    migrations
}

/// Opens the store as the program of that schema does; the old one does not know of the migration yet.
fn open(disk: &SimDisk, schema: Arc<Schema>) -> Result<Store, StorageError> {
    let migrations = if schema.model("Memo").is_some() {
        migrations()
    } else {
        Migrations::default()
    };
    let options = StoreOptions {
        disk: disk.disk(),
        schema,
        cache_bytes: 64 * 1024,
        incompatible: OnIncompatible::Refuse,
        now_ms: 1,
    };
    Store::open_migrating(options, &migrations)
}

/// A store of the old schema with local changes that wait, and with records of the server.
fn filled(disk: &SimDisk) {
    let mut store = open(disk, old()).expect("a new store");
    for number in 0..RECORDS {
        let written = store.write(5, |txn| {
            let def = txn.model("Note")?;
            let id = RecordId::text(format!("n{number:02}"));
            let key = RecordKey::new("Note", id.clone());
            let rank = i64::try_from(number).expect("few");
            if number % 3 == 0 {
                let remote = RemoteRecord {
                    id,
                    fields: [
                        ("id".into(), key.id.to_string().into()),
                        ("rank".into(), rank.into()),
                    ]
                    .into(),
                    sync: SyncMetadata {
                        version: RecordVersion(1),
                        last_changed_at_ms: 1,
                        deleted: false,
                    },
                };
                return txn.append(Origin::Sync, None, Change::Remote(Remote { key, remote }));
            }
            let request = SaveRequest {
                values: vec![key.id.to_string().into(), rank.into()],
                base: None,
                seen: None,
                condition: None,
                queued: true,
                group: None,
            };
            let schema = Arc::clone(txn.schema());
            let write = decide_save(&schema, &def, &txn.state(&key)?, request)
                .expect("valid")
                .expect("new");
            txn.append(Origin::App, None, Change::Write(write))
        });
        written.expect("the disk is well");
    }
}

/// That everything that waits for the server is there.
fn assert_waiting(what: &str, store: &Store, model: &str, field: &str) {
    let snapshot = store.reader().snapshot().expect("the disk is well");
    let waiting = snapshot.pending(Seq::ZERO, usize::MAX).expect("readable");
    assert_eq!(waiting.len() as u64, WAITING, "{what}");
    for mutation in waiting {
        assert_eq!(mutation.key.model, model, "{what}");
        let set: Vec<&str> = mutation
            .patch
            .keys()
            .map(landfall_core::FieldName::as_str)
            .collect();
        assert!(set.contains(&field), "{what}: {set:?}");
    }
}

/// That everything is there by the new schema, and that the log says the same.
fn assert_migrated(what: &str, store: &Store) {
    let snapshot = store.reader().snapshot().expect("the disk is well");
    let memos = snapshot.query(&Query::all("Memo")).expect("readable");
    assert_eq!(memos.len() as u64, RECORDS, "{what}");
    for (number, memo) in memos.iter().enumerate() {
        assert_eq!(memo.get("mark"), Some(&Value::from(number.to_string())), "{what}");
        assert_eq!(memo.get("language"), Some(&"en".into()), "{what}");
    }
    assert_waiting(what, store, "Memo", "mark");
    let found = snapshot
        .verify()
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(found.differences, [] as [String; 0], "{what}");
}

#[test]
fn a_crash_while_a_store_is_migrated_leaves_it_before_or_after() {
    let mut dice = Dice::new(17);
    let disk = SimDisk::new(dice.roll());
    filled(&disk);
    let mut platter = Platter::of(disk.contents());
    disk.record();
    drop(open(&disk, new()).expect("the migration fits"));
    let ops = disk.recorded();
    assert!(ops.len() > 20, "the disk was written to");
    let (mut before, mut after) = (0, 0);
    for (index, op) in ops.iter().enumerate() {
        for survival in Survival::ALL {
            let what = format!(
                "power cut before operation {index} of {} ({survival:?})",
                ops.len()
            );
            let image = platter.image(survival, &mut dice);
            // Whoever goes back to the old program finds the old data, or is told that it went on.
            let as_before = SimDisk::with_image(image.clone(), dice.roll());
            match open(&as_before, old()) {
                Ok(store) => {
                    before += 1;
                    let snapshot = store.reader().snapshot().expect("the disk is well");
                    let notes = snapshot.query(&Query::all("Note")).expect("readable");
                    assert_eq!(notes.len() as u64, RECORDS, "{what}");
                    assert_waiting(&what, &store, "Note", "rank");
                    assert_eq!(
                        snapshot.verify().expect("sound").differences,
                        [] as [String; 0],
                        "{what}"
                    );
                }
                Err(StorageError::SchemaIncompatible { .. }) => after += 1,
                Err(error) => panic!("{what}: {error}"),
            }
            let disk = SimDisk::with_image(image, dice.roll());
            let store = open(&disk, new()).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_migrated(&what, &store);
        }
        platter.take(op);
    }
    assert!(
        before > 0 && after > 0,
        "{before} crashes before the commit, {after} after it"
    );
}
