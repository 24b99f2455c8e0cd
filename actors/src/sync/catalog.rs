//! What is synced: the document, filter and reader of every model, made once for a run.
//!
//! Owns requests for pages and what their answers say. Pure; sends nothing.
//!
//! A server's filter may let more through than the sync expression says, so each record is tested again. A tombstone
//! passes always, since what is deleted must go wherever it is; so does a record that lacks a field which the
//! expression asks for: the server had that field when it filtered.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value as Json;

use landfall_core::{
    BoundPredicate, FieldMap, FieldSource, ModelDef, ModelName, Predicate, RemoteRecord, Schema, Slot, Value,
    ValueRef,
};
use landfall_wire::{
    Failure, HttpRequest, HttpResponse, ModelDocuments, RecordReader, SyncArguments, SyncPage, WireError,
    read_sync_page, sync_filter,
};

use super::model::{Question, Subject};
use super::trouble::Unfit;
use crate::config::SyncSettings;
use crate::handlers::ErrorKind;

/// Every model that can be synced.
#[derive(Debug)]
pub(super) struct Catalog {
    models: BTreeMap<ModelName, Listed>,
}

struct Listed {
    reader: RecordReader,
    documents: ModelDocuments,
    filter: Option<Json>,
    expression: Option<BoundPredicate>,
}

impl Catalog {
    /// The catalog of a schema, and what is to be synced in which order: levels of models, parents first.
    pub(super) fn new(schema: &Arc<Schema>, settings: &SyncSettings) -> (Self, Vec<Vec<Subject>>) {
        let mut catalog = Self {
            models: BTreeMap::new(),
        };
        let levels = schema.topological_levels().iter();
        let subjects = levels.map(|level| {
            level
                .iter()
                .map(|model| catalog.list(schema, settings, model))
                .collect()
        });
        let subjects = subjects.collect();
        (catalog, subjects)
    }

    fn list(&mut self, schema: &Arc<Schema>, settings: &SyncSettings, model: &ModelName) -> Subject {
        // Everything needs no filter, and is no other sync than one without an expression.
        let expression = settings
            .expressions
            .get(model)
            .filter(|expression| **expression != Predicate::All);
        let unfit = match Listed::new(schema, model, expression) {
            Ok(listed) => {
                self.models.insert(model.clone(), listed);
                None
            }
            Err(unfit) => Some(unfit),
        };
        let text = |expression| serde_json::to_string(expression).expect("a predicate has text keys only");
        Subject {
            model: model.clone(),
            expression: expression.map(text),
            unfit,
        }
    }

    /// The request for a page; `None` for a model that cannot be synced.
    pub(super) fn request(&self, question: &Question) -> Option<HttpRequest> {
        let listed = self.models.get(&question.model)?;
        let arguments = SyncArguments {
            filter: listed.filter.as_ref(),
            limit: question.limit,
            next_token: question.token.as_deref(),
            last_sync_ms: question.last_sync_ms,
        };
        Some(listed.documents.sync.request(&arguments.to_variables()))
    }

    /// Reads the answer to [`request`](Self::request); records that the expression does not select are left out.
    pub(super) fn read(&self, model: &ModelName, response: &HttpResponse) -> Result<SyncPage, Box<Failure>> {
        let listed = self
            .models
            .get(model)
            .expect("only what was asked for is answered");
        let mut page = read_sync_page(&listed.reader, &listed.documents.sync, response)?;
        if let Some(expression) = &listed.expression {
            page.items
                .retain(|record| admits(expression, listed.reader.def(), record));
        }
        Ok(page)
    }
}

impl Listed {
    fn new(schema: &Arc<Schema>, model: &ModelName, expression: Option<&Predicate>) -> Result<Self, Unfit> {
        let bad_model = |error: WireError| Unfit {
            kind: ErrorKind::BadModel,
            reason: error.to_string(),
        };
        let documents = ModelDocuments::build(schema, model).map_err(bad_model)?;
        let reader = RecordReader::new(schema, model).map_err(bad_model)?;
        let bound = expression
            .map(|expression| expression.bind(reader.def()))
            .transpose();
        Ok(Self {
            filter: expression.and_then(|expression| sync_filter(reader.def(), expression)),
            expression: bound.map_err(|error| Unfit {
                kind: ErrorKind::ConfigError,
                reason: format!("the sync expression is wrong: {error}"),
            })?,
            documents,
            reader,
        })
    }
}

impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listed({})", self.reader.def().name)
    }
}

fn admits(expression: &BoundPredicate, def: &ModelDef, record: &RemoteRecord) -> bool {
    let fields = Fields {
        def,
        fields: &record.fields,
        missed: Cell::new(false),
    };
    record.sync.deleted || expression.matches(&fields) || fields.missed.get()
}

/// The fields of a record as an expression reads them, and whether it looked for one that is not there.
struct Fields<'a> {
    def: &'a ModelDef,
    fields: &'a FieldMap,
    missed: Cell<bool>,
}

impl FieldSource for Fields<'_> {
    fn value_at(&self, slot: Slot) -> ValueRef<'_> {
        match self.fields.get(&self.def.stored_field(slot).name) {
            Some(value) => Value::as_ref(value),
            None => {
                self.missed.set(true);
                ValueRef::Null
            }
        }
    }
}

#[cfg(test)]
mod tests;
