//! Records: one instance of a model, its identifier and the server's metadata about it.
//!
//! Owns [`Record`], [`RecordId`], [`RecordKey`] and [`SyncMetadata`]. Does not store or validate.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};

use crate::names::{FieldName, ModelName};
use crate::schema::ModelDef;
use crate::value::Value;

/// Field values by name; a field that is not in the map is unknown or unchanged, which is not the same as null.
pub type FieldMap = BTreeMap<FieldName, Value>;

/// One part of an identifier, ordered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(untagged)]
pub enum IdPart {
    /// `Boolean` key field.
    Bool(bool),
    /// `Int` or `AWSTimestamp` key field.
    Int(i64),
    /// Any textual key field; floats are kept as their shortest text.
    Text(String),
}

/// Identifier of a record within its model: the values of the primary-key fields, in key order.
///
/// ```
/// use landfall_core::{IdPart, RecordId};
///
/// let post = RecordId::from("p1");
/// assert_eq!(post, RecordId::text("p1"));
/// let berth = RecordId::new(vec![IdPart::Text("north".into()), IdPart::Int(7)]);
/// assert_eq!(berth.to_string(), "north#7");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordId(Vec<IdPart>);

/// Identifier of a record across models.
///
/// ```
/// use landfall_core::RecordKey;
///
/// let key = RecordKey::new("Post", "p1");
/// assert_eq!((key.model.as_str(), key.to_string().as_str()), ("Post", "Post/p1"));
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecordKey {
    /// The model.
    pub model: ModelName,
    /// The identifier within the model.
    pub id: RecordId,
}

/// Version of a record on the server: 1 on create, one more with each accepted write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordVersion(pub u64);

/// What the server says about a record beside its fields (`_version`, `_lastChangedAt`, `_deleted`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncMetadata {
    /// `_version`.
    pub version: RecordVersion,
    /// `_lastChangedAt`, milliseconds since 1970 by the server's clock.
    pub last_changed_at_ms: i64,
    /// `_deleted`: the record is a tombstone.
    pub deleted: bool,
}

/// A record as the server sent it; fields that the selection left out are missing from `fields`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemoteRecord {
    /// Its identifier.
    pub id: RecordId,
    /// Its stored fields as far as the server sent them.
    pub fields: FieldMap,
    /// The server's metadata.
    pub sync: SyncMetadata,
}

/// The encoded row from which a record was read; lets a later save tell what the caller changed.
///
/// Opaque outside `landfall-storage`. Two bases compare equal always, so that they do not take part in equality of
/// the models that carry them.
#[derive(Clone, Default)]
pub struct Base(Option<SharedRow>);

/// A row within bytes that others may hold as well.
#[derive(Clone)]
struct SharedRow {
    bytes: Arc<[u8]>,
    place: Range<usize>,
}

/// One instance of a model, with its values in slot order.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let json = serde_json::json!({ "version": 1, "models": { "Post": { "name": "Post", "pluralName": "Posts", "fields": {
/// #     "id": { "name": "id", "type": "ID", "isRequired": true },
/// #     "title": { "name": "title", "type": "String", "isRequired": true },
/// #     "rating": { "name": "rating", "type": "Int", "isRequired": false },
/// # } } } });
/// # let schema = landfall_core::schema_from_json(&json).map_err(|faults| format!("{faults:?}"))?;
/// use landfall_core::Record;
///
/// let post = schema.model("Post").ok_or("the schema has it")?;
/// let mut record = Record::new(post.clone(), vec!["p1".into()]);
/// assert!(record.set("title", "Reef".into()));
/// assert!(!record.set("colour", "red".into()), "it has no such field");
/// assert_eq!(record.get("title"), Some(&"Reef".into()));
/// assert_eq!(record.id(), Some("p1".into()));
/// assert!(record.sync().is_none(), "no server knows it");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Record {
    def: Arc<ModelDef>,
    values: Vec<Value>,
    sync: Option<SyncMetadata>,
    base: Base,
}

/// Written by hand because the derived one tries variant by variant and words an error for each that does not fit, which
/// took longer than reading the rest of a log entry.
impl<'de> Deserialize<'de> for IdPart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IdPartVisitor)
    }
}

struct IdPartVisitor;

