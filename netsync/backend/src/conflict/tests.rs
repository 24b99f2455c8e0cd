use serde_json::{Value as Json, json};

use super::*;

const NOW_MS: i64 = 1_700_000_010_000;

fn attributes(json: &Json) -> Attributes {
    json.as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), value.into()))
        .collect()
}

fn changes(json: &Json) -> Changes {
    let changes = json.as_object().unwrap().iter();
    changes
        .map(|(name, value)| (name.clone(), (!value.is_null()).then(|| value.into())))
        .collect()
}

fn live(version: u64, json: &Json) -> Item {
    Item {
        attributes: attributes(json),
        version,
        last_changed_at_ms: 1,
        deleted: false,
        ttl_s: None,
    }
}

fn tombstone(version: u64, json: &Json) -> Item {
    Item {
        deleted: true,
        ttl_s: Some(7),
        ..live(version, json)
    }
}

fn run(
    strategy: ConflictStrategy,
    switches: &Switches,
    write: &Write,
    stored: Option<&Item>,
    condition: bool,
) -> Decision {
    let rules = Rules {
        strategy,
        switches,
        now_ms: NOW_MS,
        base_ttl_minutes: 60,
        updated_at: Some("updatedAt"),
    };
    decide(write.clone(), stored, &|_| condition, &rules)
}

/// One line: what became of the write.
fn trace(decision: &Decision) -> String {
    match decision {
        Decision::Put(item) => {
            let json = serde_json::to_string(&item.attributes).unwrap();
            let deleted = if item.deleted { " deleted" } else { "" };
            format!("v{} {json}{deleted}", item.version)
        }
        Decision::Keep => "kept".to_owned(),
        Decision::ConditionFailed => "condition failed".to_owned(),
        Decision::Conflict => "conflict".to_owned(),
        Decision::Ask(item) => format!("ask v{}", item.version),
    }
}

fn update(json: &Json, version: u64) -> Write {
    Write::Update {
        changes: changes(json),
        version,
    }
}

/// Stored record, incoming change with its version, record after the merge. The first five are the documentation's
/// story of a player; the others follow from the rules.
const VECTORS: [&str; 15] = [
    r#"v4 {"name":"Nadia","jersey":5} <- v2 {"jersey":55} = v5 {"jersey":5,"name":"Nadia"}"#,
    r#"v5 {"name":"Nadia"} <- v3 {"name":"Shaggy","food":["a","b"],"points":[24,30]} = v6 {"food":["a","b"],"name":"Nadia","points":[24,30]}"#,
    r#"v6 {"points":[24,30,27]} <- v5 {"points":[30,35]} = v7 {"points":[24,30,27,30,35]}"#,
    r#"v8 {"stats":{"ppg":35.4,"apg":6.3}} <- v3 {"stats":{"ppg":25.7,"rpg":6.9}} = v9 {"stats":{"apg":6.3,"ppg":35.4,"rpg":6.9}}"#,
    r#"v3 {"title":"a","rating":null} <- v1 {"title":"b","rating":4} = v4 {"rating":4,"title":"a"}"#,
    r#"v3 {"tags":["x"]} <- v3 {"tags":["y"]} = v4 {"tags":["y"]}"#,
    r#"v3 {"tags":["x"]} <- v2 {"tags":["x","y"]} = v4 {"tags":["x","x","y"]}"#,
    r#"v3 {"title":"a"} <- v2 {"title":null} = v4 {"title":"a"}"#,
    r#"v3 {"title":"a"} <- v3 {"title":null} = v4 {}"#,
    r#"v3 {"where":{"lat":1,"lon":2}} <- v3 {"where":{"lat":9}} = v4 {"where":{"lat":9}}"#,
    r#"v3 {"where":{"lat":1}} <- v2 {"where":{"lat":9,"lon":5}} = v4 {"where":{"lat":1,"lon":5}}"#,
    r#"v4 {"tags":["x","y"],"n":1} <- v3 {"tags":["y"],"n":1} = v5 {"n":1,"tags":["x","y","y"]}"#,
    r#"v3 {"x":[1]} <- v2 {"x":1} = v4 {"x":[1]}"#,
    r#"v3 {"m":{"a":[1],"b":null}} <- v0 {"m":{"a":[2],"b":3,"c":null}} = v4 {"m":{"a":[1,2],"b":3,"c":null}}"#,
    r#"v3 {"updatedAt":"old"} <- v2 {"updatedAt":"new"} = v4 {"updatedAt":"old"}"#,
];

