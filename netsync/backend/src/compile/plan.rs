//! What the server knows of a model: its attributes, keys, indexes and how its relations are followed.
//!
//! Owns [`ModelPlan`] and its making from a schema. Does not write GraphQL text (`types.rs`, `inputs.rs`, `roots.rs`).
//!
//! Invariants: 1. every relation that is followed by a foreign key has an index over it; 2. index names are unique
//! within a model.

use std::collections::BTreeSet;
use std::sync::Arc;

use indexmap::IndexMap;
use landfall_core::{Association, FieldDef, FieldName, FieldType, ModelDef, ModelName, Scalar, Schema};

use super::names;
use crate::auth::ModelRules;
use crate::error::BackendError;

/// A model as the server serves it.
#[derive(Clone, Debug)]
pub(crate) struct ModelPlan {
    /// The model of the schema.
    pub(crate) def: Arc<ModelDef>,
    /// Stored attributes in the order of the GraphQL type, the managed timestamps included.
    pub(crate) attributes: IndexMap<FieldName, FieldDef>,
    /// Timestamps that the server writes and clients cannot.
    pub(crate) managed: BTreeSet<FieldName>,
    /// Owner fields that no field declares: the server fills them, they are shown and compared, and no mutation takes them.
    pub(crate) owners: BTreeSet<FieldName>,
    /// Foreign keys that no field declares; they stand after the metadata in the GraphQL type.
    pub(crate) implicit: BTreeSet<FieldName>,
    /// Primary key.
    pub(crate) key: KeyPlan,
    /// Declared indexes, then those over foreign keys that have none.
    pub(crate) indexes: Vec<IndexPlan>,
    /// How relation fields are followed.
    pub(crate) relations: IndexMap<FieldName, RelationPlan>,
    /// What `@auth` says; `None` if it says nothing.
    pub(crate) rules: Option<ModelRules>,
    /// Owner fields whose value is shown by its last part only.
    pub(crate) split_owners: BTreeSet<FieldName>,
}

/// A partition field and the fields that sort within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyPlan {
    /// First field.
    pub(crate) partition: FieldName,
    /// The others; several are joined by `#` to one text, as AppSync does.
    pub(crate) sort: Vec<FieldName>,
}

/// A secondary index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexPlan {
    /// Its name, such as `byBlog` or `gsi-Post.comments`.
    pub(crate) name: String,
    /// Its fields.
    pub(crate) key: KeyPlan,
    /// The query field that reads it, if any.
    pub(crate) query_field: Option<String>,
}

/// How a relation field finds the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RelationPlan {
    /// The record holds the other's key in `sources`.
    ByKey {
        /// The other model.
        model: ModelName,
        /// Fields of this model, in the order of the other's key.
        sources: Vec<FieldName>,
    },
    /// The one record of the other model whose foreign key holds this key.
    OneByIndex {
        /// The other model.
        model: ModelName,
        /// The other model's index over the foreign key.
        index: String,
    },
    /// All records of the other model whose foreign key holds this key.
    ManyByIndex {
        /// The other model.
        model: ModelName,
        /// The other model's index over the foreign key.
        index: String,
    },
}

impl RelationPlan {
    /// The other model.
    pub(crate) fn model(&self) -> &ModelName {
        match self {
            Self::ByKey { model, .. } | Self::OneByIndex { model, .. } | Self::ManyByIndex { model, .. } => {
                model
            }
        }
    }
}

impl KeyPlan {
    /// # Panics
    /// If there are no fields, which [`Schema::build`] does not let through.
    fn of(fields: &[FieldName]) -> Self {
        let (partition, sort) = fields.split_first().expect("a key has at least one field");
        Self {
            partition: partition.clone(),
            sort: sort.to_vec(),
        }
    }

    /// All fields, partition first.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &FieldName> {
        std::iter::once(&self.partition).chain(&self.sort)
    }

    /// Whether the key is exactly these fields.
    fn is(&self, fields: &[FieldName]) -> bool {
        self.fields().eq(fields)
    }
}

