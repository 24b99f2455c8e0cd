//! A typed word as the JSON that its field takes.
//!
//! Owns the choice between JSON and text. A quoted word is text. Another is JSON where it is JSON, unless the field
//! takes text: `name=2024` is the text `2024` there.

use landfall::{ModelDef, Schema};
use landfall_core::{FieldDef, FieldType, Scalar};
use serde_json::{Map, Value as Json, json};

use super::super::values::Fault;
use super::split::Word;

/// JSON where the word is JSON, else text.
pub(super) fn value(word: &Word) -> Json {
    word.bare()
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_else(|| word.text().into())
}

/// An operand of a comparison with the field, if that is known: a whole value or an element of a list.
pub(super) fn operand(word: &Word, field: Option<&FieldDef>) -> Json {
    as_type(word, field.map(|field| &field.ty))
}

/// An identifier: text or number by the type of the key field, JSON for a key of several.
pub(super) fn id(word: &Word, def: Option<&ModelDef>) -> Json {
    let field = def.and_then(|def| match def.key.fields.as_slice() {
        [field] => def.field(field),
        _ => None,
    });
    operand(word, field)
}

/// `field=value` pairs; for a relation field the value is the id of the related record.
///
/// # Errors
/// For a word that is no pair.
pub(super) fn fields(pairs: &[Word], def: Option<&ModelDef>, schema: &Schema) -> Result<Json, Fault> {
    let mut fields = Map::new();
    for pair in pairs {
        let (name, word) = pair
            .pair()
            .ok_or_else(|| format!("`{}` is no field=value", pair.text()))?;
        let json = match def.and_then(|def| def.field(name)) {
            Some(field) => match &field.ty {
                FieldType::Model(_) if word.is("null") => Json::Null,
                FieldType::Model(other) => {
                    json!({ "$ref": [other, id(&word, schema.model(other).map(AsRef::as_ref))] })
                }
                _ if field.list.is_some() => value(&word),
                ty => as_type(&word, Some(ty)),
            },
            None => value(&word),
        };
        fields.insert(name.to_owned(), json);
    }
    Ok(fields.into())
}

fn as_type(word: &Word, ty: Option<&FieldType>) -> Json {
    let json = value(word);
    let takes_text = match ty {
        Some(FieldType::Scalar(scalar)) => !matches!(
            scalar,
            Scalar::Int | Scalar::Float | Scalar::Boolean | Scalar::AwsTimestamp | Scalar::AwsJson
        ),
        Some(FieldType::Enum(_)) => true,
        _ => false,
    };
    match json {
        Json::Bool(_) | Json::Number(_) if takes_text => word.text().into(),
        other => other,
    }
}
