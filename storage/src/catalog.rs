//! What the store knows of models: the schema, the layouts of rows, the indexes.
//!
//! Owns [`Catalog`], rebuilt when the store is opened and immutable while it runs. Invariant: every row on disk names
//! a layout that is here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use landfall_core::{Association, FieldName, FieldType, ModelDef, ModelName, Row, Schema, Slot};

use crate::codec::row::{EncodedRow, Layout, LayoutId, RowReader, layout_of};
use crate::error::StorageError;

/// The schema with everything that reading and writing rows needs.
#[derive(Debug)]
pub(crate) struct Catalog {
    pub(crate) schema: Arc<Schema>,
    models: BTreeMap<ModelName, ModelEntry>,
    /// The store's file, for those who have to say which one is damaged; `None` where it is in none.
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug)]
pub(crate) struct ModelEntry {
    pub(crate) def: Arc<ModelDef>,
    /// Layout in which rows are written.
    pub(crate) layout: LayoutId,
    pub(crate) indexes: Vec<IndexEntry>,
    /// How rows of the model are read today, by the number of their layout; `None` where that is one of another model.
    readers: Vec<Option<RowReader>>,
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
                indexes: indexes(&schema, def),
                readers: Vec::new(),
            };
            models.insert(def.name.clone(), entry);
        }
        for (id, layout) in all {
            if let Some(model) = models.get_mut(&layout.model) {
                model.readers.resize(usize::from(id.0), None);
                model.readers.push(Some(RowReader::new(&layout, &model.def)));
            }
        }
        Ok((
            Self {
                schema,
                models,
                file: None,
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

    /// The model whose record has this key.
    pub(crate) fn model_of_key(&self, key: &[u8]) -> Result<&ModelEntry, StorageError> {
        let name = key.split(|byte| *byte == 0).next().unwrap_or_default();
        self.models
            .get(String::from_utf8_lossy(name).as_ref())
            .ok_or_else(|| {
                StorageError::corrupt(format!("a record of the unknown model `{}`", name.escape_ascii()))
            })
    }
}

impl ModelEntry {
    /// An encoded row of the model, to be read in place.
    #[inline]
    pub(crate) fn row<'a>(&'a self, bytes: &'a [u8]) -> Result<EncodedRow<'a>, StorageError> {
        let layout = layout_of(bytes)?;
        match self.readers.get(usize::from(layout.0)) {
            Some(Some(reader)) => Ok(EncodedRow { reader, bytes }),
            _ => Err(self.unknown_layout(layout)),
        }
    }

    /// The values of an encoded row, as the model has its fields today.
    pub(crate) fn decode(&self, row: &[u8]) -> Result<Row, StorageError> {
        self.row(row)?.reader.decode(row)
    }

    #[cold]
    fn unknown_layout(&self, layout: LayoutId) -> StorageError {
        StorageError::corrupt(format!(
            "a row of `{}` has the layout {}, which is not one of this model",
            self.def.name, layout.0
        ))
    }
}

/// Declared indexes, then one for the foreign keys of each relation that no index begins with, on whichever side of it
/// the model is: related records are looked for from the other side, and cascades follow has-many relations.
fn indexes(schema: &Schema, def: &ModelDef) -> Vec<IndexEntry> {
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
        add_index(&mut indexes, def, targets, || format!("relation {}", field.name));
    }
    for other in schema.models() {
        for (field, association) in other.relations() {
            let fields = match association {
                Association::HasMany { associated_with } | Association::HasOne { associated_with, .. } => {
                    associated_with
                }
                Association::BelongsTo { .. } => continue,
            };
            if matches!(&field.ty, FieldType::Model(model) if *model == def.name) {
                let name = || format!("relation {}.{}", other.name, field.name);
                add_index(&mut indexes, def, fields, name);
            }
        }
    }
    indexes
}

fn add_index(
    indexes: &mut Vec<IndexEntry>,
    def: &ModelDef,
    fields: &[FieldName],
    name: impl FnOnce() -> String,
) {
    let slots: Vec<Slot> = fields.iter().filter_map(|field| def.slot(field)).collect();
    if !slots.is_empty() && !indexes.iter().any(|index| index.slots.starts_with(&slots)) {
        indexes.push(IndexEntry { name: name(), slots });
    }
}
