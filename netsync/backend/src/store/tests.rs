use serde_json::json;

use super::read::PageRequest;
use super::*;
use crate::config::Switches;
use crate::conflict::{Changes, Write};
use crate::filter::Filter;
use crate::fixtures;
use crate::item::{Attributes, Item};

const START_MS: i64 = 1_700_000_000_000;
const MINUTE_MS: i64 = 60_000;

fn open_with(config: BackendConfig) -> Store {
    let compiled = Arc::new(CompiledSchema::compile(fixtures::blog()).unwrap());
    Store::open(KvStore::in_memory().unwrap(), compiled, Arc::new(config)).unwrap()
}

fn open() -> Store {
    open_with(BackendConfig::default())
}

fn attributes(json: &serde_json::Value) -> Attributes {
    json.as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), value.into()))
        .collect()
}

fn apply(store: &Store, now_ms: i64, model: &str, key: &serde_json::Value, write: &Write) -> Outcome {
    let plan = store.compiled.model(model);
    store
        .writer()
        .transaction(now_ms, |session| {
            session.write(plan, &attributes(key), write.clone(), None)
        })
        .unwrap()
}

fn create(store: &Store, now_ms: i64, mut json: serde_json::Value) -> Outcome {
    let id = json["id"].take();
    let key = json!({"id": id});
    json["id"] = id;
    apply(
        store,
        now_ms,
        "Post",
        &key,
        &Write::Create {
            attributes: attributes(&json),
        },
    )
}

fn update(store: &Store, now_ms: i64, id: &str, version: u64, json: &serde_json::Value) -> Outcome {
    let changes: Changes = attributes(json)
        .into_iter()
        .map(|(name, value)| (name, Some(value)))
        .collect();
    apply(
        store,
        now_ms,
        "Post",
        &json!({"id": id}),
        &Write::Update { changes, version },
    )
}

fn delete(store: &Store, now_ms: i64, id: &str, version: u64) -> Outcome {
    apply(
        store,
        now_ms,
        "Post",
        &json!({"id": id}),
        &Write::Delete { version },
    )
}

/// `id:version` of each record, tombstones in parentheses.
fn trace(items: &[Item]) -> String {
    let one = |item: &Item| {
        let text = format!("{}:{}", item.attributes["id"].as_str().unwrap(), item.version);
        if item.deleted { format!("({text})") } else { text }
    };
    items.iter().map(one).collect::<Vec<_>>().join(" ")
}

struct Reader<'a> {
    store: &'a Store,
    now_ms: i64,
}

impl Reader<'_> {
    fn with<T>(&self, read: impl FnOnce(&Reading<'_>) -> T) -> T {
        let snapshot = self.store.snapshot().unwrap();
        read(&Reading {
            store: self.store,
            rows: &snapshot,
            now_ms: self.now_ms,
        })
    }

    fn get(&self, id: &str) -> Option<Item> {
        let plan = self.store.compiled.model("Post");
        self.with(|reading| reading.get(plan, &attributes(&json!({"id": id}))).unwrap())
    }

    fn scan(&self) -> String {
        let plan = self.store.compiled.model("Post");
        trace(&self.with(|reading| reading.scan(plan, &all(100)).unwrap()).items)
    }

    fn changes(&self, since_ms: i64) -> String {
        let plan = self.store.compiled.model("Post");
        trace(
            &self
                .with(|reading| reading.changes(plan, since_ms, &all(100)).unwrap())
                .items,
        )
    }

    fn by_blog(&self, blog: &str) -> String {
        let plan = self.store.compiled.model("Post");
        let condition = KeyCondition {
            partition: blog.into(),
            sort: None,
        };
        trace(
            &self
                .with(|reading| {
                    reading
                        .query(plan, Some(&plan.indexes[0]), &condition, &all(100))
                        .unwrap()
                })
                .items,
        )
    }
}

fn at(store: &Store, now_ms: i64) -> Reader<'_> {
    Reader { store, now_ms }
}

