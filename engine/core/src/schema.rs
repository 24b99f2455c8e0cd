//! What models exist: fields, keys, indexes and associations.
//!
//! Owns [`Schema`] and its parts, and the rules that make a schema sound. Does not read SDL (`landfall-codegen` does)
//! nor introspection JSON (`introspection.rs`).
//!
//! Invariants of a built schema: 1. every named type exists; 2. every key, index and foreign-key field is a stored
//! field of its model; 3. stored fields are numbered in declaration order.

mod api;
mod belonging;
mod build;
mod computed;
mod defaults;
mod sync;
mod topology;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

pub use api::{ApiName, ModelApi, SubscriptionLevel};
pub use belonging::Belonging;
pub use build::{ModelParts, STORED_FIELDS_MAX, SchemaError, SchemaParts};
pub use computed::{Computable, Compute, ComputedField, ComputedMisfit};
pub use sync::ModelSync;

pub use defaults::fill_defaults;

use crate::names::{FieldName, ModelName};
use crate::scalar::Scalar;

/// All models, enums and non-model types of an application.
///
/// Cheap to clone through `Arc`; immutable once built with [`Schema::build`].
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
/// let names: Vec<&str> = post.stored_fields().map(|field| field.name.as_str()).collect();
/// assert_eq!(names, ["id", "title", "rating"]);
/// assert_eq!(schema.models().count(), 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    models: IndexMap<ModelName, Arc<ModelDef>>,
    pub(crate) types: Arc<Types>,
    hash: SchemaHash,
    levels: Vec<Vec<ModelName>>,
    belongings: BTreeMap<ModelName, Vec<Belonging>>,
}

/// The enums and non-model types that fields refer to by name.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Types {
    pub(crate) enums: IndexMap<String, EnumDef>,
    pub(crate) non_models: IndexMap<String, NonModelDef>,
}

impl fmt::Debug for Types {
    /// Each model has them, so only their names are worth reading.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.enums.keys().chain(self.non_models.keys()))
            .finish()
    }
}

/// The types of the schema that a model is in. They are no part of the model: it is the same whatever else the schema has.
#[derive(Clone, Debug, Default)]
pub(crate) struct TypesAround(Arc<Types>);

impl PartialEq for TypesAround {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl std::ops::Deref for TypesAround {
    type Target = Types;

    fn deref(&self) -> &Types {
        &self.0
    }
}

/// Fingerprint of a schema: equal schemas have equal hashes; 16 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SchemaHash(pub String);

/// Position of a stored field in a model's rows, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u16);

impl Slot {
    /// The position as an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Member of an authorization rule that names the one field it is for.
pub const AUTH_FIELD: &str = "field";

/// One model.
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
/// assert_eq!(post.key.fields, ["id"]);
/// assert!(post.field("title").is_some_and(|field| field.required));
/// assert!(post.relations().next().is_none());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ModelDef {
    /// Its name, such as `Post`.
    pub name: ModelName,
    /// The plural that AppSync uses in `sync<Plural>` and `list<Plural>`, such as `Posts`.
    pub plural_name: String,
    /// Whether it takes part in sync; `false` for local-only models.
    pub syncable: bool,
    /// Whether the server has it: whether the schema itself lets it take part in sync, whatever was said since. What waits
    /// from before is sent then.
    pub on_server: bool,
    /// Which way its changes travel; not part of the schema's fingerprint, except that a local model is.
    pub sync: ModelSync,
    /// Every field in declaration order: stored ones and relations.
    pub fields: IndexMap<FieldName, FieldDef>,
    /// How records are identified.
    pub key: KeyDef,
    /// Secondary indexes.
    pub indexes: Vec<IndexDef>,
    /// The timestamps that the server writes.
    pub timestamps: Timestamps,
    /// Authorization rules as the schema gives them, in model-introspection form; one on a single field has the field's
    /// name under [`AUTH_FIELD`].
    pub auth: Vec<serde_json::Value>,
    /// What a server calls its operations, and which of them it leaves out.
    pub api: ModelApi,
    pub(crate) stored: Vec<FieldName>,
    pub(crate) key_slots: Vec<Slot>,
    /// What an app computes; not part of the schema's fingerprint.
    pub(crate) computed: Vec<Arc<ComputedField>>,
    /// What its fields refer to, so that values can be checked by the model alone.
    pub(crate) types: TypesAround,
}

/// Names of the fields in which the server keeps creation and update times.
#[derive(Clone, Debug, PartialEq)]
pub struct Timestamps {
    /// `createdAt` unless renamed; `None` if switched off.
    pub created_at: Option<FieldName>,
    /// `updatedAt` unless renamed; `None` if switched off.
    pub updated_at: Option<FieldName>,
}

impl Default for Timestamps {
    fn default() -> Self {
        Self {
            created_at: Some("createdAt".into()),
            updated_at: Some("updatedAt".into()),
        }
    }
}

/// One field of a model or of a non-model type.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldDef {
    /// Its name.
    pub name: FieldName,
    /// The type of the value, or of the elements if `list` is set.
    pub ty: FieldType,
    /// Set for lists; says whether elements may be null.
    pub list: Option<ListDef>,
    /// Whether the field (for a list: the list itself) must be present.
    pub required: bool,
    /// Whether only the server writes it (managed timestamps).
    pub read_only: bool,
    /// Set for relation fields.
    pub association: Option<Association>,
    /// Text of `@default(value:)`, if any.
    pub default: Option<String>,
}

