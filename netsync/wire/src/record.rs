//! Records out of JSON, by the model that they belong to.
//!
//! Owns [`RecordReader`]: one pass over the JSON of a record into a core `RemoteRecord`, without a tree in between.
//! Does not decide what a record does to the store.
//!
//! | in the JSON | in the record |
//! |---|---|
//! | field left out | missing: unknown, which is not null |
//! | unknown field | ignored |
//! | `AWSJSON` text | the JSON that it says |
//! | whole number in a `Float` field, whole float in an `Int` field | number of the field's kind |
//! | null in a required field, value of another kind, unknown enum value | [`BadRecord`] |
//! | tombstone | identifier and metadata; fields as far as they can be read |
//!
//! Texts with a syntax (`AWSDate` and the like) are taken as they are: the server has checked them, and a stricter
//! client would quarantine what every other client shows.

mod conform;

use std::fmt;
use std::sync::Arc;

use landfall_core::{
    FieldDef, FieldMap, FieldName, ModelDef, RecordId, RecordVersion, RemoteRecord, Schema, SyncMetadata,
    Value,
};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};

use self::conform::{Fault, Path, conform, incomplete};
use crate::error::WireError;
use crate::server_error::shortened;

/// Most bytes of a bad record's JSON that are kept; a record has at most 400 KB, and a page may hold 1,000 bad ones.
pub const BAD_RECORD_JSON_BYTES_MAX: usize = 16 * 1_024;

/// Reads records of one model; cheap to clone.
#[derive(Clone)]
pub struct RecordReader {
    schema: Arc<Schema>,
    def: Arc<ModelDef>,
    columns: Arc<Columns>,
}

/// A record that cannot be read, or that the server did not send whole.
#[derive(Clone, Debug, PartialEq)]
pub struct BadRecord {
    /// Its identifier, if that could be read.
    pub id: Option<RecordId>,
    /// What kind of fault it has.
    pub fault: BadRecordFault,
    /// Where, such as `address.city` or `tags[2]`; empty for the record as a whole.
    pub path: String,
    /// What is wrong there, in words.
    pub reason: String,
    /// Its JSON, cut to [`BAD_RECORD_JSON_BYTES_MAX`]; empty if the server sent null.
    pub json: String,
}

/// What kind of fault a record has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRecordFault {
    /// Something required is null or left out, as when a mutation with a narrow selection reaches a subscriber; the
    /// server may have the whole record.
    Incomplete,
    /// Something is not what the schema says.
    Malformed,
    /// The server sent null in its place.
    Withheld,
}

/// The stored fields in name order, so that a record's map is built in one go.
struct Columns {
    fields: Vec<FieldDef>,
    /// Position in `fields` of each stored field in slot order, which is the order of the selection.
    by_slot: Vec<usize>,
}

impl Columns {
    fn of(def: &ModelDef) -> Self {
        let mut fields: Vec<FieldDef> = def.stored_fields().cloned().collect();
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        let position = |name: &FieldName| fields.binary_search_by(|field| field.name.cmp(name));
        let by_slot = def
            .stored_fields()
            .map(|field| position(&field.name).expect("every stored field is a column"))
            .collect();
        Self { fields, by_slot }
    }

    /// The column of a name; `turn` guesses that fields come in the order of the selection.
    fn find(&self, name: &str, turn: &mut usize) -> Option<usize> {
        if let Some(&column) = self.by_slot.get(*turn)
            && self.fields[column].name == *name
        {
            *turn += 1;
            return Some(column);
        }
        self.fields
            .binary_search_by(|field| field.name.as_str().cmp(name))
            .ok()
    }
}

/// A record as read, before anything is checked.
struct Loose {
    fields: Vec<Option<Value>>,
    version: Value,
    last_changed_at: Value,
    deleted: Value,
}

impl RecordReader {
    /// A reader of that model's records.
    ///
    /// # Errors
    /// [`WireError::UnknownModel`].
    pub fn new(schema: &Arc<Schema>, model: &str) -> Result<Self, WireError> {
        let def = schema
            .model(model)
            .ok_or_else(|| WireError::UnknownModel { model: model.into() })?;
        Ok(Self {
            schema: schema.clone(),
            def: def.clone(),
            columns: Arc::new(Columns::of(def)),
        })
    }

    /// The model.
    pub fn def(&self) -> &Arc<ModelDef> {
        &self.def
    }

