//! What the store knows of models: the schema, the layouts of rows, the indexes.
//!
//! Owns [`Catalog`], rebuilt when the store is opened and immutable while it runs. Invariant: every row on disk names
//! a layout that is here.

use std::collections::BTreeMap;
use std::sync::Arc;

use landfall_core::{Association, ModelDef, ModelName, Schema, Slot};

use crate::codec::row::{Layout, LayoutId, RowReader};
use crate::error::StorageError;

/// The schema with everything that reading and writing rows needs.
#[derive(Debug)]
pub(crate) struct Catalog {
    pub(crate) schema: Arc<Schema>,
    models: BTreeMap<ModelName, ModelEntry>,
    /// By layout number: the model whose rows it describes and how they are read today.
    layouts: BTreeMap<LayoutId, (ModelName, Option<RowReader>)>,
}

#[derive(Debug)]
pub(crate) struct ModelEntry {
    pub(crate) def: Arc<ModelDef>,
    /// Layout in which rows are written.
    pub(crate) layout: LayoutId,
    pub(crate) indexes: Vec<IndexEntry>,
}

/// A secondary index: declared by the schema, or made for the foreign keys of a relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub(crate) name: String,
    pub(crate) slots: Vec<Slot>,
}

impl Catalog {
    /// Builds the catalog. `layouts` are those on disk; returns also the new ones that have to be put there.
    pub(crate) fn build(
        schema: Arc<Schema>,
        stored: &BTreeMap<LayoutId, Layout>,
    ) -> Result<(Self, Vec<(LayoutId, Layout)>), StorageError> {
        let mut all = stored.clone();
        let mut fresh = Vec::new();
        let mut models = BTreeMap::new();
        for def in schema.models() {
            let layout = Layout::of(def);
            let known = all.iter().find(|(_, known)| **known == layout).map(|(id, _)| *id);
            let id = match known {
                Some(id) => id,
                None => {
                    let next = all
                        .last_key_value()
                        .map_or(Some(0), |(last, _)| last.0.checked_add(1));
                    let next = next.ok_or_else(|| {
                        StorageError::corrupt(
                            "the schema changed 65,536 times; export the data into a new store",
                        )
                    })?;
                    all.insert(LayoutId(next), layout.clone());
                    fresh.push((LayoutId(next), layout));
                    LayoutId(next)
                }
            };
            let entry = ModelEntry {
                def: Arc::clone(def),
                layout: id,
                indexes: indexes(def),
            };
            models.insert(def.name.clone(), entry);
        }
        let layouts = all
            .into_iter()
            .map(|(id, layout)| {
                let reader = schema
                    .model(&layout.model)
                    .map(|def| RowReader::new(&layout, def));
                (id, (layout.model, reader))
            })
            .collect();
        Ok((
            Self {
                schema,
                models,
                layouts,
            },
            fresh,
        ))
    }

    pub(crate) fn model(&self, name: &str) -> Result<&ModelEntry, StorageError> {
        self.models.get(name).ok_or_else(|| StorageError::UnknownModel {
            model: name.to_owned(),
            known: self
                .models
                .keys()
                .map(ModelName::as_str)
                .collect::<Vec<_>>()
                .join(", "),
        })
    }

    pub(crate) fn models(&self) -> impl Iterator<Item = &ModelEntry> {
        self.models.values()
    }

    /// How rows of a layout are read.
    pub(crate) fn reader(&self, layout: LayoutId) -> Result<&RowReader, StorageError> {
        self.layouts
            .get(&layout)
            .and_then(|(_, reader)| reader.as_ref())
            .ok_or_else(|| StorageError::corrupt(format!("a row has the unknown layout {}", layout.0)))
    }
}

/// Declared indexes, then one for the foreign keys of each belongs-to and has-one relation that no index begins with.
fn indexes(def: &ModelDef) -> Vec<IndexEntry> {
    let mut indexes: Vec<IndexEntry> = def
        .indexes
        .iter()
        .map(|index| IndexEntry {
            name: index.name.clone(),
            slots: index.fields.iter().filter_map(|field| def.slot(field)).collect(),
        })
        .collect();
    for (field, association) in def.relations() {
        let targets = match association {
            Association::BelongsTo { targets } | Association::HasOne { targets, .. } => targets,
            Association::HasMany { .. } => continue,
        };
        let slots: Vec<Slot> = targets.iter().filter_map(|target| def.slot(target)).collect();
        if !slots.is_empty() && !indexes.iter().any(|index| index.slots.starts_with(&slots)) {
            indexes.push(IndexEntry {
                name: format!("relation {}", field.name),
                slots,
            });
        }
    }
    // The other side of a has-many without a belongs-to back: its foreign keys are plain fields with an index of the
    // schema's own, made by the SDL compiler, or are scanned.
    indexes
}