/// What a list field says of its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListDef {
    /// Whether null elements are refused.
    pub elements_required: bool,
}

/// Type of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// A GraphQL or AWS scalar.
    Scalar(Scalar),
    /// An enum of the schema.
    Enum(String),
    /// A non-model type of the schema.
    NonModel(String),
    /// Another model; such fields are relations.
    Model(ModelName),
}

/// How a relation field finds the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Association {
    /// This record holds the other's key in `targets`.
    BelongsTo {
        /// Foreign-key fields of this model, in the order of the other model's key.
        targets: Vec<FieldName>,
    },
    /// At most one other record belongs to this one.
    HasOne {
        /// Fields of the other model that point here, or its key when this side holds `targets`.
        associated_with: Vec<FieldName>,
        /// Foreign-key fields of this model, if this side holds them.
        targets: Vec<FieldName>,
    },
    /// Any number of other records belong to this one.
    HasMany {
        /// Foreign-key fields of the other model that point here, in the order of this model's key.
        associated_with: Vec<FieldName>,
    },
}

impl Association {
    /// Foreign-key fields that this model itself stores for the relation.
    pub fn targets(&self) -> &[FieldName] {
        match self {
            Self::BelongsTo { targets } | Self::HasOne { targets, .. } => targets,
            Self::HasMany { .. } => &[],
        }
    }
}

/// Who chooses a record's identifier, and how many fields it has (Amplify's four kinds).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// Field `id`, always made by the store.
    Managed,
    /// Field `id` by declared primary key; made by the store unless given.
    OptionallyManaged,
    /// One field of the app's choosing.
    Custom,
    /// Several fields, all given by the app.
    Composite,
}

/// Primary key of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDef {
    /// Who chooses it.
    pub kind: KeyKind,
    /// Its fields: partition field first, then sort fields.
    pub fields: Vec<FieldName>,
    /// Whether the schema declares it (`@primaryKey`); `false` for the implicit `id`.
    pub declared: bool,
}

/// Secondary index of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexDef {
    /// Its name, such as `byBlog`.
    pub name: String,
    /// Its fields: partition field first, then sort fields.
    pub fields: Vec<FieldName>,
    /// Name of the query field that reads it, if any.
    pub query_field: Option<String>,
}

/// An enum of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnumDef {
    /// Its name.
    pub name: String,
    /// Its values, in declaration order.
    pub values: Vec<String>,
}

/// A non-model type: an object stored inside a field.
#[derive(Clone, Debug, PartialEq)]
pub struct NonModelDef {
    /// Its name.
    pub name: String,
    /// Its fields in declaration order.
    pub fields: IndexMap<FieldName, FieldDef>,
}

impl Schema {
    /// The models in declaration order.
    pub fn models(&self) -> impl ExactSizeIterator<Item = &Arc<ModelDef>> {
        self.models.values()
    }

    /// The enums in declaration order.
    pub fn enums(&self) -> impl ExactSizeIterator<Item = &EnumDef> {
        self.types.enums.values()
    }

