//! Relations inside queries: predicates that follow them, and sort keys that lead to another record.
//!
//! Owns [`Resolver`], which turns a predicate that follows relations into one on the record alone, and [`Hop`], one
//! step from a record to the other end of a relation. A relation costs one query of the other model, not one a row:
//! the identifiers that it yields become a set which each row is looked up in.
//!
//! Invariant: a resolved predicate selects what following the relation row by row would select in this snapshot.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use landfall_core::{
    Association, BoundPredicate, BoundSort, Direction, FieldType, ModelDef, ModelName, PREDICATE_DEPTH_MAX,
    Predicate, PredicateError, RecordId, Slot, Sort, SortKey, identifier_at, keycode,
};

use super::seek::Way;
use crate::catalog::ModelEntry;
use crate::error::StorageError;
use crate::snapshot::Snapshot;
use crate::tables::model_prefix;

/// One step from a record to the other end of a relation: the `near` fields of one are the `far` fields of the other.
#[derive(Clone, Debug)]
pub(super) struct Hop<'c> {
    pub(super) other: &'c ModelEntry,
    pub(super) near: Vec<Slot>,
    /// Empty if it is the other's identifier, which is the quicker way.
    pub(super) far: Vec<Slot>,
    /// Whether there may be more than one record at the other end.
    pub(super) many: bool,
}

/// A relation that a query followed, for [`Explanation`](super::Explanation).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// The relation, such as `Post.blog`.
    pub relation: String,
    /// How the records at its other end are found.
    pub plan: String,
    /// How many of them satisfy their part of the predicate.
    pub found: usize,
}

impl fmt::Display for Followed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {} ({} found)", self.relation, self.plan, self.found)
    }
}

/// Turns predicates that follow relations into predicates on the record alone.
pub(super) struct Resolver<'s> {
    pub(super) snapshot: &'s Snapshot,
    /// What was followed, in order.
    pub(super) followed: Vec<Followed>,
}

impl Resolver<'_> {
    /// Resolves a predicate of a model.
    pub(super) fn resolve(
        &mut self,
        def: &ModelDef,
        predicate: &Predicate,
    ) -> Result<BoundPredicate, StorageError> {
        self.at(def, predicate, 0)
    }

    fn at(
        &mut self,
        def: &ModelDef,
        predicate: &Predicate,
        depth: usize,
    ) -> Result<BoundPredicate, StorageError> {
        if depth > PREDICATE_DEPTH_MAX {
            return Err(PredicateError::TooDeep.into());
        }
        if !predicate.follows_relations() {
            return Ok(predicate.bind_for_query(def)?);
        }
        let mut group = |members: &[Predicate]| -> Result<Vec<_>, StorageError> {
            members
                .iter()
                .map(|member| self.at(def, member, depth + 1))
                .collect()
        };
        Ok(match predicate {
            Predicate::And(members) => BoundPredicate::And(group(members)?),
            Predicate::Or(members) => BoundPredicate::Or(group(members)?),
            Predicate::Not(member) => BoundPredicate::Not(Box::new(self.at(def, member, depth + 1)?)),
            Predicate::Related(relation, other) => self.follow(def, relation, other, depth)?,
            Predicate::All | Predicate::Field(..) => predicate.bind_for_query(def)?,
        })
    }

    /// The records whose other end satisfies a predicate, as a test of their own fields.
    fn follow(
        &mut self,
        def: &ModelDef,
        relation: &str,
        predicate: &Predicate,
        depth: usize,
    ) -> Result<BoundPredicate, StorageError> {
        let snapshot = self.snapshot;
        let hop = hop(snapshot, def, relation)?;
        let bound = self.at(&hop.other.def, predicate, depth + 1)?;
        let prefix_len = model_prefix(&hop.other.def.name).len();
        let way = Way::choose(hop.other, &bound);
        let mut ids = BTreeSet::new();
        snapshot.each_row(hop.other, &way, &bound, |key, row| {
            if hop.far.is_empty() {
                ids.insert(keycode::decode_id(&key[prefix_len..])?);
            } else {
                ids.extend(identifier_at(&hop.far, row));
            }
            Ok(true)
        })?;
        self.followed.push(Followed {
            relation: format!("{}.{relation}", def.name),
            plan: way.to_string(),
            found: ids.len(),
        });
        Ok(BoundPredicate::Among(hop.near, Arc::new(ids)))
    }
}

/// The step that a relation field stands for.
pub(super) fn hop<'s>(
    snapshot: &'s Snapshot,
    def: &ModelDef,
    relation: &str,
) -> Result<Hop<'s>, StorageError> {
    let field = def.field(relation);
    let parts = field.and_then(|field| match (&field.ty, &field.association) {
        (FieldType::Model(other), Some(association)) => Some((other, association)),
        _ => None,
    });
    let Some((other, association)) = parts else {
        let known: Vec<&str> = def.relations().map(|(field, _)| field.name.as_str()).collect();
        return Err(PredicateError::UnknownRelation {
            model: def.name.clone(),
            field: relation.into(),
            known: known.join(", "),
        }
        .into());
    };
    let other = snapshot.catalog().model(other)?;
    let slots = |def: &ModelDef, names: &[landfall_core::FieldName]| -> Vec<Slot> {
        names.iter().filter_map(|name| def.slot(name)).collect()
    };
    Ok(match association {
        Association::BelongsTo { targets } | Association::HasOne { targets, .. } if !targets.is_empty() => {
            Hop {
                other,
                near: slots(def, targets),
                far: Vec::new(),
                many: false,
            }
        }
        Association::HasOne { associated_with, .. } => Hop {
            other,
            near: def.key_slots().to_vec(),
            far: slots(&other.def, associated_with),
            many: false,
        },
        Association::HasMany { associated_with } => Hop {
            other,
            near: def.key_slots().to_vec(),
            far: slots(&other.def, associated_with),
            many: true,
        },
        Association::BelongsTo { .. } => {
            return Err(StorageError::corrupt(format!(
                "the schema gives `{}.{relation}` no foreign key",
                def.name
            )));
        }
    })
}

