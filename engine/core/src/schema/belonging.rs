//! By which of its fields a record of a model refers to others, whichever side says so.
//!
//! Owns [`Belonging`] and how relations lead to them. A has-many needs no belongs-to on the other side (Amplify's own
//! examples have none), and its children hold the foreign key all the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use indexmap::IndexMap;

use super::{Association, FieldType, ModelDef};
use crate::names::{FieldName, ModelName};

/// Fields of a model that hold the key of a record of another one, or of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Belonging {
    /// The model that they refer to.
    pub to: ModelName,
    /// The fields, in the order of that model's key.
    pub by: Vec<FieldName>,
    /// Whether a record that refers is a child of the one that it refers to, so that their models sync in this order. A
    /// has-one that holds the foreign key makes none: with a belongs-to on its other side each would be the other's child.
    pub is_child: bool,
}

impl Association {
    /// The fields of the other model that hold the key of this one, if that is where it is: then the other record belongs to
    /// this one, and is deleted with it.
    pub fn held_there(&self) -> Option<&[FieldName]> {
        match self {
            Self::HasMany { associated_with } => Some(associated_with),
            Self::HasOne {
                associated_with,
                targets,
            } if targets.is_empty() => Some(associated_with),
            Self::HasOne { .. } | Self::BelongsTo { .. } => None,
        }
    }
}

/// What each model refers to: first what its own relations say, then those that lead to it; each once.
pub(super) fn of_all(models: &IndexMap<ModelName, Arc<ModelDef>>) -> BTreeMap<ModelName, Vec<Belonging>> {
    let mut all: BTreeMap<ModelName, Vec<Belonging>> = BTreeMap::new();
    let mut note = |child: &ModelName, belonging: Belonging| {
        let known = all.entry(child.clone()).or_default();
        let same = |other: &&mut Belonging| (&other.to, &other.by) == (&belonging.to, &belonging.by);
        match known.iter_mut().find(same) {
            Some(same) => same.is_child |= belonging.is_child,
            None => known.push(belonging),
        }
    };
    let relations = || {
        models.values().flat_map(|def| {
            let relations = def.relations();
            relations.filter_map(move |(field, association)| match &field.ty {
                FieldType::Model(other) if models.contains_key(other) => Some((def, other, association)),
                _ => None,
            })
        })
    };
    for (def, other, association) in relations() {
        if !association.targets().is_empty() {
            let is_child = matches!(association, Association::BelongsTo { .. });
            let (to, by) = (other.clone(), association.targets().to_vec());
            note(&def.name, Belonging { to, by, is_child });
        }
    }
    for (def, other, association) in relations() {
        if let Some(fields) = association.held_there() {
            let (to, by) = (def.name.clone(), fields.to_vec());
            note(
                other,
                Belonging {
                    to,
                    by,
                    is_child: true,
                },
            );
        }
    }
    all
}
