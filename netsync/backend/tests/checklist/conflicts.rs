//! Conflicts: the vectors of automerge, the table of outcomes, the entries of errors.

use landfall_backend::{BackendConfig, ConflictStrategy, ConnectionId, ListMerge, Switches};
use serde_json::{Map, Value as Json, json};

use crate::support::{Bench, KEY, only_error};

const SDL: &str = "type Stats { ppg: Float  apg: Float  rpg: Float }
type Player @model {
    id: ID!  name: String  jersey: Int  interests: [String]  points: [Int]  stats: Stats  meta: AWSJSON  rating: Int
}";

const ALL: &str = "id name jersey interests points stats { ppg apg rpg } meta rating _version _deleted";

fn bench(strategy: ConflictStrategy, switches: Switches) -> Bench {
    let config = BackendConfig {
        conflict: strategy,
        switches,
        ..BackendConfig::with_api_key(KEY)
    };
    Bench::new(SDL, config)
}

fn write(bench: &Bench, verb: &str, mut input: Json, version: Option<u64>) -> Json {
    input["id"] = json!("p");
    if let Some(version) = version {
        input["_version"] = json!(version);
    }
    let upper = verb[..1].to_uppercase() + &verb[1..];
    let query = format!("mutation($i: {upper}PlayerInput!) {{ {verb}Player(input: $i) {{ {ALL} }} }}");
    bench.ask(&query, json!({"i": input}))
}

fn stored(bench: &Bench) -> Json {
    bench.data(&format!("{{ getPlayer(id: \"p\") {{ {ALL} }} }}"), Json::Null)["getPlayer"].take()
}

/// A record of that content at that version.
fn prepare(bench: &Bench, version: u64, content: &Json) {
    write(bench, "create", content.clone(), None);
    for version in 1..version {
        write(bench, "update", json!({}), Some(version));
    }
}

