//! Which keys each op of the line protocol has.
//!
//! Invariant: a command with a key that its op does not know, or with two keys of which one contradicts the other, is refused before
//! anything is done. A condition with a slip in its name would be no condition otherwise, and a change of one record a change of all.

use serde_json::{Map, Value as Json};

use super::super::values::Fault;

/// Each op with its keys, beside `op` itself.
const OPS: [(&str, &[&str]); 27] = [
    (
        "configure",
        &[
            "conflict",
            "syncExpressions",
            "syncPageSize",
            "maxRecordsToSync",
            "fullSyncInterval",
        ],
    ),
    ("start", &[]),
    ("stop", &[]),
    ("clear", &[]),
    ("save", &["model", "fields", "where"]),
    ("update", &["model", "id", "fields", "where"]),
    ("delete", &["model", "id", "where", "all"]),
    ("get", &["model", "id"]),
    ("query", &["model", "where", "sort", "limit", "page"]),
    ("count", &["model", "where"]),
    ("explain", &["model", "where", "sort", "limit", "page"]),
    ("observe", &["model", "where"]),
    ("observed", &[]),
    ("observeQuery", &["model", "where", "sort"]),
    ("snapshots", &[]),
    ("hub", &[]),
    ("waitHub", &["event", "data", "ms"]),
    ("waitFor", &["model", "id", "fields", "gone", "ms"]),
    ("errors", &[]),
    ("conflicts", &[]),
    ("outbox", &["details"]),
    ("metrics", &["all"]),
    ("retry", &["model", "id", "all"]),
    ("edit", &["model", "id", "fields"]),
    ("discard", &["model", "id", "all"]),
    ("online", &["value"]),
    ("time", &[]),
];

/// What ends the session; it is no operation of the store, but has no keys either.
const EXIT: (&str, &[&str]) = ("exit", &[]);

/// Keys that say which records are meant, where `all` says that it is all of them.
const NARROWING: [&str; 3] = ["model", "id", "where"];

/// Finds the op of a command and whether its keys are all known and go together.
pub(super) fn op_of(command: &Json) -> Result<&str, Fault> {
    let members = command.as_object().ok_or("a command is an object with `op`")?;
    let op = members
        .get("op")
        .and_then(Json::as_str)
        .ok_or("a command needs `op`")?;
    let all = || OPS.iter().chain(std::iter::once(&EXIT));
    let Some((_, known)) = all().find(|(name, _)| *name == op) else {
        let names: Vec<&str> = all().map(|(name, _)| *name).collect();
        return Err(format!("there is no op `{op}`; the ops are {}", names.join(" ")));
    };
    let is_odd = |key: &&String| *key != "op" && !known.contains(&key.as_str());
    if let Some(odd) = members.keys().find(is_odd) {
        return Err(match known {
            [] => format!("`{op}` takes no `{odd}`: it has no keys beside `op`"),
            known => format!("`{op}` takes no `{odd}`; its keys are {}", known.join(", ")),
        });
    }
    contradiction(op, members).map_or(Ok(op), Err)
}

/// Two keys of which one makes the other untrue.
fn contradiction(op: &str, members: &Map<String, Json>) -> Option<Fault> {
    let is_given = |key: &str| members.get(key).is_some_and(|value| !value.is_null());
    let is_on = |key: &str| members.get(key) == Some(&Json::Bool(true));
    let (switch, others): (&str, &[&str]) = match op {
        // All records of the model that it names.
        "delete" => ("all", &NARROWING[1..]),
        "retry" | "discard" => ("all", &NARROWING[..2]),
        "waitFor" => ("gone", &["fields"]),
        _ => return None,
    };
    let other = others.iter().find(|other| is_given(other))?;
    is_on(switch).then(|| format!("`{op}` takes `{other}` or `\"{switch}\": true`, not both"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_that_an_op_does_not_know_is_named_with_those_that_it_knows() {
        for (op, known) in OPS.iter().chain([&EXIT]) {
            let mut command = json!({ "op": op });
            assert_eq!(op_of(&command), Ok(*op));
            for key in *known {
                let mut command = command.clone();
                command[*key] = json!(false);
                assert_eq!(op_of(&command), Ok(*op), "{key}");
            }
            command["wher"] = json!(null);
            let fault = op_of(&command).unwrap_err();
            assert!(fault.starts_with(&format!("`{op}` takes no `wher`")), "{fault}");
            assert!(known.iter().all(|key| fault.contains(key)), "{fault}");
        }
        let fault = op_of(&json!({"op": "fly", "model": "Post"})).unwrap_err();
        assert!(
            fault.starts_with("there is no op `fly`; the ops are configure start"),
            "{fault}"
        );
        assert!(op_of(&json!(["op", "time"])).is_err());
        assert!(op_of(&json!({})).is_err());
    }

    #[test]
    fn keys_that_contradict_one_another_are_refused() {
        for (command, other) in [
            (
                json!({"op": "delete", "model": "Post", "id": "p", "all": true}),
                "id",
            ),
            (
                json!({"op": "delete", "model": "Post", "where": [], "all": true}),
                "where",
            ),
            (json!({"op": "retry", "model": "Post", "all": true}), "model"),
            (json!({"op": "discard", "id": "p", "all": true}), "id"),
            (
                json!({"op": "waitFor", "model": "Post", "id": "p", "gone": true, "fields": {}}),
                "fields",
            ),
        ] {
            let fault = op_of(&command).unwrap_err();
            assert!(
                fault.contains(&format!("takes `{other}` or")),
                "{command}: {fault}"
            );
        }
        for command in [
            json!({"op": "delete", "model": "Post", "id": "p", "all": false}),
            json!({"op": "delete", "model": "Post", "id": null, "all": true}),
            json!({"op": "delete", "model": "Post", "id": "p", "where": ["rating", "gt", 1]}),
            json!({"op": "retry", "all": true}),
            json!({"op": "waitFor", "model": "Post", "id": "p", "gone": false, "fields": {}}),
        ] {
            assert!(op_of(&command).is_ok(), "{command}");
        }
    }
}