    /// Reads a record from JSON text.
    ///
    /// # Errors
    /// The record as far as it could be read, and what is wrong with it.
    pub fn read(&self, json: &str) -> Result<RemoteRecord, Box<BadRecord>> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        self.read_from(&mut deserializer).map_err(|bad| {
            Box::new(BadRecord {
                json: cut(json),
                ..bad
            })
        })
    }

    /// Reads a record from parsed JSON.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn read_json(&self, json: &serde_json::Value) -> Result<RemoteRecord, Box<BadRecord>> {
        self.read_from(json).map_err(|bad| {
            Box::new(BadRecord {
                json: cut(&json.to_string()),
                ..bad
            })
        })
    }

    fn read_from<'de, D: Deserializer<'de>>(&self, deserializer: D) -> Result<RemoteRecord, BadRecord> {
        let loose = deserializer
            .deserialize_map(LooseVisitor {
                columns: &self.columns,
            })
            .map_err(|error| BadRecord {
                id: None,
                fault: BadRecordFault::Malformed,
                path: String::new(),
                reason: shortened(&error.to_string()),
                json: String::new(),
            })?;
        self.check(loose)
    }

    fn check(&self, loose: Loose) -> Result<RemoteRecord, BadRecord> {
        let deleted = loose.deleted == Value::Bool(true);
        let mut fault = None;
        let mut fields = Vec::with_capacity(loose.fields.len());
        for (field, value) in self.columns.fields.iter().zip(loose.fields) {
            let Some(mut value) = value else { continue };
            let checked = match conform(&self.schema, field, &mut value, &Path::Root(&field.name)) {
                // Nobody looks at the fields of a record that is gone.
                Err(_) if deleted => continue,
                checked => checked,
            };
            fault = fault.or(checked.err());
            fields.push((field.name.clone(), value));
        }
        let fields = FieldMap::from_iter(fields);
        let id = RecordId::of_fields(&self.def, &fields);
        let fault = fault.or_else(|| {
            id.is_none()
                .then(|| incomplete(&self.missing_key(&fields), "is required"))
        });
        match (
            fault,
            id,
            metadata(&loose.version, &loose.last_changed_at, deleted),
        ) {
            (None, Some(id), Ok(sync)) => Ok(RemoteRecord { id, fields, sync }),
            (Some(fault), id, _) | (None, id, Err(fault)) => Err(bad(id, fault)),
            (None, None, Ok(_)) => unreachable!("a missing identifier is a fault"),
        }
    }

    fn missing_key(&self, fields: &FieldMap) -> String {
        let missing = self
            .def
            .key
            .fields
            .iter()
            .find(|name| fields.get(*name).is_none_or(Value::is_null));
        missing.map_or_else(String::new, ToString::to_string)
    }
}

impl fmt::Debug for RecordReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordReader({})", self.def.name)
    }
}

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.path.is_empty(), &self.id) {
            (true, None) => write!(f, "a record {}", self.reason),
            (true, Some(id)) => write!(f, "record {id} {}", self.reason),
            (false, None) => write!(f, "`{}` of a record {}", self.path, self.reason),
            (false, Some(id)) => write!(f, "`{}` of record {id} {}", self.path, self.reason),
        }
    }
}

fn bad(id: Option<RecordId>, fault: Fault) -> BadRecord {
    BadRecord {
        id,
        fault: fault.kind,
        path: fault.path,
        reason: fault.reason,
        json: String::new(),
    }
}

/// The text, cut to [`BAD_RECORD_JSON_BYTES_MAX`] between two characters.
fn cut(json: &str) -> String {
    let mut end = json.len().min(BAD_RECORD_JSON_BYTES_MAX);
    while !json.is_char_boundary(end) {
        end -= 1;
    }
    json[..end].to_owned()
}

fn metadata(version: &Value, last_changed_at: &Value, deleted: bool) -> Result<SyncMetadata, Fault> {
    let number = |name: &str, value: &Value| match whole_number(value) {
        Some(number) => Ok(number),
        None if value.is_null() => Err(incomplete(
            name,
            "is required; was the record written past the API?",
        )),
        None => Err(Fault {
            kind: BadRecordFault::Malformed,
            path: name.to_owned(),
            reason: format!("takes a whole number, not {}", value.kind()),
        }),
    };
    let version = u64::try_from(number("_version", version)?).map_err(|_| Fault {
        kind: BadRecordFault::Malformed,
        path: "_version".to_owned(),
        reason: "must not be negative".to_owned(),
    })?;
    let last_changed_at_ms = number("_lastChangedAt", last_changed_at)?;
    Ok(SyncMetadata {
        version: RecordVersion(version),
        last_changed_at_ms,
        deleted,
    })
}

pub(crate) use self::conform::whole_number;

struct LooseVisitor<'a> {
    columns: &'a Columns,
}

enum Member {
    Column(usize),
    Version,
    LastChangedAt,
    Deleted,
    Unknown,
}

impl<'de> Visitor<'de> for LooseVisitor<'_> {
    type Value = Loose;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Loose, A::Error> {
        let mut loose = Loose {
            fields: vec![None; self.columns.fields.len()],
            version: Value::Null,
            last_changed_at: Value::Null,
            deleted: Value::Null,
        };
        let mut turn = 0;
        while let Some(member) = map.next_key_seed(MemberSeed {
            columns: self.columns,
            turn: &mut turn,
        })? {
            match member {
                Member::Column(column) => loose.fields[column] = Some(map.next_value()?),
                Member::Version => loose.version = map.next_value()?,
                Member::LastChangedAt => loose.last_changed_at = map.next_value()?,
                Member::Deleted => loose.deleted = map.next_value()?,
                Member::Unknown => {
                    map.next_value::<serde::de::IgnoredAny>()?;
                }
            }
        }
        Ok(loose)
    }
}

struct MemberSeed<'a> {
    columns: &'a Columns,
    turn: &'a mut usize,
}

impl<'de> DeserializeSeed<'de> for MemberSeed<'_> {
    type Value = Member;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Member, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for MemberSeed<'_> {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Member, E> {
        Ok(match name {
            "_version" => Member::Version,
            "_lastChangedAt" => Member::LastChangedAt,
            "_deleted" => Member::Deleted,
            name => self
                .columns
                .find(name, self.turn)
                .map_or(Member::Unknown, Member::Column),
        })
    }
}

#[cfg(test)]
mod tests;
