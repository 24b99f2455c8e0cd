//! Clients that are right under every reading of what is not known of AppSync.
//!
//! A few clients write and sync with a backend whose switches, strategy and times to live are drawn at random. Each
//! client knows only what it was told; at the end all of them must hold what the server holds.
#![allow(missing_docs, reason = "a test is named after what it shows")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;

use landfall_backend::{
    BackendConfig, ConflictCall, ConflictHandler, ConflictHandlers, ConflictStrategy, HandlerFailed,
    Resolution, Switches,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value as Json, json};

use support::{Bench, KEY, MINUTE_MS};

/// Fixes the seed that random tests start from; `PROPTEST_RNG_SEED` overrides it.
const SEED: u64 = 0x0005_317c;

const SDL: &str = "type Post @model { title: String  tags: [String] }";

const CLIENTS: usize = 3;

/// How many minutes tombstones live; clients know it by configuration, as they must to forget what was purged.
const BASE_TTL_MINUTES: u32 = 20;

/// Takes the write as it would be, or refuses what would delete.
struct NewWins;

impl ConflictHandler for NewWins {
    fn resolve(&self, call: &ConflictCall) -> Result<Resolution, HandlerFailed> {
        Ok(match call.resolver.field.as_str() {
            "deletePost" => Resolution::Reject,
            _ => Resolution::Resolve(call.new_item.clone()),
        })
    }
}

#[derive(Clone, Debug)]
enum Step {
    Create {
        client: usize,
        id: usize,
        with_version: bool,
    },
    /// `off` is added to the version that the client knows.
    Update {
        client: usize,
        id: usize,
        off: i64,
        tag: u8,
        null: bool,
    },
    Delete {
        client: usize,
        id: usize,
        off: i64,
    },
    Sync {
        client: usize,
        limit: usize,
    },
    /// Lets time go by, in minutes.
    Wait(i64),
    Purge,
}

fn step() -> impl Strategy<Value = Step> {
    let (client, id) = (0..CLIENTS, 0..4_usize);
    let off = prop_oneof![6 => Just(0_i64), 1 => Just(-1), 1 => Just(3)];
    prop_oneof![
        3 => (client.clone(), id.clone(), prop::bool::weighted(0.1))
            .prop_map(|(client, id, with_version)| Step::Create { client, id, with_version }),
        6 => (client.clone(), id.clone(), off.clone(), any::<u8>(), prop::bool::weighted(0.2))
            .prop_map(|(client, id, off, tag, null)| Step::Update { client, id, off, tag, null }),
        2 => (client.clone(), id, off).prop_map(|(client, id, off)| Step::Delete { client, id, off }),
        4 => (client, prop::sample::select(vec![1, 2, 1_000, 1_001])).prop_map(|(client, limit)| Step::Sync { client, limit }),
        2 => prop::sample::select(vec![0, 1, 4, 6, 25]).prop_map(Step::Wait),
        1 => Just(Step::Purge),
    ]
}

/// Switches with some of them at other readings than the default.
fn switches() -> impl Strategy<Value = Switches> {
    prop::collection::vec(prop::sample::select(Switches::texts()), 0..8).prop_map(|texts| {
        let mut switches = Switches::default();
        for text in texts {
            switches.set(&text).unwrap();
        }
        switches
    })
}

fn strategy() -> impl Strategy<Value = ConflictStrategy> {
    prop::sample::select(vec![
        ConflictStrategy::Automerge,
        ConflictStrategy::OptimisticConcurrency,
        ConflictStrategy::Handler,
    ])
}

fn config() -> ProptestConfig {
    let mut config = ProptestConfig {
        failure_persistence: None,
        cases: 128,
        ..ProptestConfig::default()
    };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(SEED);
    }
    println!("seed {:?}, {} cases", config.rng_seed, config.cases);
    config
}

/// A record as a client knows it.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    version: i64,
    changed_at: i64,
    deleted: bool,
    title: Json,
    tags: Json,
}

impl Known {
    fn of(record: &Json) -> Self {
        Self {
            version: record["_version"].as_i64().unwrap(),
            changed_at: record["_lastChangedAt"].as_i64().unwrap(),
            deleted: record["_deleted"] == true,
            title: record["title"].clone(),
            tags: record["tags"].clone(),
        }
    }
}

#[derive(Default)]
struct Client {
    records: BTreeMap<String, Known>,
    cursor: i64,
}

const SELECTION: &str = "id title tags _version _deleted _lastChangedAt";

impl Client {
    /// Takes what the server told, unless something newer is known.
    fn take(&mut self, record: &Json) {
        let told = Known::of(record);
        let id = record["id"].as_str().unwrap().to_owned();
        match self.records.get(&id) {
            // A lower version that was changed later is a new life after a purge.
            Some(known) if told.version <= known.version && told.changed_at <= known.changed_at => {}
            _ => drop(self.records.insert(id, told)),
        }
    }

    /// Takes the answer to a mutation: the record, or on a conflict the server's.
    fn answer(&mut self, body: &Json, field: &str) {
        let record = &body["data"][field];
        if record.is_object() {
            self.take(record);
        } else if body["errors"][0]["data"].is_object() {
            self.take(&body["errors"][0]["data"]);
        }
    }