    /// The non-model types in declaration order.
    pub fn non_models(&self) -> impl ExactSizeIterator<Item = &NonModelDef> {
        self.types.non_models.values()
    }

    /// The model of that name.
    pub fn model(&self, name: &str) -> Option<&Arc<ModelDef>> {
        self.models.get(name)
    }

    /// The enum of that name.
    pub fn enumeration(&self, name: &str) -> Option<&EnumDef> {
        self.types.enums.get(name)
    }

    /// The non-model type of that name.
    pub fn non_model(&self, name: &str) -> Option<&NonModelDef> {
        self.types.non_models.get(name)
    }

    /// Fingerprint of everything that matters to stored data and to the wire.
    pub fn hash(&self) -> &SchemaHash {
        &self.hash
    }

    /// By which fields records of a model refer to others; nothing for a model that is not of this schema.
    pub fn belongings(&self, model: &ModelName) -> &[Belonging] {
        self.belongings.get(model).map_or(&[], Vec::as_slice)
    }

    /// Syncable models in groups, parents before children; the models of one group do not depend on each other.
    ///
    /// A model depends on those it belongs to, whichever side says so, itself excepted. Members of a cycle come last, in one
    /// group.
    pub fn topological_levels(&self) -> &[Vec<ModelName>] {
        &self.levels
    }
}

impl ModelDef {
    /// Stored fields in slot order: everything but relations.
    pub fn stored_fields(&self) -> impl ExactSizeIterator<Item = &FieldDef> {
        self.stored.iter().map(|name| &self.fields[name])
    }

    /// Number of stored fields.
    pub fn stored_len(&self) -> usize {
        self.stored.len()
    }

    /// The stored field at a slot.
    ///
    /// # Panics
    /// If the slot is not of this model.
    pub fn stored_field(&self, slot: Slot) -> &FieldDef {
        &self.fields[&self.stored[slot.index()]]
    }

    /// The slot of a stored field, or `None` for relations and unknown names.
    pub fn slot(&self, field: &str) -> Option<Slot> {
        let position = self.stored.iter().position(|name| name == field)?;
        u16::try_from(position).ok().map(Slot)
    }

    /// Slots of the primary-key fields, in key order.
    pub fn key_slots(&self) -> &[Slot] {
        &self.key_slots
    }

    /// The field of that name, stored or relation.
    pub fn field(&self, name: &str) -> Option<&FieldDef> {
        self.fields.get(name)
    }

    /// Relation fields in declaration order.
    pub fn relations(&self) -> impl Iterator<Item = (&FieldDef, &Association)> {
        self.fields
            .values()
            .filter_map(|field| Some((field, field.association.as_ref()?)))
    }
}

impl KeyDef {
    /// The key of those fields, of the kind that Amplify gives it; `declared` as in [`KeyDef::declared`].
    pub fn of_fields(fields: Vec<FieldName>, declared: bool) -> Self {
        let kind = match fields.as_slice() {
            _ if !declared => KeyKind::Managed,
            [only] if only == "id" => KeyKind::OptionallyManaged,
            [_] => KeyKind::Custom,
            _ => KeyKind::Composite,
        };
        Self {
            kind,
            fields,
            declared,
        }
    }
}

impl FieldDef {
    /// A plain optional field of a scalar type; adjust the rest by struct update.
    pub fn scalar(name: &str, scalar: Scalar) -> Self {
        Self {
            name: name.into(),
            ty: FieldType::Scalar(scalar),
            list: None,
            required: false,
            read_only: false,
            association: None,
            default: None,
        }
    }

    /// Whether the field is kept in rows (relations are not; their foreign keys are).
    pub fn is_stored(&self) -> bool {
        !matches!(self.ty, FieldType::Model(_))
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(scalar) => write!(f, "{scalar}"),
            Self::Enum(name) | Self::NonModel(name) => f.write_str(name),
            Self::Model(name) => write!(f, "{name}"),
        }
    }
}

impl fmt::Display for FieldDef {
    /// Writes the GraphQL type of the field, such as `[String!]!`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bang = if self.required { "!" } else { "" };
        match self.list {
            Some(list) => {
                let inner = if list.elements_required { "!" } else { "" };
                write!(f, "[{}{inner}]{bang}", self.ty)
            }
            None => write!(f, "{}{bang}", self.ty),
        }
    }
}
