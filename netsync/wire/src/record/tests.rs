use landfall_core::{IdPart, Value};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::testing::schema;

fn reader(model: &str) -> RecordReader {
    RecordReader::new(&schema(), model).expect("a model")
}

fn read(json: &serde_json::Value) -> Result<RemoteRecord, Box<BadRecord>> {
    let reader = reader("Post");
    let of_text = reader.read(&json.to_string());
    assert_eq!(of_text, reader.read_json(json), "text and tree say the same");
    of_text
}

fn bad(member: &str, value: serde_json::Value) -> BadRecord {
    let mut record = json!({"id": "p1", "title": "t", "_version": 1, "_lastChangedAt": 5});
    record[member] = value;
    *read(&record).expect_err("a bad record")
}

#[test]
fn a_whole_record_is_read_by_the_types_of_its_model() {
    let record = read(&json!({
        "id": "p1", "title": "a \"quoted\" ä", "rating": 4, "score": 2, "live": true, "status": "LIVE",
        "tags": ["a", null], "meta": "{\"a\":[1]}", "notes": ["7", null, "\"x\""], "place": {"lat": 1, "x": 2},
        "blogId": null, "unheardOf": {"deep": [1]}, "createdAt": "2026-11-21T00:00:00.000Z",
        "_version": 3, "_lastChangedAt": 1_700_000_000_123_i64, "_deleted": null,
    }))
    .expect("a good record");
    assert_eq!(record.id, "p1".into());
    let sync = SyncMetadata {
        version: RecordVersion(3),
        last_changed_at_ms: 1_700_000_000_123,
        deleted: false,
    };
    assert_eq!(record.sync, sync);
    let field = |name: &str| record.fields.get(name).cloned();
    assert_eq!(field("title"), Some("a \"quoted\" ä".into()));
    assert_eq!(
        field("score"),
        Some(Value::Float(2.0)),
        "floats are floats even if printed as integers"
    );
    assert_eq!(field("meta"), Some(Value::from(&json!({"a": [1]}))));
    assert_eq!(
        field("notes"),
        Some(Value::List(vec![Value::Int(7), Value::Null, "x".into()]))
    );
    assert_eq!(field("place"), Some(Value::from(&json!({"lat": 1.0}))));
    assert_eq!(field("blogId"), Some(Value::Null), "null is known");
    assert_eq!(field("section"), None, "what was left out is unknown");
    assert_eq!(field("unheardOf"), None);
}

#[test]
fn members_may_come_in_any_order() {
    let reader = reader("Device");
    let ordered =
        r#"{"org":"o","serial":"s","rev":2,"note":"n","_version":1,"_lastChangedAt":5,"_deleted":null}"#;
    let shuffled =
        r#"{"_deleted":null,"note":"n","_version":1,"rev":2.0,"_lastChangedAt":5,"serial":"s","org":"o"}"#;
    let record = reader.read(ordered).expect("good");
    assert_eq!(record, reader.read(shuffled).expect("good"));
    assert_eq!(
        record.id.parts(),
        [IdPart::Text("o".into()), IdPart::Text("s".into()), IdPart::Int(2)]
    );
}

#[test]
fn null_where_something_is_required_makes_a_record_incomplete() {
    for (member, path) in [
        ("title", "title"),
        ("_version", "_version"),
        ("_lastChangedAt", "_lastChangedAt"),
    ] {
        let bad = bad(member, json!(null));
        assert_eq!((bad.fault, bad.path.as_str()), (BadRecordFault::Incomplete, path));
        assert_eq!(
            bad.id,
            Some("p1".into()),
            "whoever asks for it again needs the identifier"
        );
    }
    let without_id = bad("id", json!(null));
    assert_eq!(
        (without_id.id, without_id.fault),
        (None, BadRecordFault::Incomplete)
    );
    let nested = bad("place", json!({"lat": null}));
    assert_eq!(nested.path, "place.lat");
}

