//! What people type, as JSON commands.
//!
//! Owns the grammar of the interactive shell: words, quoted texts and `field=value` pairs. Everything typed ends as
//! the same JSON that the line protocol takes.

use serde_json::{Map, Value as Json, json};

use super::values::Fault;

/// What can be typed, for `help`.
pub(crate) const HELP: &str = "\
  save MODEL field=value ...                     make a record
  update MODEL ID field=value ...                change a record
  get MODEL ID                                   show a record
  query MODEL [where COND] [sort FIELD [desc]] [limit N] [page N]
  count MODEL [where COND]
  explain MODEL [where COND] [sort FIELD]        how a query finds its records
  delete MODEL ID | delete MODEL where COND | delete MODEL all
  observe MODEL, observed                        keep changes from here on; show them
  start, stop, clear yes                         sync; end syncing; remove all local data
  online on|off                                  plug the network in or out
  outbox, hub, errors, conflicts                 what waits; what happened
  exit
COND is FIELD OP VALUE, several joined by `and`; OP is eq ne lt le gt ge between beginsWith contains notContains in.
FIELD may be one of a related record, such as blog.name.
Values are JSON where they can be (5, true, null, [\"a\"], {\"lat\":1}), else text; quote texts with spaces.
A related record is set by its id: save Comment content=hi post=POST_ID
A line that begins with { is taken as a JSON command of the line protocol.";

/// Commands of one word.
const SINGLE: [&str; 11] = [
    "start",
    "stop",
    "clear",
    "observed",
    "snapshots",
    "outbox",
    "hub",
    "errors",
    "conflicts",
    "time",
    "exit",
];

/// Turns a typed line into a command; `None` for an empty line.
///
/// # Errors
/// What cannot be understood, and what could be typed.
pub(crate) fn command(line: &str, schema: &landfall::Schema) -> Result<Option<Json>, Fault> {
    let line = line.trim();
    if line.is_empty() {
        return Ok(None);
    }
    if line.starts_with('{') {
        return serde_json::from_str(line)
            .map(Some)
            .map_err(|error| format!("no JSON: {error}"));
    }
    let words = split(line)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (op, rest) = words.split_first().ok_or("type a command, or `help`")?;
    let command = match *op {
        "save" => {
            let (model, pairs) = rest
                .split_first()
                .ok_or("save what? save MODEL field=value ...")?;
            json!({ "op": "save", "model": model, "fields": fields(model, pairs, schema)? })
        }
        "update" => match rest {
            [model, id, pairs @ ..] if !pairs.is_empty() => {
                let fields = fields(model, pairs, schema)?;
                json!({ "op": "update", "model": model, "id": value(id), "fields": fields })
            }
            _ => return Err("update what? update MODEL ID field=value ...".to_owned()),
        },
        "get" => match rest {
            [model, id] => json!({ "op": "get", "model": model, "id": value(id) }),
            _ => return Err("get what? get MODEL ID".to_owned()),
        },
        "delete" => match rest {
            [model, "all"] => json!({ "op": "delete", "model": model, "all": true }),
            [model, "where", condition @ ..] => {
                json!({ "op": "delete", "model": model, "where": predicate(condition)? })
            }
            [model, id] => json!({ "op": "delete", "model": model, "id": value(id) }),
            _ => {
                return Err(
                    "delete what? delete MODEL ID, delete MODEL where COND or delete MODEL all".to_owned(),
                );
            }
        },
        "query" | "count" | "explain" => clauses(op, rest)?,
        "observe" => match rest {
            [model] => json!({ "op": "observe", "model": model }),
            _ => return Err("observe what? observe MODEL".to_owned()),
        },
        "online" => match rest {
            ["on"] => json!({ "op": "online", "value": true }),
            ["off"] => json!({ "op": "online", "value": false }),
            _ => return Err("online on, or online off".to_owned()),
        },
        "quit" => json!({ "op": "exit" }),
        other if SINGLE.contains(&other) => json!({ "op": other }),
        other => return Err(format!("there is no command `{other}`; type `help`")),
    };
    Ok(Some(command))
}

fn clauses(op: &str, words: &[&str]) -> Result<Json, Fault> {
    let (model, mut rest) = words
        .split_first()
        .ok_or_else(|| format!("{op} what? {op} MODEL"))?;
    let mut command = json!({ "op": op, "model": model });
    while let Some((clause, after)) = rest.split_first() {
        let end = after
            .iter()
            .position(|w| matches!(*w, "where" | "sort" | "limit" | "page"))
            .unwrap_or(after.len());
        let (operands, next) = after.split_at(end);
        match (*clause, operands) {
            ("where", condition) => command["where"] = predicate(condition)?,
            ("sort", [field]) => command["sort"] = json!([[field, "ASCENDING"]]),
            ("sort", [field, "asc"]) => command["sort"] = json!([[field, "ASCENDING"]]),
            ("sort", [field, "desc"]) => command["sort"] = json!([[field, "DESCENDING"]]),
            ("limit" | "page", [number]) => command[*clause] = value(number),
            (other, _) => {
                return Err(format!(
                    "`{other}` is not understood here; a query takes where, sort, limit and page"
                ));
            }
        }
        rest = next;
    }
    Ok(command)
}

/// A condition by itself: comparisons joined by `and`, or JSON.
pub(super) fn condition(text: &str) -> Result<Json, Fault> {
    let text = text.trim();
    if text.starts_with(['[', '{']) {
        return serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"));
    }
    let words = split(text)?;
    predicate(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Comparisons joined by `and`.
fn predicate(words: &[&str]) -> Result<Json, Fault> {
    let mut comparisons = Vec::new();
    for comparison in words.split(|word| *word == "and") {
        match comparison {
            [field, op, operands @ ..] if !operands.is_empty() => {
                let mut parts = vec![Json::from(*field), Json::from(*op)];
                parts.extend(operands.iter().map(|operand| value(operand)));
                comparisons.push(Json::Array(parts));
            }
            _ => return Err("a condition is FIELD OP VALUE, such as: rating gt 3".to_owned()),
        }
    }
    Ok(match comparisons.len() {
        1 => comparisons.remove(0),
        _ => json!({ "and": comparisons }),
    })
}

/// `field=value` pairs; for a relation field the value is the id of the related record.
fn fields(model: &str, pairs: &[&str], schema: &landfall::Schema) -> Result<Json, Fault> {
    let mut fields = Map::new();
    for pair in pairs {
        let (name, text) = pair
            .split_once('=')
            .ok_or_else(|| format!("`{pair}` is no field=value"))?;
        let relation = schema
            .model(model)
            .and_then(|def| def.field(name))
            .and_then(|field| match &field.ty {
                landfall_core::FieldType::Model(other) => Some(other),
                _ => None,
            });
        let json = match (relation, value(text)) {
            (Some(_), Json::Null) => Json::Null,
            (Some(other), id) => json!({ "$ref": [other, id] }),
            (None, json) => json,
        };
        fields.insert(name.to_owned(), json);
    }
    Ok(fields.into())
}

/// JSON where the word is JSON, else text.
fn value(word: &str) -> Json {
    serde_json::from_str(word).unwrap_or_else(|_| word.into())
}

/// Splits a line into words; quotes keep spaces, and JSON in braces or brackets is one word.
fn split(line: &str) -> Result<Vec<String>, Fault> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut depth = 0_usize;
    let mut chars = line.chars();
    let mut began = false;
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                began = true;
                // Inside brackets the quotes are part of the JSON; outside they only hold the word together.
                let keep = depth > 0;
                if keep {
                    word.push('"');
                }
                let text = quoted(&mut chars)?;
                word.push_str(&text);
                if keep {
                    word.push('"');
                }
            }
            c if c.is_whitespace() && depth == 0 => {
                if began {
                    words.push(std::mem::take(&mut word));
                    began = false;
                }
            }
            c => {
                depth = match c {
                    '{' | '[' => depth + 1,
                    '}' | ']' => depth.saturating_sub(1),
                    _ => depth,
                };
                began = true;
                word.push(c);
            }
        }
    }
    if began {
        words.push(word);
    }
    Ok(words)
}

fn quoted(chars: &mut std::str::Chars<'_>) -> Result<String, Fault> {
    let mut text = String::new();
    loop {
        match chars.next() {
            Some('"') => return Ok(text),
            Some('\\') => text.extend(chars.next()),
            Some(c) => text.push(c),
            None => return Err("a quote is not closed".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> landfall::Schema {
        let sdl = "type Blog @model { name: String! posts: [Post] @hasMany }
                   type Post @model { title: String! rating: Int tags: [String] blog: Blog @belongsTo }";
        landfall_codegen::parse_sdl("schema.graphql", sdl).expect("sound")
    }

    fn check(line: &str, expected: &Json) {
        assert_eq!(
            command(line, &schema()).expect("understood").expect("a command"),
            *expected,
            "{line}"
        );
    }

    #[test]
    fn typed_lines_become_commands() {
        check(
            r#"save Post title="Hello there" rating=5 tags=["a","b c"]"#,
            &json!({"op":"save","model":"Post","fields":{"title":"Hello there","rating":5,"tags":["a","b c"]}}),
        );
        check(
            "save Post title=x blog=b1",
            &json!({"op":"save","model":"Post","fields":{"title":"x","blog":{"$ref":["Blog","b1"]}}}),
        );
        check(
            "query Post where rating gt 3 and title beginsWith He sort rating desc limit 10",
            &json!({"op":"query","model":"Post",
                "where":{"and":[["rating","gt",3],["title","beginsWith","He"]]},
                "sort":[["rating","DESCENDING"]],"limit":10}),
        );
        check(
            "delete Post all",
            &json!({"op":"delete","model":"Post","all":true}),
        );
        check("online off", &json!({"op":"online","value":false}));
        check(r#"{"op":"time"}"#, &json!({"op":"time"}));
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for line in [
            "save",
            "update Post 1",
            "query Post where rating",
            "query Post upside",
            r#"get Post "x"#,
        ] {
            assert!(command(line, &schema()).is_err(), "{line}");
        }
        assert_eq!(command("   ", &schema()), Ok(None));
    }
}
