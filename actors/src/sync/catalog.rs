//! What is synced: the document, filter and reader of every model, made once for a run.
//!
//! Owns requests for pages and single records, and what their answers say. Pure; sends nothing.
//!
//! A server's filter may let more through than the sync expression says, so each record is tested again (`scope.rs`).
//! A record that lacks a field which the expression asks for is taken: the server had that field when it filtered.
//!
//! A delta sync asks without the filter: with it the server would not mention a record that no longer satisfies the
//! expression, which would then stay here for good. How much that can be is bounded by how far back a delta sync goes
//! for such a model (`landfall_core::SyncAges`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value as Json;

use landfall_core::{BoundPredicate, ModelName, Predicate, RecordId, RemoteRecord, Schema};
use landfall_wire::{
    Failure, GetReply, HttpRequest, HttpResponse, ModelDocuments, RecordReader, SyncArguments, SyncPage,
    WireError, get_variables, read_get, read_sync_page, sync_filter,
};

use super::doubts::Found;
use super::model::{Question, Subject};
use super::trouble::Unfit;
use crate::config::{Listen, SyncSettings};
use crate::handlers::ErrorKind;
use crate::scope::{Coverage, Scope};

/// Every model that can be synced.
#[derive(Debug)]
pub(super) struct Catalog {
    schema: Arc<Schema>,
    models: BTreeMap<ModelName, Listed>,
}

struct Listed {
    reader: RecordReader,
    documents: ModelDocuments,
    filter: Option<Json>,
    scope: Scope,
}

/// What a page holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    /// The page without the records that the expression does not select.
    pub(super) page: SyncPage,
    /// Those records.
    pub(super) outside: Vec<RemoteRecord>,
}

impl Catalog {
    /// The catalog of a schema, and what is to be synced in which order: levels of models, parents first. What is only
    /// pushed is not asked for.
    pub(super) fn new(schema: &Arc<Schema>, settings: &SyncSettings) -> (Self, Vec<Vec<Subject>>) {
        let mut catalog = Self {
            schema: Arc::clone(schema),
            models: BTreeMap::new(),
        };
        let is_pulled = |model: &&ModelName| schema.model(model).is_some_and(|def| def.sync.pulls());
        let mut subjects = Vec::new();
        for level in schema.topological_levels() {
            let pulled = level.iter().filter(is_pulled);
            let level: Vec<_> = pulled
                .map(|model| catalog.list(schema, settings, model))
                .collect();
            if !level.is_empty() {
                subjects.push(level);
            }
        }
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
            poll: settings.listening.get(model).and_then(Listen::poll_interval),
            unfit,
        }
    }

    /// These models in the order of the schema, in which Amplify names them, and not in that in which they are synced.
    pub(super) fn in_order_of_schema(&self, models: &[ModelName]) -> Vec<ModelName> {
        let all = self.schema.models().map(|def| &def.name);
        all.filter(|name| models.contains(name)).cloned().collect()
    }

    /// The request for a page; `None` for a model that cannot be synced.
    pub(super) fn request(&self, question: &Question) -> Option<HttpRequest> {
        let listed = self.models.get(&question.model)?;
        let arguments = SyncArguments {
            filter: listed.filter.as_ref().filter(|_| question.last_sync_ms.is_none()),
            limit: question.limit,
            next_token: question.token.as_deref(),
            last_sync_ms: question.last_sync_ms,
        };
        Some(listed.documents.sync.request(&arguments.to_variables()))
    }

    /// Reads the answer to [`request`](Self::request).
    pub(super) fn read(&self, model: &ModelName, response: &HttpResponse) -> Result<Answer, Box<Failure>> {
        let listed = self.listed(model);
        let mut page = read_sync_page(&listed.reader, &listed.documents.sync, response)?;
        let is_outside =
            |record: &RemoteRecord| listed.scope.coverage(listed.reader.def(), record) == Coverage::Outside;
        let (outside, items) = std::mem::take(&mut page.items).into_iter().partition(is_outside);
        page.items = items;
        Ok(Answer { page, outside })
    }

    /// The sync expression of a model; `None` if everything of it syncs.
    pub(super) fn expression(&self, model: &ModelName) -> Option<&BoundPredicate> {
        self.models.get(model)?.scope.expression()
    }

    /// The request for one record; `None` for a model that cannot be synced.
    pub(super) fn inquiry(&self, model: &ModelName, id: &RecordId) -> Option<HttpRequest> {
        let listed = self.models.get(model)?;
        let variables = get_variables(&self.schema, listed.reader.def(), id);
        Some(listed.documents.get.request(&variables))
    }

    /// Reads the answer to [`inquiry`](Self::inquiry).
    pub(super) fn read_inquiry(
        &self,
        model: &ModelName,
        response: &HttpResponse,
    ) -> Result<Found, Box<Failure>> {
        let listed = self.listed(model);
        Ok(match read_get(&listed.reader, &listed.documents.get, response)? {
            GetReply::Found(record)
                if listed.scope.coverage(listed.reader.def(), &record) == Coverage::Outside =>
            {
                Found::Outside(record)
            }
            GetReply::Found(record) => Found::Record(record),
            GetReply::Missing => Found::Nothing,
            GetReply::Unreadable(_) => Found::Unreadable,
        })
    }

    fn listed(&self, model: &ModelName) -> &Listed {
        let listed = self.models.get(model);
        listed.expect("only what was asked for is answered")
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
        let scope = Scope::new(reader.def(), expression).map_err(|error| Unfit {
            kind: ErrorKind::ConfigError,
            reason: format!("the sync expression is wrong: {error}"),
        })?;
        Ok(Self {
            filter: expression.and_then(|expression| sync_filter(reader.def(), expression)),
            scope,
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

#[cfg(test)]
mod tests;