#[test]
fn values_that_do_not_fit_make_a_record_malformed() {
    let cases = [
        (
            "rating",
            json!("4"),
            "`rating` of record p1 is not of type Int: it is a string",
        ),
        (
            "rating",
            json!(1.5),
            "`rating` of record p1 is not of type Int: it is a float",
        ),
        (
            "live",
            json!(1),
            "`live` of record p1 is not of type Boolean: it is an integer",
        ),
        (
            "status",
            json!("GONE"),
            "`status` of record p1 holds `GONE`, which is no value of `Status` in this schema",
        ),
        (
            "tags",
            json!("a"),
            "`tags` of record p1 takes a list, not a string",
        ),
        (
            "tags",
            json!(["a", 1]),
            "`tags[1]` of record p1 is not of type String: it is an integer",
        ),
        (
            "place",
            json!([]),
            "`place` of record p1 is not of type Geo: it is a list",
        ),
        (
            "_version",
            json!("x"),
            "`_version` of record p1 takes a whole number, not a string",
        ),
        (
            "_version",
            json!(-1),
            "`_version` of record p1 must not be negative",
        ),
    ];
    for (member, value, message) in cases {
        let bad = bad(member, value);
        assert_eq!(bad.fault, BadRecordFault::Malformed, "{message}");
        assert_eq!(bad.to_string(), message);
        assert!(bad.json.contains("\"p1\""), "the record is kept: {}", bad.json);
    }
    assert!(bad("meta", json!("{")).reason.starts_with("holds no JSON"));
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    assert_eq!(bad("meta", json!(deep)).reason, "is nested deeper than 64 levels");
    assert!(reader("Post").read("[1]").is_err());
}

#[test]
fn a_tombstone_needs_no_more_than_its_identifier_and_metadata() {
    let tombstone = json!({
        "id": "p1", "title": null, "status": "GONE", "rating": 4, "_version": 3, "_lastChangedAt": 5, "_deleted": true,
    });
    let record = read(&tombstone).expect("a good tombstone");
    assert!(record.sync.deleted);
    assert_eq!(
        record
            .fields
            .keys()
            .map(landfall_core::FieldName::as_str)
            .collect::<Vec<_>>(),
        ["id", "rating"]
    );
}

#[test]
fn the_json_of_a_bad_record_is_cut_between_characters() {
    let long = "ä".repeat(BAD_RECORD_JSON_BYTES_MAX);
    let bad = bad("rating", json!(long));
    assert!(bad.json.len() <= BAD_RECORD_JSON_BYTES_MAX && bad.json.len() > BAD_RECORD_JSON_BYTES_MAX - 4);
}

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|b| json!(b)),
        any::<i64>().prop_map(|n| json!(n)),
        any::<u64>().prop_map(|n| json!(n)),
        any::<f64>().prop_map(|x| json!(x)),
        ".{0,6}".prop_map(|text| json!(text)),
        Just(json!("{\"a\":1}")),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            proptest::collection::btree_map("(lat|lon|extra|x)", inner, 0..4).prop_map(|m| json!(m)),
        ]
    })
}

proptest! {
    #[test]
    fn no_record_makes_the_reader_panic(
        members in proptest::collection::btree_map(
            "(id|title|rating|score|live|status|tags|meta|notes|place|_version|_lastChangedAt|_deleted|other)",
            json_value(), 0..14,
        ),
    ) {
        let json = json!(members);
        match reader("Post").read(&json.to_string()) {
            Ok(record) => prop_assert!(record.fields.values().all(is_finite)),
            Err(bad) => prop_assert!(!bad.reason.is_empty()),
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,60}") {
        let _ = reader("Post").read(&text);
    }
}

fn is_finite(value: &Value) -> bool {
    match value {
        Value::Float(x) => x.is_finite(),
        Value::List(items) => items.iter().all(is_finite),
        Value::Object(members) => members.values().all(is_finite),
        _ => true,
    }
}