/// `v3 {...}` as version and JSON.
fn versioned(text: &str) -> (u64, Json) {
    let (version, json) = text.split_once(' ').unwrap();
    (version[1..].parse().unwrap(), serde_json::from_str(json).unwrap())
}

fn check_vector(vector: &str, switches: &Switches) {
    let (stored, rest) = vector.split_once(" <- ").unwrap();
    let (incoming, expected) = rest.split_once(" = ").unwrap();
    let (stored_version, stored) = versioned(stored);
    let (version, incoming) = versioned(incoming);
    let stored = live(stored_version, &stored);
    let decision = run(
        ConflictStrategy::Automerge,
        switches,
        &update(&incoming, version),
        Some(&stored),
        true,
    );
    assert_eq!(trace(&decision), expected, "{vector}");
}

#[test]
fn automerge_follows_the_vectors_of_the_documentation_and_those_derived_from_its_rules() {
    for vector in VECTORS {
        check_vector(vector, &Switches::default());
    }
    // Sets exist only with hand-written resolvers; here they are lists under another switch.
    let union = Switches {
        list_merge: ListMerge::Union,
        ..Switches::default()
    };
    check_vector(
        r#"v6 {"food":["a","b","c"]} <- v5 {"food":["a","b","d"]} = v7 {"food":["a","b","c","d"]}"#,
        &union,
    );
}

/// Case; write with its version; what is stored; whether the condition holds; the end under automerge; and under
/// optimistic concurrency, if it differs. Written and stored records differ in `t`.
const BEHAVIOUR: [&str; 20] = [
    "create new id | create | nothing | true | v1 a",
    "create new id, condition false | create | nothing | false | condition failed",
    "create existing id | create | v3 live | true | condition failed",
    "create over tombstone | create | v4 tombstone | true | condition failed",
    "update v = server | update v3 | v3 live | true | v4 b",
    "update v < server | update v2 | v3 live | true | v4 a | conflict",
    "update no version | update v0 | v3 live | true | v4 a | conflict",
    "update v > server | update v9 | v3 live | true | v4 a | conflict",
    "update missing row | update v1 | nothing | true | condition failed",
    "update tombstone, right version | update v4 | v4 tombstone | true | v5 b deleted",
    "update tombstone, stale version | update v3 | v4 tombstone | true | conflict",
    "delete v = server | delete v3 | v3 live | true | v4 a deleted",
    "delete v != server | delete v2 | v3 live | true | conflict",
    "delete no version | delete v0 | v3 live | true | conflict",
    "delete missing row | delete v1 | nothing | true | condition failed",
    "delete tombstone, stale version | delete v3 | v4 tombstone | true | conflict",
    "update, condition false, version ok | update v3 | v3 live | false | condition failed",
    "delete, condition false, version ok | delete v3 | v3 live | false | condition failed",
    "update, condition false, version stale | update v2 | v3 live | false | condition failed | conflict",
    "delete, condition false, version stale | delete v2 | v3 live | false | conflict",
];

/// `v4 b deleted`, or what became of the write instead.
fn short_trace(decision: &Decision) -> String {
    match decision {
        Decision::Put(item) => {
            let deleted = if item.deleted { " deleted" } else { "" };
            format!(
                "v{} {}{deleted}",
                item.version,
                item.attributes["t"].as_str().unwrap()
            )
        }
        other => trace(other),
    }
}

#[test]
fn each_case_of_the_behaviour_table_ends_as_the_service_ends_it() {
    let row = json!({"id": "p", "t": "a"});
    for case in BEHAVIOUR {
        let columns: Vec<&str> = case.split(" | ").collect();
        let stored = match columns[2] {
            "v3 live" => Some(live(3, &row)),
            "v4 tombstone" => Some(tombstone(4, &row)),
            _ => None,
        };
        let (verb, version) = columns[1].split_once(" v").unwrap_or((columns[1], "0"));
        let version = version.parse().unwrap();
        let write = match verb {
            "create" => Write::Create {
                attributes: attributes(&row),
            },
            "update" => update(&json!({"t": "b"}), version),
            _ => Write::Delete { version },
        };
        let optimistic = columns.get(5).unwrap_or(&columns[4]);
        for (strategy, expected) in [
            (ConflictStrategy::Automerge, columns[4]),
            (ConflictStrategy::OptimisticConcurrency, optimistic),
        ] {
            let decision = run(
                strategy,
                &Switches::default(),
                &write,
                stored.as_ref(),
                columns[3] == "true",
            );
            assert_eq!(short_trace(&decision), expected, "{case} under {strategy:?}");
        }
    }
}