impl Visitor<'_> for IdPartVisitor {
    type Value = IdPart;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a boolean, an integer of 64 bits or a text")
    }

    fn visit_bool<E>(self, truth: bool) -> Result<IdPart, E> {
        Ok(IdPart::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<IdPart, E> {
        Ok(IdPart::Int(number))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<IdPart, E> {
        i64::try_from(number).map(IdPart::Int).map_err(E::custom)
    }

    fn visit_str<E>(self, text: &str) -> Result<IdPart, E> {
        Ok(IdPart::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<IdPart, E> {
        Ok(IdPart::Text(text))
    }
}

impl IdPart {
    /// The part as a field value.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Bool(b) => Value::Bool(*b),
            Self::Int(n) => Value::Int(*n),
            Self::Text(text) => Value::String(text.clone()),
        }
    }

    /// The part of a key field's value; `None` for null, lists and objects.
    pub fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(b) => Some(Self::Bool(*b)),
            Value::Int(n) => Some(Self::Int(*n)),
            Value::Float(x) => Some(Self::Text(x.to_string())),
            Value::String(text) => Some(Self::Text(text.clone())),
            Value::Null | Value::List(_) | Value::Object(_) => None,
        }
    }
}

impl RecordId {
    /// As JSON for tools and events: a scalar, or a list if it has several parts.
    pub fn to_json(&self) -> serde_json::Value {
        match self.parts() {
            [part] => (&part.to_value()).into(),
            parts => parts
                .iter()
                .map(|part| serde_json::Value::from(&part.to_value()))
                .collect(),
        }
    }

    /// An identifier of one textual part, such as a UUID.
    pub fn text(id: impl Into<String>) -> Self {
        Self(vec![IdPart::Text(id.into())])
    }

    /// An identifier of the given parts, in key order.
    pub fn new(parts: Vec<IdPart>) -> Self {
        Self(parts)
    }

    /// The parts, in key order.
    pub fn parts(&self) -> &[IdPart] {
        &self.0
    }

    /// Reads the key fields out of values in slot order; `None` if one of them is missing.
    pub fn of_values(def: &ModelDef, values: &[Value]) -> Option<Self> {
        def.key_slots()
            .iter()
            .map(|slot| values.get(slot.index()).and_then(IdPart::from_value))
            .collect::<Option<Vec<_>>>()
            .map(Self)
    }

    /// Reads the key fields out of a field map; `None` if one of them is missing.
    pub fn of_fields(def: &ModelDef, fields: &FieldMap) -> Option<Self> {
        def.key
            .fields
            .iter()
            .map(|field| fields.get(field).and_then(IdPart::from_value))
            .collect::<Option<Vec<_>>>()
            .map(Self)
    }

    /// The key fields with their values, as the server's inputs want them.
    pub fn to_fields(&self, def: &ModelDef) -> FieldMap {
        def.key
            .fields
            .iter()
            .cloned()
            .zip(self.0.iter().map(IdPart::to_value))
            .collect()
    }
}

impl From<&str> for RecordId {
    fn from(id: &str) -> Self {
        Self::text(id)
    }
}

impl From<String> for RecordId {
    fn from(id: String) -> Self {
        Self::text(id)
    }
}

impl fmt::Display for RecordId {
    /// Writes the parts joined by `#`, for people; not meant to be parsed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("#")?;
            }
            match part {
                IdPart::Bool(b) => write!(f, "{b}")?,
                IdPart::Int(n) => write!(f, "{n}")?,
                IdPart::Text(text) => f.write_str(text)?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.model, self.id)
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl RecordKey {
    /// The key of a record.
    pub fn new(model: impl Into<ModelName>, id: impl Into<RecordId>) -> Self {
        Self {
            model: model.into(),
            id: id.into(),
        }
    }
}

impl fmt::Display for RecordVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

impl Base {
    /// No base: the record was made by the app, not read from the store.
    pub const NONE: Self = Self(None);

    /// Wraps an encoded row.
    pub fn of_row(row: Arc<[u8]>) -> Self {
        let place = 0..row.len();
        Self::within(row, place)
    }

    /// The same for a row inside of bytes that are in memory anyway, so that it need not be copied.
    ///
    /// # Panics
    /// If the place is not within the bytes: our own bug, since whoever found the row there knows where it is.
    pub fn within(bytes: Arc<[u8]>, place: Range<usize>) -> Self {
        assert!(
            place.start <= place.end && place.end <= bytes.len(),
            "a row lies within its bytes"
        );
        Self(Some(SharedRow { bytes, place }))
    }

    /// The encoded row, if the record was read from the store.
    pub fn row(&self) -> Option<&[u8]> {
        self.0.as_ref().map(|row| &row.bytes[row.place.clone()])
    }
}