impl ModelPlan {
    /// The model's name.
    pub(crate) fn name(&self) -> &ModelName {
        &self.def.name
    }

    /// The index of that name.
    pub(crate) fn index(&self, name: &str) -> Option<&IndexPlan> {
        self.indexes.iter().find(|index| index.name == name)
    }

    /// Whether only the server writes a field.
    pub(crate) fn is_server_written(&self, field: &str) -> bool {
        self.managed.contains(field) || self.owners.contains(field)
    }

    /// Rows on a page of a to-many relation, where the schema says so.
    pub(crate) fn page_limit(&self, relation: &str) -> Option<usize> {
        let limit = self.def.api.page_limits.get(relation)?;
        usize::try_from(*limit).ok()
    }

    /// Whether a field is part of the primary key.
    pub(crate) fn is_key(&self, field: &str) -> bool {
        self.key.fields().any(|key| key == field)
    }

    /// Plans every model that syncs; local-only models do not exist on the server.
    ///
    /// # Errors
    /// [`BackendError::Rules`] if the rules of one cannot be applied.
    pub(super) fn all(schema: &Schema) -> Result<IndexMap<ModelName, Arc<Self>>, BackendError> {
        schema
            .models()
            .filter(|def| def.syncable)
            .map(|def| Ok((def.name.clone(), Arc::new(Self::of(schema, def)?))))
            .collect()
    }

    fn of(schema: &Schema, def: &Arc<ModelDef>) -> Result<Self, BackendError> {
        let rules = ModelRules::read(def)?;
        let managed = managed_timestamps(def);
        let implicit = implicit_foreign_keys(schema, def);
        let mut attributes = attributes(def, &managed, &implicit);
        let undeclared: Vec<FieldDef> = rules
            .iter()
            .flat_map(|rules| rules.undeclared_owners(def))
            .collect();
        let owners = undeclared.iter().map(|owner| owner.name.clone()).collect();
        for owner in undeclared {
            attributes.entry(owner.name.clone()).or_insert(owner);
        }
        let split_owners = rules
            .as_ref()
            .map(ModelRules::split_owner_fields)
            .unwrap_or_default();
        let indexes = indexes(schema, def);
        let relations = def
            .relations()
            .filter_map(|(field, association)| {
                let FieldType::Model(other) = &field.ty else {
                    return None;
                };
                let other = schema.model(other).filter(|other| other.syncable)?;
                let plan = relation(schema, def, field, association, other);
                Some((field.name.clone(), plan))
            })
            .collect();
        Ok(Self {
            def: Arc::clone(def),
            attributes,
            managed,
            implicit,
            key: KeyPlan::of(&def.key.fields),
            indexes,
            relations,
            rules,
            owners,
            split_owners,
        })
    }
}

/// Names of the timestamps that only the server writes: those the schema does not declare as ordinary fields.
fn managed_timestamps(def: &ModelDef) -> BTreeSet<FieldName> {
    [&def.timestamps.created_at, &def.timestamps.updated_at]
        .into_iter()
        .flatten()
        .filter(|name| def.field(name).is_none_or(|field| field.read_only))
        .cloned()
        .collect()
}

fn attributes(
    def: &ModelDef,
    managed: &BTreeSet<FieldName>,
    implicit: &BTreeSet<FieldName>,
) -> IndexMap<FieldName, FieldDef> {
    let declared = def
        .stored_fields()
        .filter(|f| !managed.contains(&f.name) && !implicit.contains(&f.name));
    let mut all: IndexMap<FieldName, FieldDef> = declared.map(|f| (f.name.clone(), f.clone())).collect();
    for name in [&def.timestamps.created_at, &def.timestamps.updated_at]
        .into_iter()
        .flatten()
    {
        if managed.contains(name) {
            let field = FieldDef {
                required: true,
                read_only: true,
                ..FieldDef::scalar(name, Scalar::AwsDateTime)
            };
            all.insert(name.clone(), field);
        }
    }
    let foreign_keys = def.stored_fields().filter(|f| implicit.contains(&f.name));
    all.extend(foreign_keys.map(|f| (f.name.clone(), f.clone())));
    all
}