/// The members of a record that are not null, without its key.
fn content(record: &Json) -> Json {
    let members = record.as_object().unwrap().iter();
    let mut kept: Map<String, Json> = members
        .filter(|(name, value)| !value.is_null() && !["id", "_version", "_deleted"].contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if let Some(Json::Object(stats)) = kept.get_mut("stats") {
        stats.retain(|_, value| !value.is_null());
    }
    Json::Object(kept)
}

/// Stored version and content, incoming version and content, content after the merge.
type Vector = (u64, Json, u64, Json, Json);

/// The story of the documentation; its sets are lists here, as Amplify never stores a set.
fn documented() -> Vec<Vector> {
    vec![
        (
            4,
            json!({"name": "Nadia", "jersey": 5}),
            2,
            json!({"jersey": 55}),
            json!({"name": "Nadia", "jersey": 5}),
        ),
        (
            5,
            json!({"name": "Nadia", "jersey": 5}),
            3,
            json!({"name": "Shaggy", "interests": ["breakfast", "lunch"], "points": [24, 30, 27]}),
            json!({"name": "Nadia", "jersey": 5, "interests": ["breakfast", "lunch"], "points": [24, 30, 27]}),
        ),
        (
            6,
            json!({"points": [24, 30, 27]}),
            5,
            json!({"points": [30, 35]}),
            json!({"points": [24, 30, 27, 30, 35]}),
        ),
        (
            8,
            json!({"stats": {"ppg": 35.4, "apg": 6.3}}),
            3,
            json!({"stats": {"ppg": 25.7, "rpg": 6.9}}),
            json!({"stats": {"ppg": 35.4, "apg": 6.3, "rpg": 6.9}}),
        ),
    ]
}

/// What follows from its rules.
fn derived() -> Vec<Vector> {
    vec![
        (
            3,
            json!({"name": "a", "rating": null}),
            1,
            json!({"name": "b", "rating": 4}),
            json!({"name": "a", "rating": 4}),
        ),
        (
            3,
            json!({"interests": ["x"]}),
            3,
            json!({"interests": ["y"]}),
            json!({"interests": ["y"]}),
        ),
        (
            3,
            json!({"interests": ["x"]}),
            2,
            json!({"interests": ["x", "y"]}),
            json!({"interests": ["x", "x", "y"]}),
        ),
        (
            3,
            json!({"name": "a"}),
            2,
            json!({"name": null}),
            json!({"name": "a"}),
        ),
        (
            3,
            json!({"stats": {"ppg": 1.0, "apg": 2.0}}),
            3,
            json!({"stats": {"ppg": 9.0}}),
            json!({"stats": {"ppg": 9.0}}),
        ),
        (
            3,
            json!({"stats": {"ppg": 1.0}}),
            2,
            json!({"stats": {"ppg": 9.0, "apg": 5.0}}),
            json!({"stats": {"ppg": 1.0, "apg": 5.0}}),
        ),
        (
            3,
            json!({"meta": "{\"a\":1}"}),
            2,
            json!({"meta": "{\"a\":2,\"b\":3}"}),
            json!({"meta": "{\"a\":1,\"b\":3}"}),
        ),
    ]
}

#[test]
fn automerge_follows_the_vectors_from_answer_to_delta_row() {
    for (at, before, version, incoming, after) in documented().into_iter().chain(derived()) {
        let bench = bench(ConflictStrategy::Automerge, Switches::default());
        prepare(&bench, at, &before);
        let listener = bench.listen(&["onUpdatePlayer { id name _version }"]);
        let body = write(&bench, "update", incoming.clone(), Some(version));
        let answer = &body["data"]["updatePlayer"];
        assert_eq!(
            (content(answer), &answer["_version"]),
            (after.clone(), &json!(at + 1)),
            "{before} <- {incoming}"
        );
        assert_eq!(&stored(&bench), answer);
        let changes = bench.backend.changes("Player").unwrap();
        assert_eq!(
            changes.len() as u64,
            at + 1,
            "one delta row for each accepted write"
        );
        assert_eq!(changes.last().unwrap().sync.version.0, at + 1);
        let heard = bench.heard(listener);
        assert_eq!(heard.len(), 1);
        assert_eq!(heard[0]["payload"]["data"]["onUpdatePlayer"]["_version"], at + 1);
    }
}

#[test]
fn a_union_of_lists_is_there_for_those_who_switch_it_on() {
    let switches = Switches {
        list_merge: ListMerge::Union,
        ..Switches::default()
    };
    let bench = bench(ConflictStrategy::Automerge, switches);
    prepare(&bench, 6, &json!({"interests": ["breakfast", "lunch", "dinner"]}));
    write(
        &bench,
        "update",
        json!({"interests": ["breakfast", "lunch", "brunch"]}),
        Some(5),
    );
    assert_eq!(
        stored(&bench)["interests"],
        json!(["breakfast", "lunch", "dinner", "brunch"])
    );
}

/// What is there, the write, and how it ends under automerge and under optimistic concurrency.
const OUTCOMES: [(&str, &str, &str, &str); 15] = [
    ("nothing", "create", "v1", "v1"),
    (
        "live v3",
        "create",
        "ConditionalCheckFailedException",
        "ConditionalCheckFailedException",
    ),
    (
        "tombstone v4",
        "create",
        "ConditionalCheckFailedException",
        "ConditionalCheckFailedException",
    ),
    ("live v3", "update v3", "v4 applied", "v4 applied"),
    ("live v3", "update v2", "v4", "ConflictUnhandled v3"),
    ("live v3", "update", "v4", "ConflictUnhandled v3"),
    ("live v3", "update v9", "v4", "ConflictUnhandled v3"),
    (
        "nothing",
        "update v1",
        "ConditionalCheckFailedException",
        "ConditionalCheckFailedException",
    ),
    (
        "tombstone v4",
        "update v4",
        "v5 applied deleted",
        "v5 applied deleted",
    ),
    (
        "tombstone v4",
        "update v3",
        "ConflictUnhandled v4 deleted",
        "ConflictUnhandled v4 deleted",
    ),
    ("live v3", "delete v3", "v4 deleted", "v4 deleted"),
    (
        "live v3",
        "delete v2",
        "ConflictUnhandled v3",
        "ConflictUnhandled v3",
    ),
    (
        "live v3",
        "delete",
        "ConflictUnhandled v3",
        "ConflictUnhandled v3",
    ),
    (
        "nothing",
        "delete v1",
        "ConditionalCheckFailedException",
        "ConditionalCheckFailedException",
    ),
    (
        "live v3",
        "update v3 if other",
        "ConditionalCheckFailedException",
        "ConditionalCheckFailedException",
    ),
];

/// Subscribers to everything: of the whole record, of a part of it, and of records that are called `a`, as those are that a
/// write finds.
struct Audience {
    full: ConnectionId,
    narrow: ConnectionId,
    filtered: ConnectionId,
}

impl Audience {
    fn gather(bench: &Bench) -> Self {
        let listen = |filter: &str, selection: &str| {
            let fields = ["Create", "Update", "Delete"]
                .map(|kind| format!("on{kind}Player{filter} {{ {selection} }}"));
            bench.listen(&fields.each_ref().map(String::as_str))
        };
        Self {
            full: listen("", ALL),
            narrow: listen("", "id _version"),
            filtered: listen("(filter: {name: {eq: \"a\"}})", ALL),
        }
    }

    fn heard_nothing(&self, bench: &Bench) {
        for connection in [self.full, self.narrow, self.filtered] {
            assert_eq!(bench.heard(connection), [] as [Json; 0]);
        }
    }

    /// That the answer of an accepted write came to those whom it concerns, as much of it as they asked for.
    fn heard(&self, bench: &Bench, verb: &str, answer: &Json) {
        let field = format!("on{}Player", verb[..1].to_uppercase() + &verb[1..]);
        let told = |connection| -> Vec<Json> {
            let messages = bench.heard(connection).into_iter();
            messages
                .map(|mut message| message["payload"]["data"][&field].take())
                .collect()
        };
        assert_eq!(told(self.full), std::slice::from_ref(answer));
        assert_eq!(
            told(self.narrow),
            [json!({"id": answer["id"], "_version": answer["_version"]})]
        );
        let expected = if answer["name"] == "a" {
            vec![answer.clone()]
        } else {
            Vec::new()
        };
        assert_eq!(told(self.filtered), expected);
    }
}

fn outcome(strategy: ConflictStrategy, state: &str, asked: &str) -> String {
    let bench = bench(strategy, Switches::default());
    if state != "nothing" {
        prepare(&bench, 3, &json!({"name": "a"}));
    }
    if state.starts_with("tombstone") {
        write(&bench, "delete", json!({}), Some(3));
    }
    let changes = || bench.backend.changes("Player").unwrap().len();
    let before = (changes(), stored(&bench));
    let audience = Audience::gather(&bench);
    let verb = asked.split(' ').next().unwrap();
    let version = asked
        .split(" v")
        .nth(1)
        .map(|rest| rest.split(' ').next().unwrap().parse().unwrap());
    let input = if verb == "delete" {
        json!({})
    } else {
        json!({"name": "b"})
    };
    let body = if asked.ends_with("if other") {
        let query = "mutation { updatePlayer(input: {id: \"p\", name: \"b\", _version: 3}, condition: {name: {eq: \"other\"}}) { id } }";
        bench.ask(query, Json::Null)
    } else {
        write(&bench, verb, input, version)
    };
    let deleted = |record: &Json| {
        if record["_deleted"] == true {
            " deleted"
        } else {
            ""
        }
    };
    if body.get("errors").is_some() {
        assert_eq!(
            (changes(), stored(&bench)),
            before,
            "a refusal leaves the record, and no delta row"
        );
        audience.heard_nothing(&bench);
        let (kind, message) = only_error(&body);
        let data = &body["errors"][0]["data"];
        return if kind == "ConflictUnhandled" {
            assert_eq!(message, "Conflict resolver rejects mutation.");
            format!("{kind} v{}{}", data["_version"], deleted(data))
        } else {
            assert!(message.starts_with(
                "The conditional request failed (Service: DynamoDb, Status Code: 400, Request ID: "
            ));
            assert_eq!(data, &Json::Null);
            kind
        };
    }
    assert_eq!(changes(), before.0 + 1);
    let answer = &body["data"][format!("{verb}Player")];
    assert_eq!(&stored(&bench), answer);
    audience.heard(&bench, verb, answer);
    let applied = if verb == "update" && answer["name"] == "b" {
        " applied"
    } else {
        ""
    };
    format!("v{}{applied}{}", answer["_version"], deleted(answer))
}

#[test]
fn every_case_of_the_behaviour_table_ends_as_listed() {
    for (state, asked, automerge, optimistic) in OUTCOMES {
        for (strategy, expected) in [
            (ConflictStrategy::Automerge, automerge),
            (ConflictStrategy::OptimisticConcurrency, optimistic),
        ] {
            assert_eq!(
                outcome(strategy, state, asked),
                expected,
                "{state} <- {asked} under {strategy:?}"
            );
        }
    }
}

#[test]
fn conflict_unhandled_is_a_flat_entry_with_the_record_cut_to_the_selection() {
    let bench = bench(ConflictStrategy::OptimisticConcurrency, Switches::default());
    prepare(&bench, 2, &json!({"name": "server"}));
    let query =
        "mutation {\n  updatePlayer(input: {id: \"p\", name: \"mine\", _version: 1}) { name _version }\n}";
    assert_eq!(
        bench.ask(query, Json::Null),
        json!({
            "data": {"updatePlayer": null},
            "errors": [{
                "path": ["updatePlayer"], "data": {"name": "server", "_version": 2}, "errorType": "ConflictUnhandled",
                "errorInfo": null, "locations": [{"line": 2, "column": 3, "sourceName": null}],
                "message": "Conflict resolver rejects mutation."
            }]
        })
    );
}

#[test]
fn a_null_in_a_field_that_is_not_null_names_type_parent_and_path() {
    let bench = Bench::of("type Strict @model { title: String! }");
    bench.data(
        "mutation { createStrict(input: {id: \"s\", title: \"t\"}) { id } }",
        Json::Null,
    );
    bench.data(
        "mutation { updateStrict(input: {id: \"s\", title: null, _version: 1}) { id } }",
        Json::Null,
    );
    let body = bench.ask("{ getStrict(id: \"s\") { title } }", Json::Null);
    assert_eq!(
        only_error(&body).1,
        "Cannot return null for non-nullable type: 'String' within parent 'Strict' (/getStrict/title)"
    );
    assert_eq!(body["data"], json!({"getStrict": null}));
    let list = bench.ask("{ listStricts { items { title } } }", Json::Null);
    assert_eq!(
        list["data"]["listStricts"]["items"],
        json!([null]),
        "the page stands, the element is null"
    );
}

#[test]
fn metadata_in_an_input_is_refused() {
    let bench = bench(ConflictStrategy::Automerge, Switches::default());
    assert_eq!(
        only_error(&write(&bench, "create", json!({}), Some(3))).0,
        "BadRequest"
    );
    for name in ["_deleted", "_lastChangedAt", "_ttl"] {
        let body = write(&bench, "create", json!({name: 1}), None);
        let message = only_error(&body).1;
        let expected = format!(
            "The variables input contains a field name '{name}' that is not defined for input object type 'CreatePlayerInput'"
        );
        assert_eq!((message, &body["data"]), (expected, &Json::Null));
        assert_eq!(body["errors"][0]["locations"], Json::Null);
    }
}
