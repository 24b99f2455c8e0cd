use serde_json::json;

use super::*;

fn item() -> Item {
    let attributes = json!({
        "title": "héllo", "rating": 4, "score": 2.5, "live": true, "nil": null,
        "tags": ["x", "y"], "nums": [1, 2.0], "where": {"lat": 1}, "at": "2026-01-01T00:00:00.000Z",
    });
    let attributes = attributes
        .as_object()
        .unwrap()
        .iter()
        .map(|(k, v)| (k.clone(), v.into()))
        .collect();
    Item {
        attributes,
        version: 1,
        last_changed_at_ms: 1,
        deleted: false,
        ttl_s: None,
    }
}

fn read(filter: serde_json::Value) -> Result<Option<Filter>, BadFilter> {
    Filter::read(&JsonValue::from(filter))
}

#[test]
fn operators_compare_as_dynamodb_does() {
    let cases = [
        (json!({"rating": {"eq": 4}}), true),
        (json!({"rating": {"eq": 4.0}}), true),
        (json!({"rating": {"gt": 1, "lt": 4}}), false),
        (json!({"rating": {"gt": 1, "lt": 5}}), true),
        (json!({"rating": {"between": [4, 4]}}), true),
        (json!({"rating": {"between": [5, 9]}}), false),
        (json!({"rating": {"eq": "4"}}), false),
        (json!({"rating": {"ne": "4"}}), true),
        (json!({"rating": {"lt": "5"}}), false),
        (json!({"score": {"ge": 2.5}}), true),
        (json!({"live": {"eq": true}}), true),
        (json!({"live": {"lt": true}}), false),
        (json!({"title": {"beginsWith": "hé"}}), true),
        (json!({"title": {"beginsWith": "Hé"}}), false),
        (json!({"rating": {"beginsWith": "4"}}), false),
        (json!({"title": {"contains": "llo"}}), true),
        (json!({"tags": {"contains": "x"}}), true),
        (json!({"tags": {"contains": "z"}}), false),
        (json!({"tags": {"notContains": "z"}}), true),
        (json!({"nums": {"contains": 2}}), true),
        (json!({"tags": {"eq": ["x", "y"]}}), true),
        (json!({"tags": {"eq": ["y", "x"]}}), false),
        // Order of texts is by bytes: capitals and accents come where UTF-8 puts them.
        (json!({"title": {"gt": "hz"}}), true),
        (json!({"title": {"gt": "Z"}}), true),
    ];
    for (filter, expected) in cases {
        let read = read(filter.clone()).unwrap().unwrap();
        assert_eq!(read.matches(&item()), expected, "{filter}");
    }
}

#[test]
fn missing_and_null_attributes_are_told_apart() {
    let cases = [
        (json!({"none": {"eq": null}}), false),
        (json!({"nil": {"eq": null}}), true),
        (json!({"rating": {"eq": null}}), false),
        (json!({"none": {"ne": null}}), true),
        (json!({"nil": {"ne": null}}), false),
        (json!({"none": {"ne": "a"}}), true),
        (json!({"none": {"lt": "a"}}), false),
        (json!({"none": {"notContains": "a"}}), true),
        (json!({"none": {"contains": "a"}}), false),
        (json!({"none": {"attributeExists": false}}), true),
        (json!({"nil": {"attributeExists": false}}), false),
        (json!({"nil": {"attributeExists": true}}), true),
        (json!({"nil": {"attributeType": "_null"}}), true),
        (json!({"none": {"attributeType": "_null"}}), false),
        (json!({"_deleted": {"eq": false}}), false),
        (json!({"_deleted": {"ne": true}}), true),
        (json!({"and": [{"id": {"eq": null}}]}), false),
    ];
    for (filter, expected) in cases {
        let read = read(filter.clone()).unwrap().unwrap();
        assert_eq!(read.matches(&item()), expected, "{filter}");
    }
}

#[test]
fn sizes_and_types_are_those_of_dynamodb() {
    let cases = [
        (json!({"title": {"size": {"eq": 6}}}), true), // bytes, not characters
        (json!({"tags": {"size": {"ge": 2}}}), true),
        (json!({"where": {"size": {"eq": 1}}}), true),
        (json!({"tags": {"size": {"between": [3, 9]}}}), false),
        (json!({"rating": {"size": {"gt": 0}}}), false),
        (json!({"none": {"size": {"ne": 3}}}), false),
        (json!({"title": {"attributeType": "string"}}), true),
        (json!({"rating": {"attributeType": "number"}}), true),
        (json!({"score": {"attributeType": "number"}}), true),
        (json!({"live": {"attributeType": "bool"}}), true),
        (json!({"tags": {"attributeType": "list"}}), true),
        (json!({"where": {"attributeType": "map"}}), true),
        (json!({"tags": {"attributeType": "stringSet"}}), false),
    ];
    for (filter, expected) in cases {
        let read = read(filter.clone()).unwrap().unwrap();
        assert_eq!(read.matches(&item()), expected, "{filter}");
    }
}

#[test]
fn groups_nest_and_blank_groups_say_nothing() {
    let cases = [
        (
            json!({"rating": {"eq": 4}, "or": [{"live": {"eq": false}}, {"title": {"beginsWith": "h"}}]}),
            Some(true),
        ),
        (json!({"not": {"rating": {"eq": 4}}}), Some(false)),
        (
            json!({"and": [{"rating": {"eq": 4}}, {"not": {"live": {"eq": false}}}]}),
            Some(true),
        ),
        (json!({"and": {"rating": {"eq": 5}}}), Some(false)), // a single member for a list
        (json!({"or": [{"and": []}, {"rating": {"eq": 5}}]}), Some(false)),
        (json!({}), None),
        (json!({"and": []}), None),
        (json!({"or": []}), None),
        (json!({"rating": null, "not": {}}), None),
        (json!({"title": {"contains": null}}), None),
        (serde_json::Value::Null, None),
    ];
    for (filter, expected) in cases {
        let read = read(filter.clone()).unwrap();
        assert_eq!(read.map(|read| read.matches(&item())), expected, "{filter}");
    }
}

#[test]
fn operands_of_no_use_are_refused() {
    for filter in [
        json!({"rating": {"between": [1]}}),
        json!({"rating": 4}),
        json!({"and": [4]}),
        json!(4),
    ] {
        assert_eq!(read(filter.clone()), Err(BadFilter), "{filter}");
    }
}
