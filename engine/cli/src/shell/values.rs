//! JSON of the shell to the values of the store, and back.
//!
//! Owns identifiers, field values, references and predicates in their JSON form. Records are in `values/answer.rs`, numbers in
//! `values/numbers.rs`.

mod answer;
mod numbers;

use landfall::{Direction, FieldName, Op, Predicate, Record, RecordId, Sort, Value};
use landfall_core::{Association, FieldDef, FieldFault, FieldType, IdPart, InvalidRecord, ModelDef, Scalar};
use serde_json::{Map, Value as Json};

pub(crate) use answer::Form;
pub(crate) use numbers::same;

/// What is wrong with a command, in words.
pub(crate) type Fault = String;

/// An identifier: a string, or an object of field to value for a composite one.
pub(crate) fn id(def: &ModelDef, json: &Json) -> Result<RecordId, Fault> {
    let fields = &def.key.fields;
    match (json, fields.as_slice()) {
        (Json::Object(members), _) => {
            if let Some(odd) = members
                .keys()
                .find(|name| fields.iter().all(|field| field.as_str() != *name))
            {
                return Err(format!("`{odd}` is no part of the id of `{}`", def.name));
            }
            fields
                .iter()
                .map(|field| {
                    let json = members.get(field.as_str());
                    id_part(
                        def,
                        field,
                        json.ok_or_else(|| format!("the id of `{}` needs `{field}`", def.name))?,
                    )
                })
                .collect::<Result<_, _>>()
                .map(RecordId::new)
        }
        (scalar, [field]) => Ok(RecordId::new(vec![id_part(def, field, scalar)?])),
        (_, fields) => {
            let names: Vec<&str> = fields.iter().map(FieldName::as_str).collect();
            Err(format!(
                "the id of `{}` is an object with {}",
                def.name,
                names.join(", ")
            ))
        }
    }
}

/// The whole number, if it is spelled with a point or an exponent.
fn whole(json: &Json) -> Option<i64> {
    json.as_f64()
        .filter(|_| json.is_f64())
        .and_then(numbers::integral)
}

/// One part of an identifier, which has to fit its field: another could never be found. An `ID` takes whole numbers for
/// their text, as GraphQL does.
fn id_part(def: &ModelDef, field: &FieldName, json: &Json) -> Result<IdPart, Fault> {
    let scalar = match def.field(field).map(|field| &field.ty) {
        Some(FieldType::Scalar(scalar)) => *scalar,
        _ => Scalar::String,
    };
    let value = match (scalar, json) {
        (Scalar::Id, Json::Number(number)) => match (number.is_f64(), whole(json)) {
            (false, _) => number.to_string().into(),
            (true, Some(integer)) => integer.to_string().into(),
            (true, None) => Value::from(json),
        },
        (Scalar::Int | Scalar::AwsTimestamp, Json::Number(_)) => {
            whole(json).map_or_else(|| json.into(), Value::Int)
        }
        (Scalar::Float, Json::Number(number)) => number.as_f64().map_or(Value::Null, Value::Float),
        _ => Value::from(json),
    };
    let wrong = |accepts| {
        format!(
            "`{field}` of the id takes {accepts}, not {} ({value})",
            value.kind()
        )
    };
    scalar.check(&value).map_err(wrong)?;
    IdPart::from_value(&value).ok_or_else(|| format!("`{field}` of the id must be a scalar"))
}

/// An identifier as JSON: a scalar if it has one part, else an object by the model's key.
pub(crate) fn id_json(def: &ModelDef, id: &RecordId) -> Json {
    match id.parts() {
        [part] => Json::from(&part.to_value()),
        parts => {
            let members = def.key.fields.iter().zip(parts);
            Json::Object(
                members
                    .map(|(f, part)| (f.to_string(), Json::from(&part.to_value())))
                    .collect(),
            )
        }
    }
}

/// An identifier as JSON where the model is not at hand: a scalar, or a list of parts.
pub(crate) fn id_json_of(id: &RecordId) -> Json {
    id.to_json()
}