fn all(limit: usize) -> PageRequest<'static> {
    PageRequest {
        hidden_bytes: usize::MAX,
        goes_on: None,
        after: None,
        limit,
        visible: None,
        filter: None,
        descending: false,
    }
}

#[test]
fn every_accepted_write_adds_one_version_and_one_change() {
    let store = open();
    create(&store, START_MS, json!({"id": "p", "title": "a"}));
    update(&store, START_MS + 10, "p", 1, &json!({"title": "b"}));
    update(&store, START_MS + 20, "p", 1, &json!({"title": "c"})); // stale: merged
    delete(&store, START_MS + 30, "p", 3);
    let now = at(&store, START_MS + 40);
    assert_eq!(now.changes(START_MS), "p:1 p:2 p:3 (p:4)");
    assert_eq!(now.changes(START_MS + 20), "p:3 (p:4)");
    let item = now.get("p").unwrap();
    assert_eq!(
        (item.attributes["title"].clone(), item.last_changed_at_ms),
        ("b".into(), START_MS + 30)
    );
}

#[test]
fn a_refused_write_leaves_no_trace() {
    let store = open();
    create(&store, START_MS, json!({"id": "p", "title": "a"}));
    assert_eq!(
        create(&store, START_MS, json!({"id": "p"})),
        Outcome::ConditionFailed
    );
    assert!(matches!(delete(&store, START_MS, "p", 9), Outcome::Conflict(item) if item.version == 1));
    assert_eq!(
        update(&store, START_MS, "gone", 1, &json!({})),
        Outcome::ConditionFailed
    );
    let big = "x".repeat(super::write::ITEM_BYTES_MAX);
    assert_eq!(
        update(&store, START_MS, "p", 1, &json!({"title": big})),
        Outcome::TooLarge
    );
    assert_eq!(at(&store, START_MS).changes(0), "p:1");
    assert_eq!(at(&store, START_MS).scan(), "p:1");
}

#[test]
fn changes_of_one_millisecond_keep_their_order() {
    let store = open();
    for version in 0..12 {
        if version == 0 {
            create(&store, START_MS, json!({"id": "p"}));
        } else {
            update(&store, START_MS, "p", version, &json!({"rating": version}));
        }
    }
    let expected: Vec<String> = (1..=12).map(|version| format!("p:{version}")).collect();
    assert_eq!(at(&store, START_MS).changes(START_MS), expected.join(" "));
}

#[test]
fn an_index_follows_the_record() {
    let store = open();
    create(&store, START_MS, json!({"id": "p2", "blogId": "b", "title": "y"}));
    create(&store, START_MS, json!({"id": "p1", "blogId": "b", "title": "z"}));
    create(&store, START_MS, json!({"id": "p3", "blogId": "c", "title": "x"}));
    assert_eq!(at(&store, START_MS).by_blog("b"), "p2:1 p1:1");
    update(&store, START_MS, "p1", 1, &json!({"title": "a"}));
    assert_eq!(at(&store, START_MS).by_blog("b"), "p1:2 p2:1");
    update(&store, START_MS, "p2", 1, &json!({"blogId": "c"}));
    assert_eq!(
        (
            at(&store, START_MS).by_blog("b"),
            at(&store, START_MS).by_blog("c")
        ),
        ("p1:2".into(), "p3:1 p2:2".into())
    );
    // Tombstones stay in their indexes until they are purged.
    delete(&store, START_MS, "p1", 2);
    assert_eq!(at(&store, START_MS).by_blog("b"), "(p1:3)");
}