#[test]
fn a_tombstone_keeps_its_attributes_and_lives_for_its_time() {
    let stored = live(1, &json!({"id": "p", "tags": ["x"]}));
    let delete = Write::Delete { version: 1 };
    let Decision::Put(dead) = run(
        ConflictStrategy::Automerge,
        &Switches::default(),
        &delete,
        Some(&stored),
        true,
    ) else {
        panic!("the delete has the right version");
    };
    assert_eq!(dead.attributes, stored.attributes);
    assert_eq!(
        (dead.last_changed_at_ms, dead.ttl_s),
        (NOW_MS, Some(NOW_MS / 1_000 + 3_600))
    );
    assert!(!dead.is_expired(NOW_MS + 3_599_999));
    assert!(dead.is_expired(NOW_MS + 3_600_000));
}

#[test]
fn switches_of_merging_choose_the_other_reading() {
    let base = Switches::default();
    let vector = |switches: Switches, vector: &str| check_vector(vector, &switches);
    vector(
        Switches {
            higher_version: HigherVersion::Accepted,
            ..base
        },
        r#"v3 {"t":"a"} <- v9 {"t":"b"} = v10 {"t":"b"}"#,
    );
    vector(
        Switches {
            list_merge: ListMerge::Replace,
            ..base
        },
        r#"v3 {"x":[1]} <- v2 {"x":[2]} = v4 {"x":[2]}"#,
    );
    vector(
        Switches {
            kind_mismatch: KindMismatch::IncomingWins,
            ..base
        },
        r#"v3 {"x":[1]} <- v2 {"x":5} = v4 {"x":5}"#,
    );
    vector(
        Switches {
            idle_merge: IdleMerge::Skipped,
            ..base
        },
        r#"v3 {"t":"a"} <- v2 {"t":"b"} = kept"#,
    );
    vector(
        Switches {
            merged_updated_at: MergedUpdatedAt::Renewed,
            ..base
        },
        r#"v3 {"t":"a","updatedAt":"old"} <- v2 {"t":"b","updatedAt":"new"} = v4 {"t":"a","updatedAt":"new"}"#,
    );
}

#[test]
fn switches_of_conditions_and_tombstones_choose_the_other_reading() {
    let base = Switches::default();
    let (alive, dead) = (live(3, &json!({"t": "a"})), tombstone(3, &json!({"t": "a"})));
    let decide = |switches: Switches, write: &Write, stored: &Item, condition: bool| {
        short_trace(&run(
            ConflictStrategy::Automerge,
            &switches,
            write,
            Some(stored),
            condition,
        ))
    };
    let condition_first = Switches {
        condition_order: ConditionOrder::ConditionFirst,
        ..base
    };
    assert_eq!(
        decide(condition_first, &Write::Delete { version: 2 }, &alive, false),
        "condition failed"
    );
    let version_only = Switches {
        condition_order: ConditionOrder::VersionOnly,
        ..base
    };
    assert_eq!(
        decide(version_only, &update(&json!({"t": "b"}), 2), &alive, false),
        "v4 a"
    );
    let refused = Switches {
        tombstone_update: TombstoneUpdate::Conflict,
        ..base
    };
    assert_eq!(
        decide(refused, &update(&json!({"t": "b"}), 3), &dead, true),
        "conflict"
    );
}

#[test]
fn no_reading_lets_a_version_go_down() {
    let stored = live(5, &json!({"t": "a"}));
    for &higher_version in HigherVersion::ALL {
        for &condition_order in ConditionOrder::ALL {
            for version in 0..10 {
                let switches = Switches {
                    higher_version,
                    condition_order,
                    ..Switches::default()
                };
                for write in [update(&json!({"t": "b"}), version), Write::Delete { version }] {
                    let decision = run(
                        ConflictStrategy::Automerge,
                        &switches,
                        &write,
                        Some(&stored),
                        true,
                    );
                    if let Decision::Put(item) = decision {
                        assert!(item.version > stored.version, "{switches:?} {write:?}");
                    }
                }
            }
        }
    }
}