/// A sort key that may lead to another record.
#[derive(Clone, Debug)]
pub(super) struct SortPath<'c> {
    pub(super) hops: Vec<Hop<'c>>,
    pub(super) key: SortKey,
    pub(super) direction: Direction,
}

/// Resolves sort keys, such as `title` and `blog.name`.
pub(super) fn sort_paths<'s>(
    snapshot: &'s Snapshot,
    model: &'s ModelEntry,
    keys: &[Sort],
) -> Result<Vec<SortPath<'s>>, StorageError> {
    keys.iter().map(|key| sort_path(snapshot, model, key)).collect()
}

fn sort_path<'s>(
    snapshot: &'s Snapshot,
    model: &'s ModelEntry,
    key: &Sort,
) -> Result<SortPath<'s>, StorageError> {
    let mut def = &model.def;
    let mut hops = Vec::new();
    let mut names = key.field.split('.').peekable();
    while let Some(name) = names.next() {
        if names.peek().is_none() {
            let key_of_last = BoundSort::bind(&[Sort::ascending(name)], def)?.keys()[0]
                .0
                .clone();
            return Ok(SortPath {
                hops,
                key: key_of_last,
                direction: key.direction,
            });
        }
        let hop = hop(snapshot, def, name)?;
        if hop.many {
            return Err(PredicateError::SortByMany {
                model: def.name.clone(),
                field: name.into(),
            }
            .into());
        }
        if hops.len() >= PREDICATE_DEPTH_MAX {
            return Err(PredicateError::TooDeep.into());
        }
        def = &hop.other.def;
        hops.push(hop);
    }
    unreachable!("splitting a text yields at least one part")
}

/// Whether a sort key leads to another record.
pub(super) fn leads_away(keys: &[Sort]) -> bool {
    keys.iter().any(|key| key.field.contains('.'))
}

impl Snapshot {
    /// The models whose records decide what a query finds: its own first, then those at the other ends of the
    /// relations that it follows.
    ///
    /// # Errors
    /// [`StorageError::UnknownModel`] and [`StorageError::BadQuery`].
    pub fn models_of(&self, query: &super::Query) -> Result<Vec<ModelName>, StorageError> {
        let model = self.catalog().model(&query.model)?;
        let mut models = vec![model.def.name.clone()];
        self.note_models(&model.def, &query.predicate, &mut models)?;
        for path in sort_paths(self, model, &query.sort)? {
            for hop in path.hops {
                note(&mut models, &hop.other.def.name);
            }
        }
        Ok(models)
    }

    /// For each of some records of a model whether a predicate selects it, given what else is in this snapshot. The
    /// records themselves need not be there.
    ///
    /// # Errors
    /// As [`Snapshot::query`].
    pub fn selects(
        &self,
        model: &str,
        predicate: &Predicate,
        records: &[landfall_core::Record],
    ) -> Result<Vec<bool>, StorageError> {
        self.said(|| {
            let model = self.catalog().model(model)?;
            let predicate = self.resolve(model, predicate)?;
            Ok(records
                .iter()
                .map(|record| predicate.matches(record.values()))
                .collect())
        })
    }

    fn note_models(
        &self,
        def: &ModelDef,
        predicate: &Predicate,
        models: &mut Vec<ModelName>,
    ) -> Result<(), StorageError> {
        match predicate {
            Predicate::All | Predicate::Field(..) => Ok(()),
            Predicate::And(members) | Predicate::Or(members) => members
                .iter()
                .try_for_each(|member| self.note_models(def, member, models)),
            Predicate::Not(member) => self.note_models(def, member, models),
            Predicate::Related(relation, other) => {
                let hop = hop(self, def, relation)?;
                note(models, &hop.other.def.name);
                self.note_models(&hop.other.def, other, models)
            }
        }
    }

    /// The record at the other end of a step from a row whose near fields hold this identifier, for sorting: the
    /// first one if the schema promises one and there are more.
    pub(super) fn step(
        &self,
        hop: &Hop<'_>,
        near: &RecordId,
    ) -> Result<Option<landfall_core::Record>, StorageError> {
        if hop.far.is_empty() {
            return self.get(&hop.other.def.name, near);
        }
        let bound = BoundPredicate::Among(hop.far.clone(), Arc::new([near.clone()].into()));
        let way = Way::choose(hop.other, &bound);
        let mut first: Option<Vec<u8>> = None;
        self.each_row(hop.other, &way, &bound, |key, _| {
            if first.as_deref().is_none_or(|first| key < first) {
                first = Some(key.to_vec());
            }
            Ok(true)
        })?;
        match first {
            Some(key) => self.record_at(hop.other, &key),
            None => Ok(None),
        }
    }
}

fn note(models: &mut Vec<ModelName>, model: &ModelName) {
    if !models.contains(model) {
        models.push(model.clone());
    }
}