impl PartialEq for Base {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Base(row)"
        } else {
            "Base(none)"
        })
    }
}

impl Record {
    /// A record of the given values in slot order; missing values at the end are null.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let json = serde_json::json!({ "version": 1, "models": { "Post": { "name": "Post", "pluralName": "Posts", "fields": {
    /// #     "id": { "name": "id", "type": "ID", "isRequired": true },
    /// #     "title": { "name": "title", "type": "String", "isRequired": true },
    /// #     "rating": { "name": "rating", "type": "Int", "isRequired": false },
    /// # } } } });
    /// # let schema = landfall_core::schema_from_json(&json).map_err(|faults| format!("{faults:?}"))?;
    /// let post = schema.model("Post").ok_or("the schema has it")?;
    /// let record = landfall_core::Record::new(post.clone(), vec!["p1".into(), "Reef".into()]);
    /// assert_eq!(record.get("rating"), Some(&landfall_core::Value::Null));
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// If there are more values than the model has stored fields: our own bug, since callers take both from one schema.
    pub fn new(def: Arc<ModelDef>, mut values: Vec<Value>) -> Self {
        assert!(
            values.len() <= def.stored_len(),
            "more values than `{}` has stored fields",
            def.name
        );
        values.resize(def.stored_len(), Value::Null);
        Self {
            def,
            values,
            sync: None,
            base: Base::NONE,
        }
    }

    /// A record of named values; names that the model does not store are ignored.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let json = serde_json::json!({ "version": 1, "models": { "Post": { "name": "Post", "pluralName": "Posts", "fields": {
    /// #     "id": { "name": "id", "type": "ID", "isRequired": true },
    /// #     "title": { "name": "title", "type": "String", "isRequired": true },
    /// #     "rating": { "name": "rating", "type": "Int", "isRequired": false },
    /// # } } } });
    /// # let schema = landfall_core::schema_from_json(&json).map_err(|faults| format!("{faults:?}"))?;
    /// use landfall_core::{FieldMap, Record};
    ///
    /// let post = schema.model("Post").ok_or("the schema has it")?;
    /// let fields = FieldMap::from([("id".into(), "p1".into()), ("title".into(), "Reef".into())]);
    /// assert_eq!(Record::from_fields(post.clone(), &fields).get("title"), Some(&"Reef".into()));
    /// # Ok(()) }
    /// ```
    pub fn from_fields(def: Arc<ModelDef>, fields: &FieldMap) -> Self {
        let values = def
            .stored_fields()
            .map(|f| fields.get(&f.name).cloned().unwrap_or_default())
            .collect();
        Self {
            def,
            values,
            sync: None,
            base: Base::NONE,
        }
    }

    /// The same record with the server's metadata.
    #[must_use]
    pub fn with_sync(mut self, sync: Option<SyncMetadata>) -> Self {
        self.sync = sync;
        self
    }

    /// The same record, known to have been read from that row.
    #[must_use]
    pub fn with_base(mut self, base: Base) -> Self {
        self.base = base;
        self
    }

    /// The model.
    pub fn def(&self) -> &Arc<ModelDef> {
        &self.def
    }

    /// The identifier; `None` while a key field is still null.
    pub fn id(&self) -> Option<RecordId> {
        RecordId::of_values(&self.def, &self.values)
    }

    /// The values in slot order.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The server's metadata, once known.
    pub fn sync(&self) -> Option<SyncMetadata> {
        self.sync
    }

    /// Where the record was read from.
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// The value of a stored field; `None` if the model has no such stored field.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.def.slot(field).map(|slot| &self.values[slot.index()])
    }

    /// Sets a stored field. Returns whether the model has it.
    pub fn set(&mut self, field: &str, value: Value) -> bool {
        match self.def.slot(field) {
            Some(slot) => {
                self.values[slot.index()] = value;
                true
            }
            None => false,
        }
    }

    /// All stored fields with their values.
    pub fn to_fields(&self) -> FieldMap {
        self.def
            .stored_fields()
            .map(|f| f.name.clone())
            .zip(self.values.iter().cloned())
            .collect()
    }

    /// Takes the record apart: values in slot order, metadata, base.
    pub fn into_parts(self) -> (Vec<Value>, Option<SyncMetadata>, Base) {
        (self.values, self.sync, self.base)
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.def.name == other.def.name && self.values == other.values && self.sync == other.sync
    }
}