/// The fields that carry the name a foreign key gets when none is declared.
fn implicit_foreign_keys(schema: &Schema, def: &ModelDef) -> BTreeSet<FieldName> {
    let own = def.relations().flat_map(|(field, association)| {
        let key = match &field.ty {
            FieldType::Model(other) => schema.model(other).map(|other| other.key.fields.clone()),
            _ => None,
        };
        named_by_rule(def, field, association.targets(), &key.unwrap_or_default())
    });
    let from_others = schema.models().flat_map(|other| {
        other
            .relations()
            .filter(|(field, _)| field.ty == FieldType::Model(def.name.clone()))
            .flat_map(move |(field, association)| {
                named_by_rule(other, field, foreign_side(association), &other.key.fields)
            })
    });
    own.chain(from_others).collect()
}

/// The fields of the other model that an association finds its records by.
pub(super) fn foreign_side(association: &Association) -> &[FieldName] {
    match association {
        Association::HasMany { associated_with } => associated_with,
        Association::HasOne {
            associated_with,
            targets,
        } if targets.is_empty() => associated_with,
        Association::HasOne { .. } | Association::BelongsTo { .. } => &[],
    }
}

fn named_by_rule(
    parent: &ModelDef,
    relation: &FieldDef,
    fields: &[FieldName],
    key: &[FieldName],
) -> Vec<FieldName> {
    let by_rule = |(field, key): (&FieldName, &FieldName)| {
        (names::implicit_foreign_key(&parent.name, &relation.name, key) == **field).then(|| field.clone())
    };
    fields.iter().zip(key).filter_map(by_rule).collect()
}

fn indexes(schema: &Schema, def: &ModelDef) -> Vec<IndexPlan> {
    let mut plans: Vec<IndexPlan> = def
        .indexes
        .iter()
        .filter(|index| !index.fields.is_empty())
        .map(|index| IndexPlan {
            name: index.name.clone(),
            key: KeyPlan::of(&index.fields),
            query_field: index.query_field.clone(),
        })
        .collect();
    for other in schema.models() {
        for (field, association) in other.relations() {
            let foreign = foreign_side(association);
            let points_here = field.ty == FieldType::Model(def.name.clone());
            if points_here && !foreign.is_empty() && index_over(&plans, foreign).is_none() {
                let name = format!("gsi-{}.{}", other.name, field.name);
                plans.push(IndexPlan {
                    name,
                    key: KeyPlan::of(foreign),
                    query_field: None,
                });
            }
        }
    }
    plans
}

/// The index that finds records by a foreign key: one over just these fields, else one that begins with the only field.
fn index_over<'a>(plans: &'a [IndexPlan], foreign: &[FieldName]) -> Option<&'a IndexPlan> {
    plans.iter().find(|index| index.key.is(foreign)).or_else(|| {
        plans
            .iter()
            .find(|index| foreign.len() == 1 && index.key.partition == foreign[0])
    })
}

fn relation(
    schema: &Schema,
    def: &ModelDef,
    field: &FieldDef,
    association: &Association,
    other: &ModelDef,
) -> RelationPlan {
    let model = other.name.clone();
    let sources = association.targets();
    if !sources.is_empty() {
        return RelationPlan::ByKey {
            model,
            sources: sources.to_vec(),
        };
    }
    let plans = indexes(schema, other);
    let index = index_over(&plans, foreign_side(association))
        .unwrap_or_else(|| panic!("no index was planned for `{}.{}`", def.name, field.name))
        .name
        .clone();
    match association {
        Association::HasMany { .. } => RelationPlan::ManyByIndex { model, index },
        Association::HasOne { .. } | Association::BelongsTo { .. } => {
            RelationPlan::OneByIndex { model, index }
        }
    }
}