#[test]
fn pages_count_what_they_evaluate_and_end_without_a_token() {
    let store = open();
    for n in 0..5 {
        create(&store, START_MS, json!({"id": format!("p{n}"), "rating": n}));
    }
    let plan = store.compiled.model("Post");
    let filter = Filter::read(&serde_json_bytes(json!({"rating": {"ge": 3}})))
        .unwrap()
        .unwrap();
    let page = |after: Option<&[u8]>, limit| {
        at(&store, START_MS).with(|reading| {
            let request = PageRequest {
                hidden_bytes: usize::MAX,
                goes_on: None,
                after,
                limit,
                visible: None,
                filter: Some(&filter),
                descending: false,
            };
            reading.scan(plan, &request).unwrap()
        })
    };
    let first = page(None, 2);
    assert_eq!(trace(&first.items), "", "empty page, and yet there is more");
    let second = page(first.next.as_deref(), 2);
    assert_eq!(trace(&second.items), "p3:1");
    let third = page(second.next.as_deref(), 2);
    assert_eq!((trace(&third.items), third.next), ("p4:1".to_owned(), None));
    assert_eq!(page(None, 5).next, None, "a full last page has no token");
}

fn serde_json_bytes(json: serde_json::Value) -> apollo_compiler::response::JsonValue {
    json.into()
}

#[test]
fn a_tombstone_is_gone_the_second_its_time_is_over_purged_or_not() {
    let store = open_with(BackendConfig {
        base_ttl_minutes: 1,
        ..BackendConfig::default()
    });
    create(&store, START_MS, json!({"id": "p", "blogId": "b", "title": "t"}));
    delete(&store, START_MS, "p", 1);
    let end_ms = START_MS + MINUTE_MS;
    assert_eq!(at(&store, end_ms - 1).scan(), "(p:2)");
    assert_eq!(
        (at(&store, end_ms).scan(), at(&store, end_ms).by_blog("b")),
        (String::new(), String::new())
    );
    assert_eq!(
        create(&store, end_ms - 1, json!({"id": "p"})),
        Outcome::ConditionFailed
    );
    // A new life starts at version 1, and the index entries of the old one go.
    assert!(
        matches!(create(&store, end_ms, json!({"id": "p", "blogId": "c", "title": "u"})), Outcome::Written(item) if item.version == 1)
    );
    assert_eq!(
        (at(&store, 0).by_blog("b"), at(&store, 0).by_blog("c")),
        (String::new(), "p:1".to_owned())
    );
    assert_eq!(
        store.purge(end_ms).unwrap(),
        PurgeReport::default(),
        "the new life is not purged"
    );
    assert_eq!(at(&store, end_ms).scan(), "p:1");
}

#[test]
fn purged_tombstones_leave_nothing_behind() {
    let config = BackendConfig {
        base_ttl_minutes: 1,
        ..BackendConfig::default()
    };
    let switches = Switches {
        expired_tombstones: ExpiredTombstones::UntilPurged,
        ..Switches::default()
    };
    let store = open_with(BackendConfig { switches, ..config });
    create(&store, START_MS, json!({"id": "p", "blogId": "b", "title": "t"}));
    delete(&store, START_MS, "p", 1);
    let end_ms = START_MS + MINUTE_MS;
    assert_eq!(at(&store, end_ms).scan(), "(p:2)", "there until purged");
    assert_eq!(store.purge(end_ms - 1).unwrap(), PurgeReport::default());
    assert_eq!(
        store.purge(end_ms).unwrap(),
        PurgeReport {
            tombstones: 1,
            changes: 0
        }
    );
    let snapshot = store.snapshot().unwrap();
    for table in [tables::BASE, tables::INDEX, tables::EXPIRY] {
        assert_eq!(
            snapshot
                .rows(table, &landfall_storage::kv::KvRange::all(), 10)
                .unwrap(),
            [],
            "{table:?}"
        );
    }
}

#[test]
fn changes_are_purged_once_no_paged_sync_can_need_them() {
    let store = open();
    create(&store, START_MS, json!({"id": "p"}));
    let needed_ms = START_MS + 30 * MINUTE_MS + crate::sync::DELTA_PAGING_MS_MAX;
    assert_eq!(store.purge(needed_ms).unwrap().changes, 0);
    assert_eq!(store.purge(needed_ms + 1).unwrap().changes, 1);
    assert_eq!(at(&store, needed_ms).changes(0), "");
}