    fn version(&self, id: &str) -> i64 {
        self.records.get(id).map_or(0, |known| known.version)
    }

    fn sync(&mut self, bench: &Bench, limit: usize) {
        let query = format!(
            "query($l: AWSTimestamp, $n: Int, $t: String) {{ syncPosts(lastSync: $l, limit: $n, nextToken: $t) \
             {{ items {{ {SELECTION} }} nextToken startedAt }} }}"
        );
        // One millisecond back: whether the very millisecond of the cursor is told again is not known.
        let last_sync = (self.cursor - 1).max(0);
        let mut seen = Vec::new();
        let (mut token, mut started_at) = (Json::Null, None);
        loop {
            let body = bench.ask(&query, json!({"l": last_sync, "n": limit, "t": token}));
            let page = &body["data"]["syncPosts"];
            if page.is_null() {
                assert_eq!(
                    (limit, &body["errors"][0]["errorType"]),
                    (1_001, &json!("BadRequest")),
                    "{body}"
                );
                return self.sync(bench, 1_000);
            }
            for item in page["items"].as_array().unwrap() {
                seen.push(item["id"].as_str().unwrap().to_owned());
                self.take(item);
            }
            started_at = started_at.or(page["startedAt"].as_i64());
            token = page["nextToken"].clone();
            if token.is_null() {
                break;
            }
        }
        let started_at = started_at.unwrap();
        // Tombstones that lived and died between two syncs were never told: what a base sync does not know is gone.
        if started_at - last_sync >= i64::from(BASE_TTL_MINUTES) * MINUTE_MS {
            self.records.retain(|id, _| seen.contains(id));
        }
        self.cursor = started_at;
    }

    fn live(&self) -> BTreeMap<String, Known> {
        let live = self.records.iter().filter(|(_, known)| !known.deleted);
        live.map(|(id, known)| (id.clone(), known.clone())).collect()
    }
}

/// Runs a step; every accepted write leaves one row in the delta table, every refusal none.
fn run(bench: &Bench, clients: &mut [Client], step: &Step) {
    let rows = || bench.backend.changes("Post").unwrap().len();
    let before = rows();
    let (client, field, input) = match step {
        Step::Create {
            client,
            id,
            with_version,
        } => {
            let mut input = json!({"id": format!("p{id}"), "title": "new", "tags": ["new"]});
            if *with_version {
                input["_version"] = json!(1);
            }
            (*client, "createPost", input)
        }
        Step::Update {
            client,
            id,
            off,
            tag,
            null,
        } => {
            let id = format!("p{id}");
            let version = (clients[*client].version(&id) + off).max(0);
            let title = if *null { Json::Null } else { json!(tag.to_string()) };
            (
                *client,
                "updatePost",
                json!({"id": id, "title": title, "tags": [tag.to_string()], "_version": version}),
            )
        }
        Step::Delete { client, id, off } => {
            let id = format!("p{id}");
            let version = (clients[*client].version(&id) + off).max(0);
            (*client, "deletePost", json!({"id": id, "_version": version}))
        }
        Step::Sync { client, limit } => return clients[*client].sync(bench, *limit),
        Step::Wait(minutes) => return bench.now_ms.set(bench.now_ms.get() + minutes * MINUTE_MS),
        Step::Purge => {
            bench.backend.purge(bench.now_ms.get()).unwrap();
            return;
        }
    };
    let upper = field[..1].to_uppercase() + &field[1..];
    let query = format!("mutation($i: {upper}Input!) {{ {field}(input: $i) {{ {SELECTION} }} }}");
    let body = bench.ask(&query, json!({"i": input}));
    clients[client].answer(&body, field);
    let accepted = body.get("errors").is_none();
    // A merge that changes nothing may be answered without being written.
    let idle = bench.backend.config().switches.idle_merge == landfall_backend::IdleMerge::Skipped;
    let written = rows() - before;
    assert!(
        written == usize::from(accepted) || (idle && accepted && written == 0),
        "{step:?}: {body}"
    );
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn clients_agree_with_the_server_under_every_reading(
        switches in switches(),
        strategy in strategy(),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let bench = Bench::new(SDL, BackendConfig {
            conflict: strategy,
            conflict_handlers: ConflictHandlers::for_all(NewWins),
            base_ttl_minutes: BASE_TTL_MINUTES,
            delta_ttl_minutes: 5,
            switches,
            ..BackendConfig::with_api_key(KEY)
        });
        let mut clients: Vec<Client> = std::iter::repeat_with(Client::default).take(CLIENTS).collect();
        for step in &steps {
            run(&bench, &mut clients, step);
        }
        for client in &mut clients {
            client.sync(&bench, 2);
        }
        let list = bench.data(&format!("{{ listPosts {{ items {{ {SELECTION} }} }} }}"), Json::Null);
        let items = list["listPosts"]["items"].as_array().unwrap();
        let server: BTreeMap<String, Known> = items
            .iter()
            .filter(|record| record["_deleted"] != true)
            .map(|record| (record["id"].as_str().unwrap().to_owned(), Known::of(record)))
            .collect();
        for client in &clients {
            prop_assert_eq!(client.live(), server.clone());
        }
    }
}