/// Sets fields of a record from JSON; relation fields take `{"$ref": [model, id]}` or null.
pub(crate) fn set_fields(
    record: &mut Record,
    fields: &Map<String, Json>,
    schema: &landfall::Schema,
) -> Result<(), Fault> {
    let def = std::sync::Arc::clone(record.def());
    for (name, json) in fields {
        let field = def.field(name).ok_or_else(|| {
            let known: Vec<&str> = def.fields.keys().map(FieldName::as_str).collect();
            format!(
                "`{}` has no field `{name}`; it has {}",
                def.name,
                known.join(", ")
            )
        })?;
        if field.read_only && !json.is_null() {
            return Err(not_saved(
                &def,
                name,
                "is read-only: the server writes it; leave it out".to_owned(),
            ));
        }
        if field.is_stored() {
            let mut value = value(field, json).map_err(|message| not_saved(&def, name, message))?;
            numbers::spell(schema, &field.ty, &mut value);
            record.set(name, value);
        } else {
            set_reference(record, field, json, schema)?;
        }
    }
    Ok(())
}

/// A fault of one field, in the words of the store.
fn not_saved(def: &ModelDef, field: &str, message: String) -> Fault {
    let fault = FieldFault {
        path: field.to_owned(),
        message,
    };
    let record = InvalidRecord {
        model: def.name.clone(),
        faults: vec![fault],
    };
    record.to_string()
}

/// `AWSJSON` given as text is taken for what the text says, as the originals do, and is refused if it says nothing. The
/// text of a string or a number stays a text: JSON as well, and what people mean who type it.
fn value(field: &FieldDef, json: &Json) -> Result<Value, String> {
    match (&field.ty, json) {
        (FieldType::Scalar(Scalar::AwsJson), Json::String(text)) => {
            match serde_json::from_str::<Json>(text) {
                Ok(parsed) if parsed.is_object() || parsed.is_array() => Ok(parsed.into()),
                Ok(_) => Ok(json.into()),
                Err(error) => Err(format!("takes text that is JSON: {error}")),
            }
        }
        (FieldType::Scalar(Scalar::AwsJson), Json::Array(items)) if field.list.is_some() => {
            let element = FieldDef {
                list: None,
                ..field.clone()
            };
            let items = items.iter().map(|item| value(&element, item));
            Ok(Value::List(items.collect::<Result<_, _>>()?))
        }
        _ => Ok(json.into()),
    }
}

fn set_reference(
    record: &mut Record,
    field: &FieldDef,
    json: &Json,
    schema: &landfall::Schema,
) -> Result<(), Fault> {
    let targets = field
        .association
        .as_ref()
        .map(Association::targets)
        .unwrap_or_default();
    if targets.is_empty() {
        return Err(format!(
            "`{}` is set from the other side of the relation",
            field.name
        ));
    }
    let parts: Vec<Value> = match json {
        Json::Null => vec![Value::Null; targets.len()],
        _ => {
            let Some([Json::String(model), id_json]) =
                json.get("$ref").and_then(Json::as_array).map(Vec::as_slice)
            else {
                return Err(format!("`{}` takes {{\"$ref\":[Model,id]}} or null", field.name));
            };
            let FieldType::Model(expected) = &field.ty else {
                return Err("no relation".to_owned());
            };
            if model != expected.as_str() {
                return Err(format!(
                    "`{}` refers to `{expected}`, not to `{model}`",
                    field.name
                ));
            }
            let other = schema
                .model(model)
                .ok_or_else(|| format!("there is no model `{model}`"))?;
            id(other, id_json)?.parts().iter().map(IdPart::to_value).collect()
        }
    };
    for (target, value) in targets.iter().zip(parts) {
        record.set(target, value);
    }
    Ok(())
}

/// The operators of comparisons.
const OPERATORS: [&str; 11] = [
    "eq",
    "ne",
    "le",
    "lt",
    "ge",
    "gt",
    "between",
    "beginsWith",
    "contains",
    "notContains",
    "in",
];