#[test]
fn without_a_time_to_live_a_delete_removes_the_row_and_tells_the_change() {
    let store = open_with(BackendConfig {
        base_ttl_minutes: 0,
        ..BackendConfig::default()
    });
    create(&store, START_MS, json!({"id": "p", "blogId": "b", "title": "t"}));
    delete(&store, START_MS, "p", 1);
    let now = at(&store, START_MS);
    assert_eq!(
        (now.scan(), now.by_blog("b"), now.changes(0)),
        (String::new(), String::new(), "p:1 (p:2)".to_owned())
    );
}

#[test]
fn times_of_changes_never_go_down_not_even_across_a_restart() {
    let kv_dir = tempfile::tempdir().unwrap();
    let compiled = Arc::new(CompiledSchema::compile(fixtures::blog()).unwrap());
    let open = || {
        let kv = KvStore::open(kv_dir.path()).unwrap();
        Store::open(kv, Arc::clone(&compiled), Arc::new(BackendConfig::default())).unwrap()
    };
    let store = open();
    create(&store, START_MS, json!({"id": "p1"}));
    create(&store, START_MS - 5_000, json!({"id": "p2"}));
    drop(store);
    let store = open();
    create(&store, START_MS - 9_000, json!({"id": "p3"}));
    assert_eq!(at(&store, START_MS).changes(START_MS), "p1:1 p2:1 p3:1");
}

#[test]
fn a_change_that_a_sync_does_not_see_is_not_older_than_the_sync() {
    let store = open();
    create(&store, START_MS, json!({"id": "p1"}));
    let plan = Arc::clone(store.compiled.model("Post"));
    // A sync begins while a write that started earlier is not committed yet.
    let (snapshot, started_at_ms) = store
        .writer()
        .transaction(START_MS + 100, |session| {
            let write = Write::Create {
                attributes: attributes(&json!({"id": "p2"})),
            };
            session.write(&plan, &attributes(&json!({"id": "p2"})), write, None)?;
            store.snapshot_at(START_MS + 200)
        })
        .unwrap();
    let seen = Reading {
        store: &store,
        rows: &snapshot,
        now_ms: started_at_ms,
    };
    assert_eq!(trace(&seen.scan(&plan, &all(10)).unwrap().items), "p1:1");
    assert_eq!(started_at_ms, START_MS + 100);
    assert_eq!(at(&store, START_MS + 300).changes(started_at_ms), "p2:1");
    // And a sync pushes the times of later writes to its own.
    let (_, started_at_ms) = store.snapshot_at(START_MS + 500).unwrap();
    create(&store, START_MS + 400, json!({"id": "p3"}));
    assert_eq!(at(&store, START_MS + 600).changes(started_at_ms), "p3:1");
}

#[test]
fn an_index_that_the_schema_gained_covers_the_rows_that_were_there() {
    let dir = tempfile::tempdir().unwrap();
    let plain = landfall_core::SchemaParts {
        models: vec![fixtures::model(
            "Post",
            "Posts",
            vec![
                fixtures::scalar("blogId", landfall_core::Scalar::Id),
                fixtures::scalar("title", landfall_core::Scalar::String),
            ],
        )],
        ..landfall_core::SchemaParts::default()
    };
    let open = |schema| {
        let compiled = Arc::new(CompiledSchema::compile(schema).unwrap());
        Store::open(
            KvStore::open(dir.path()).unwrap(),
            compiled,
            Arc::new(BackendConfig::default()),
        )
        .unwrap()
    };
    let store = open(fixtures::build(plain));
    create(&store, START_MS, json!({"id": "p1", "blogId": "b", "title": "t"}));
    drop(store);
    let store = open(fixtures::blog());
    assert_eq!(at(&store, START_MS).by_blog("b"), "p1:1");
    create(&store, START_MS, json!({"id": "p2", "blogId": "b", "title": "a"}));
    assert_eq!(at(&store, START_MS).by_blog("b"), "p2:1 p1:1");
}
