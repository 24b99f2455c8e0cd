//! From parts to a sound [`Schema`], or to the list of what is wrong.
//!
//! Owns the checks that every source of schemas (SDL, introspection JSON, code) shares. Does not know positions in a
//! source text; `landfall-codegen` adds them.

use std::collections::BTreeMap;
use std::sync::Arc;

use indexmap::IndexMap;

use super::{
    Association, EnumDef, FieldDef, FieldType, IndexDef, KeyDef, ModelApi, ModelDef, ModelSync, NonModelDef,
    Schema, SchemaHash, Slot, Timestamps, Types, TypesAround, topology,
};
use crate::names::{FieldName, ModelName};
use crate::scalar::Scalar;

/// Most stored fields that a model may have; a row's slot number is 16 bits and DynamoDB items are far smaller.
pub const STORED_FIELDS_MAX: usize = 1_000;

/// The unchecked parts of a schema.
#[derive(Clone, Debug, Default)]
pub struct SchemaParts {
    /// Models in declaration order.
    pub models: Vec<ModelParts>,
    /// Enums in declaration order.
    pub enums: Vec<EnumDef>,
    /// Non-model types in declaration order.
    pub non_models: Vec<NonModelDef>,
    /// Operations that are not called, or not there, as by default; see [`ModelDef::api`].
    pub apis: BTreeMap<ModelName, ModelApi>,
}

/// The unchecked parts of a model.
#[derive(Clone, Debug)]
pub struct ModelParts {
    /// See [`ModelDef::name`].
    pub name: ModelName,
    /// See [`ModelDef::plural_name`].
    pub plural_name: String,
    /// See [`ModelDef::syncable`].
    pub syncable: bool,
    /// Fields in declaration order, relations included.
    pub fields: Vec<FieldDef>,
    /// See [`ModelDef::key`].
    pub key: KeyDef,
    /// See [`ModelDef::indexes`].
    pub indexes: Vec<IndexDef>,
    /// See [`ModelDef::timestamps`].
    pub timestamps: Timestamps,
    /// See [`ModelDef::auth`].
    pub auth: Vec<serde_json::Value>,
}

/// What makes a schema unsound; each names the model and field and says what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// A schema without models stores nothing.
    #[error("the schema has no model; mark at least one type with @model")]
    NoModels,
    /// Two types share a name.
    #[error("the name `{name}` is used twice; rename one of the types")]
    DuplicateType {
        /// The name.
        name: String,
    },
    /// Two fields of a type share a name.
    #[error("`{owner}` has two fields named `{field}`; rename one of them")]
    DuplicateField {
        /// The type.
        owner: String,
        /// The field.
        field: FieldName,
    },
    /// A field's type does not exist.
    #[error("`{owner}.{field}` has the unknown type `{ty}`; declare it, or use a scalar")]
    UnknownType {
        /// The type that has the field.
        owner: String,
        /// The field.
        field: FieldName,
        /// The unknown name.
        ty: String,
    },
    /// A key, index or relation names a field that is not stored.
    #[error("{purpose} of `{model}` names `{field}`, which is not a stored field of `{model}`")]
    UnknownField {
        /// The model that should have the field.
        model: ModelName,
        /// The missing field.
        field: FieldName,
        /// What names it, such as ``the index `byBlog` ``.
        purpose: String,
    },
    /// A primary-key field is a list, an object or optional.
    #[error("`{model}.{field}` is part of the primary key, so it must be a required scalar or enum")]
    BadKeyField {
        /// The model.
        model: ModelName,
        /// The field.
        field: FieldName,
    },
    /// A relation field lacks an association.
    #[error("`{model}.{field}` is of model type `{ty}`; add @hasOne, @hasMany or @belongsTo")]
    MissingAssociation {
        /// The model.
        model: ModelName,
        /// The field.
        field: FieldName,
        /// The other model.
        ty: ModelName,
    },
    /// The number of foreign-key fields does not match the other side's key.
    #[error("`{model}.{field}` has {found} foreign-key fields, but the key of `{other}` has {expected}")]
    ForeignKeyLength {
        /// The model.
        model: ModelName,
        /// The relation field.
        field: FieldName,
        /// The model whose key is referred to.
        other: ModelName,
        /// How many the key has.
        expected: usize,
        /// How many were given.
        found: usize,
    },
    /// Too many stored fields.
    #[error("`{model}` has {found} stored fields; the most is {STORED_FIELDS_MAX}")]
    TooManyFields {
        /// The model.
        model: ModelName,
        /// How many it has.
        found: usize,
    },
}