/// A predicate: `[field, op, operand...]`, where the field may be one of a related record such as `blog.name`,
/// `{"and": [...]}`, `{"or": [...]}`, `{"not": p}`; null selects all.
pub(crate) fn predicate(json: &Json) -> Result<Predicate, Fault> {
    let group = |members: &Json| -> Result<Vec<Predicate>, Fault> {
        let members = members
            .as_array()
            .ok_or("`and` and `or` take a list of predicates")?;
        members.iter().map(predicate).collect()
    };
    match json {
        Json::Null => Ok(Predicate::All),
        Json::Array(parts) => {
            let [Json::String(field), Json::String(op), operands @ ..] = parts.as_slice() else {
                return Err("a comparison is [field, operator, operand...]".to_owned());
            };
            let values: Vec<Value> = operands.iter().map(Value::from).collect();
            let op = Op::from_name(op, values).ok_or_else(|| {
                let hint = match op.as_str() {
                    "=" | "==" => "; write `eq`",
                    "!=" | "<>" => "; write `ne`",
                    "<" => "; write `lt`",
                    "<=" => "; write `le`",
                    ">" => "; write `gt`",
                    ">=" => "; write `ge`",
                    _ => "",
                };
                let known = OPERATORS.join(" ");
                if OPERATORS.contains(&op.as_str()) {
                    format!(
                        "`{op}` with {} operands is no comparison; the operators are {known}",
                        operands.len()
                    )
                } else {
                    format!("`{op}` is no operator{hint}; there are {known}")
                }
            })?;
            // `blog.name` is a field of the record at the other end of the relation `blog`.
            let mut names = field.rsplit('.');
            let own = Predicate::field(names.next().unwrap_or_default(), op);
            Ok(names.fold(own, |other, relation| Predicate::related(relation, other)))
        }
        Json::Object(members) if members.len() > 1 => {
            let keys: Vec<String> = members.keys().map(|key| format!("`{key}`")).collect();
            Err(format!(
                "a group of a predicate has one key, `and`, `or` or `not`, and not {} at once; put one group into the other",
                keys.join(" and ")
            ))
        }
        Json::Object(members) => match members.iter().next() {
            Some((key, members)) if key == "and" => group(members).map(Predicate::And),
            Some((key, members)) if key == "or" => group(members).map(Predicate::Or),
            Some((key, member)) if key == "not" => Ok(Predicate::Not(Box::new(predicate(member)?))),
            _ => Err("a group is {\"and\": [...]}, {\"or\": [...]} or {\"not\": p}".to_owned()),
        },
        other => Err(format!("{other} is no predicate")),
    }
}