impl Schema {
    /// Checks the parts and builds the schema.
    ///
    /// # Errors
    /// Every fault found, in declaration order.
    pub fn build(parts: SchemaParts) -> Result<Self, Vec<SchemaError>> {
        let mut faults = Vec::new();
        if parts.models.is_empty() {
            faults.push(SchemaError::NoModels);
        }
        let mut models: IndexMap<ModelName, Arc<ModelDef>> = IndexMap::new();
        let mut apis = parts.apis;
        for model in parts.models {
            let api = apis.remove(&model.name).unwrap_or_default();
            let model = assemble(model, api, &mut faults);
            if let Some(old) = models.insert(model.name.clone(), Arc::new(model)) {
                faults.push(SchemaError::DuplicateType {
                    name: old.name.to_string(),
                });
            }
        }
        let enums = unique(parts.enums, |def| def.name.clone(), &mut faults);
        let non_models = unique(parts.non_models, |def| def.name.clone(), &mut faults);
        // Models, enums and non-model types share one space of names.
        let taken =
            |name: &str, by_enum: bool| models.contains_key(name) || (by_enum && enums.contains_key(name));
        let clashes = enums
            .keys()
            .filter(|name| taken(name, false))
            .chain(non_models.keys().filter(|name| taken(name, true)));
        faults.extend(clashes.map(|name| SchemaError::DuplicateType { name: name.clone() }));
        let types = Arc::new(Types { enums, non_models });
        for model in models.values_mut() {
            Arc::make_mut(model).types = TypesAround(Arc::clone(&types));
        }
        let mut schema = Self {
            models,
            types,
            hash: SchemaHash(String::new()),
            levels: Vec::new(),
        };
        schema.check(&mut faults);
        if !faults.is_empty() {
            return Err(faults);
        }
        schema.levels = topology::levels(&schema.models);
        schema.hash = hash(&schema);
        Ok(schema)
    }

    fn check(&self, faults: &mut Vec<SchemaError>) {
        for def in self.types.non_models.values() {
            for field in def.fields.values() {
                self.check_type(&def.name, field, faults);
            }
        }
        for model in self.models.values() {
            for field in model.fields.values() {
                self.check_type(&model.name, field, faults);
                self.check_association(model, field, faults);
            }
            check_key(model, faults);
            for index in &model.indexes {
                for field in &index.fields {
                    require_stored(model, field, &format!("the index `{}`", index.name), faults);
                }
            }
        }
    }

    fn check_type(&self, owner: &str, field: &FieldDef, faults: &mut Vec<SchemaError>) {
        let known = match &field.ty {
            FieldType::Scalar(_) => true,
            FieldType::Enum(name) => self.types.enums.contains_key(name),
            FieldType::NonModel(name) => self.types.non_models.contains_key(name),
            FieldType::Model(name) => self.models.contains_key(name),
        };
        if !known {
            let ty = field.ty.to_string();
            faults.push(SchemaError::UnknownType {
                owner: owner.to_owned(),
                field: field.name.clone(),
                ty,
            });
        }
    }