/// Sort keys: a list of `[field, "ASCENDING" | "DESCENDING"]`.
pub(crate) fn sort(json: &Json) -> Result<Vec<Sort>, Fault> {
    let keys = match json {
        Json::Null => return Ok(Vec::new()),
        Json::Array(keys) => keys,
        _ => return Err("`sort` is a list of [field, direction]".to_owned()),
    };
    keys.iter()
        .map(|key| {
            let (field, direction) = match key.as_array().map(Vec::as_slice) {
                Some([Json::String(field), Json::String(direction)]) => (field, direction.as_str()),
                _ => return Err("a sort key is [field, \"ASCENDING\" or \"DESCENDING\"]".to_owned()),
            };
            let direction = match direction {
                "ASCENDING" => Direction::Ascending,
                "DESCENDING" => Direction::Descending,
                other => return Err(format!("`{other}` is no direction; use ASCENDING or DESCENDING")),
            };
            Ok(Sort {
                field: field.as_str().into(),
                direction,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_server_writes_cannot_be_set_and_text_for_json_is_json() {
        let sdl = "type Note @model { meta: AWSJSON more: [AWSJSON] }";
        let schema = landfall_codegen::parse_sdl("schema.graphql", sdl).unwrap();
        let set = |fields: Json| {
            let mut record = Record::new(std::sync::Arc::clone(schema.model("Note").unwrap()), Vec::new());
            set_fields(&mut record, fields.as_object().unwrap(), &schema).map(|()| record)
        };
        for (fields, expected) in [
            (
                json!({"createdAt": "2026-01-31T10:00:00Z"}),
                "`Note` cannot be saved: `createdAt` is read-only",
            ),
            (
                json!({"meta": "{bad"}),
                "`Note` cannot be saved: `meta` takes text that is JSON: key must be a string",
            ),
            (
                json!({"more": ["{}", "no"]}),
                "`Note` cannot be saved: `more` takes text that is JSON",
            ),
        ] {
            let fault = set(fields.clone()).unwrap_err();
            assert!(fault.starts_with(expected), "{fields}: {fault}");
        }
        assert!(
            set(json!({"createdAt": null})).is_ok(),
            "as a record answers with it"
        );
        for (given, held) in [
            (json!("{\"a\": [1]}"), json!({"a": [1]})),
            (json!({"a": 1}), json!({"a": 1})),
            (json!("\"text\""), json!("\"text\"")),
            (json!("42"), json!("42")),
            (json!(null), json!(null)),
        ] {
            let record = set(json!({ "meta": given })).unwrap();
            assert_eq!(Json::from(record.get("meta").unwrap()), held, "{given}");
        }
        let record = set(json!({"more": ["{}", [1], null]})).unwrap();
        assert_eq!(Json::from(record.get("more").unwrap()), json!([{}, [1], null]));
    }

    #[test]
    fn a_group_with_further_keys_is_refused_and_not_half_believed() {
        let rating = json!([["rating", "gt", 1]]);
        for (json, odd) in [
            (json!({"and": rating, "or": rating}), "`and` and `or`"),
            (json!({"and": rating, "nto": rating}), "`and` and `nto`"),
            (json!({"not": {"or": rating, "and": rating}}), "`or` and `and`"),
        ] {
            let fault = predicate(&json).unwrap_err();
            assert!(fault.contains(odd), "{json}: {fault}");
        }
        assert!(predicate(&json!({"and": [{"or": rating}, {"not": rating[0]}]})).is_ok());
    }

    #[test]
    fn an_operator_that_is_none_is_told_from_one_with_too_many_operands() {
        for (json, said) in [
            (
                json!(["rating", "zz", 1]),
                "`zz` is no operator; there are eq ne le",
            ),
            (
                json!(["rating", ">", 1]),
                "`>` is no operator; write `gt`; there are",
            ),
            (
                json!(["rating", "between", 1]),
                "`between` with 1 operands is no comparison",
            ),
        ] {
            let fault = predicate(&json).unwrap_err();
            assert!(fault.starts_with(said), "{json}: {fault}");
        }
    }

    #[test]
    fn an_id_that_no_record_can_have_is_refused() {
        let sdl = "type Note @model { text: String }
                   type Seat @model { number: Int! @primaryKey }
                   type Visit @model { day: AWSDate! @primaryKey(sortKeyFields: [\"place\"]) place: String! }";
        let schema = landfall_codegen::parse_sdl("schema.graphql", sdl).unwrap();
        let of = |model: &str, json: &Json| id(schema.model(model).unwrap(), json);
        assert_eq!(of("Note", &json!("n1")), Ok(RecordId::text("n1")));
        assert_eq!(of("Note", &json!(42)), Ok(RecordId::text("42")));
        assert_eq!(of("Note", &json!(42.0)), Ok(RecordId::text("42")));
        assert_eq!(
            of("Seat", &json!(42.0)),
            Ok(RecordId::new(vec![IdPart::Int(42)])),
            "one number, however it is spelled"
        );
        assert_eq!(of("Note", &json!({"id": "n1"})), Ok(RecordId::text("n1")));
        assert_eq!(of("Seat", &json!(42)), Ok(RecordId::new(vec![IdPart::Int(42)])));
        for (model, json, expected) in [
            ("Note", json!(true), "takes a string, not a boolean (true)"),
            ("Note", json!(4.5), "takes a string"),
            ("Note", json!(null), "takes a string"),
            ("Note", json!(["n1"]), "takes a string"),
            (
                "Note",
                json!({"id": "n1", "text": "x"}),
                "`text` is no part of the id",
            ),
            ("Seat", json!("42"), "takes an integer"),
            ("Seat", json!(4.5), "takes an integer"),
            ("Visit", json!("x"), "an object with day, place"),
            ("Visit", json!({"day": "2026-01-31"}), "needs `place`"),
            ("Visit", json!({"day": "soon", "place": "x"}), "takes a date"),
            (
                "Visit",
                json!({"day": "2026-01-31", "place": 5}),
                "takes a string",
            ),
        ] {
            let fault = of(model, &json).unwrap_err();
            assert!(fault.contains(expected), "{model} {json}: {fault}");
        }
    }
}