    fn check_association(&self, model: &ModelDef, field: &FieldDef, faults: &mut Vec<SchemaError>) {
        let FieldType::Model(other_name) = &field.ty else {
            return;
        };
        let Some(other) = self.models.get(other_name) else {
            return;
        };
        let Some(association) = &field.association else {
            faults.push(SchemaError::MissingAssociation {
                model: model.name.clone(),
                field: field.name.clone(),
                ty: other_name.clone(),
            });
            return;
        };
        let purpose = format!("the relation `{}.{}`", model.name, field.name);
        for target in association.targets() {
            require_stored(model, target, &purpose, faults);
        }
        let (found, referred) = match association {
            Association::BelongsTo { targets } => (targets.len(), other),
            Association::HasOne { targets, .. } if !targets.is_empty() => (targets.len(), other),
            Association::HasOne { associated_with, .. } | Association::HasMany { associated_with } => {
                for far in associated_with {
                    require_stored(other, far, &purpose, faults);
                }
                (associated_with.len(), &self.models[&model.name])
            }
        };
        let expected = referred.key.fields.len();
        if found != expected {
            faults.push(SchemaError::ForeignKeyLength {
                model: model.name.clone(),
                field: field.name.clone(),
                other: referred.name.clone(),
                expected,
                found,
            });
        }
    }
}

fn assemble(parts: ModelParts, api: ModelApi, faults: &mut Vec<SchemaError>) -> ModelDef {
    let mut fields = IndexMap::new();
    for field in parts.fields {
        if let Some(old) = fields.insert(field.name.clone(), field) {
            faults.push(SchemaError::DuplicateField {
                owner: parts.name.to_string(),
                field: old.name,
            });
        }
    }
    let stored: Vec<FieldName> = fields
        .values()
        .filter(|f| f.is_stored())
        .map(|f| f.name.clone())
        .collect();
    if stored.len() > STORED_FIELDS_MAX {
        faults.push(SchemaError::TooManyFields {
            model: parts.name.clone(),
            found: stored.len(),
        });
    }
    let mut model = ModelDef {
        name: parts.name,
        plural_name: parts.plural_name,
        syncable: parts.syncable,
        on_server: parts.syncable,
        sync: ModelSync::of_syncable(parts.syncable),
        fields,
        key: parts.key,
        indexes: parts.indexes,
        timestamps: parts.timestamps,
        auth: parts.auth,
        api,
        stored,
        key_slots: Vec::new(),
        types: TypesAround::default(),
    };
    // A key field that is missing is reported by `check_key`.
    let key_slots: Vec<Slot> = model
        .key
        .fields
        .iter()
        .filter_map(|field| model.slot(field))
        .collect();
    model.key_slots = key_slots;
    model
}

fn check_key(model: &ModelDef, faults: &mut Vec<SchemaError>) {
    for name in &model.key.fields {
        if !require_stored(model, name, "the primary key", faults) {
            continue;
        }
        let field = &model.fields[name];
        let fits = field.required
            && field.list.is_none()
            && matches!(field.ty, FieldType::Scalar(_) | FieldType::Enum(_))
            && field.ty != FieldType::Scalar(Scalar::AwsJson);
        if !fits {
            faults.push(SchemaError::BadKeyField {
                model: model.name.clone(),
                field: name.clone(),
            });
        }
    }
}

fn require_stored(model: &ModelDef, field: &FieldName, purpose: &str, faults: &mut Vec<SchemaError>) -> bool {
    let stored = model.slot(field).is_some();
    if !stored {
        faults.push(SchemaError::UnknownField {
            model: model.name.clone(),
            field: field.clone(),
            purpose: purpose.to_owned(),
        });
    }
    stored
}

fn unique<T>(
    items: Vec<T>,
    name: impl Fn(&T) -> String,
    faults: &mut Vec<SchemaError>,
) -> IndexMap<String, T> {
    let mut map = IndexMap::new();
    for item in items {
        if map.insert(name(&item), item).is_some() {
            let (name, _) = map.last().expect("just inserted");
            faults.push(SchemaError::DuplicateType { name: name.clone() });
        }
    }
    map
}

/// FNV-1a over the introspection form: stable across builds and platforms, and not meant to resist an attacker.
pub(super) fn hash(schema: &Schema) -> SchemaHash {
    let text = crate::introspection::to_json(schema).to_string();
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    SchemaHash(format!("{hash:016x}"))
}

#[cfg(test)]
mod tests;
