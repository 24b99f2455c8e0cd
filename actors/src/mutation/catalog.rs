//! How mutations travel: the documents and reader of every model, made once for a run.
//!
//! Owns requests and what their answers say. Pure; sends nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use landfall_core::{ModelName, Mutation, RecordId, RemoteRecord, Schema, SyncMetadata};
use landfall_wire::{
    BadRecord, BadRecordFault, BatchReply, Failure, GetReply, HttpRequest, HttpResponse, ModelDocuments,
    MutationReply, RecordReader, Variables, WireError, batch_request, get_variables, mutation_variables,
    read_batch, read_get, read_mutation,
};

use super::verdict::Fetched;
use crate::config::SyncSettings;
use crate::handlers::ErrorKind;
use crate::scope::{Coverage, Scope};
use crate::storage::Settlement;

/// Every model whose records can be sent.
#[derive(Debug)]
pub(super) struct Catalog {
    schema: Arc<Schema>,
    models: BTreeMap<ModelName, Result<Listed, Unsendable>>,
    /// Models with a sync expression.
    scopes: BTreeMap<ModelName, Scope>,
}

struct Listed {
    reader: RecordReader,
    documents: ModelDocuments,
}

/// Why a mutation cannot be put on the wire.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unsendable {
    pub(super) kind: ErrorKind,
    pub(super) reason: String,
}

impl Catalog {
    /// The models of a schema that the server has, whichever way their changes travel now: what waits from before is sent.
    pub(super) fn new(schema: &Arc<Schema>, settings: &SyncSettings) -> Self {
        let on_server = schema.models().filter(|def| def.on_server);
        let models = on_server
            .map(|def| (def.name.clone(), Listed::new(schema, &def.name)))
            .collect();
        let scopes = settings.expressions.iter().filter_map(|(model, expression)| {
            // Sync tells the app of an expression that does not fit.
            let scope = Scope::new(schema.model(model)?, Some(expression)).ok()?;
            Some((model.clone(), scope))
        });
        Self {
            schema: Arc::clone(schema),
            models,
            scopes: scopes.collect(),
        }
    }

    fn listed(&self, model: &ModelName) -> Result<&Listed, Unsendable> {
        match self.models.get(model) {
            Some(Ok(listed)) => Ok(listed),
            Some(Err(unsendable)) => Err(unsendable.clone()),
            None => Err(Unsendable {
                kind: ErrorKind::BadModel,
                reason: format!(
                    "`{model}` is not synced by this schema; discard the change, or bring the model back"
                ),
            }),
        }
    }

    /// Whether the server's record that comes with a settlement is one of those that sync. `model` is asked only if
    /// that depends on it.
    pub(super) fn covers(&self, settlement: &Settlement, model: impl FnOnce() -> Option<ModelName>) -> bool {
        let (Settlement::Acknowledged(remote) | Settlement::Conflict { remote, .. }) = settlement else {
            return true;
        };
        if self.scopes.is_empty() {
            return true;
        }
        let model = model();
        let scope = model.as_ref().and_then(|model| self.scopes.get(model));
        let def = model.as_ref().and_then(|model| self.schema.model(model));
        scope
            .zip(def)
            .is_none_or(|(scope, def)| scope.coverage(def, remote) != Coverage::Outside)
    }

    /// The request that sends a mutation.
    pub(super) fn request(&self, mutation: &Mutation) -> Result<HttpRequest, Unsendable> {
        let variables = self.variables(mutation)?;
        let listed = self.listed(mutation.model())?;
        Ok(listed.documents.mutation(mutation.kind).request(&variables))
    }

    /// What goes along with a mutation's document.
    pub(super) fn variables(&self, mutation: &Mutation) -> Result<Variables, Unsendable> {
        let listed = self.listed(mutation.model())?;
        mutation_variables(&self.schema, listed.reader.def(), mutation).map_err(|error| Unsendable {
            kind: ErrorKind::BadRecord,
            reason: error.to_string(),
        })
    }

    /// The request that sends several mutations of the model and kind of `first`.
    pub(super) fn batch_request(
        &self,
        first: &Mutation,
        variables: Vec<Variables>,
    ) -> Result<HttpRequest, Unsendable> {
        let listed = self.listed(first.model())?;
        Ok(batch_request(&listed.documents, first.kind, variables))
    }

    /// Reads the answer to [`batch_request`](Self::batch_request).
    ///
    /// # Panics
    /// If there are no mutations: nobody asked then.
    pub(super) fn read_batch(&self, mutations: &[Mutation], response: &HttpResponse) -> BatchReply {
        let first = mutations.first().expect("a request holds at least one mutation");
        match read_batch(&self.asked(first).reader, mutations.len(), response) {
            BatchReply::Each(replies) => BatchReply::Each(
                mutations
                    .iter()
                    .zip(replies)
                    .map(|(mutation, reply)| of_asked(mutation, reply))
                    .collect(),
            ),
            refused @ BatchReply::Refused(_) => refused,
        }
    }

    /// The request for a mutation's record.
    pub(super) fn get_request(&self, mutation: &Mutation) -> Result<HttpRequest, Unsendable> {
        let listed = self.listed(mutation.model())?;
        let variables = get_variables(&self.schema, listed.reader.def(), &mutation.key.id);
        Ok(listed.documents.get.request(&variables))
    }

    /// Reads the answer to [`request`](Self::request).
    pub(super) fn read(&self, mutation: &Mutation, response: &HttpResponse) -> MutationReply {
        let listed = self.asked(mutation);
        let reply = read_mutation(&listed.reader, listed.documents.mutation(mutation.kind), response);
        of_asked(mutation, reply)
    }

    /// Reads the answer to [`get_request`](Self::get_request); `known` is the newest that the store knows of the record.
    pub(super) fn read_get(
        &self,
        mutation: &Mutation,
        known: Option<SyncMetadata>,
        response: &HttpResponse,
    ) -> Result<Fetched, Box<Failure>> {
        let listed = self.asked(mutation);
        Ok(match read_get(&listed.reader, &listed.documents.get, response)? {
            GetReply::Found(remote) if remote.id != mutation.key.id => {
                Fetched::Unreadable(another_record(remote.id))
            }
            GetReply::Found(remote) => Fetched::Found(remote),
            GetReply::Missing => Fetched::Missing { known },
            GetReply::Unreadable(bad) => Fetched::Unreadable(bad),
        })
    }

    fn asked(&self, mutation: &Mutation) -> &Listed {
        self.listed(mutation.model())
            .expect("only what was asked for is answered")
    }
}

/// A reply, unless it is about another record than was asked for: then nothing but the success is believed of it.
fn of_asked(mutation: &Mutation, reply: MutationReply) -> MutationReply {
    let is_other = |remote: &RemoteRecord| remote.id != mutation.key.id;
    match reply {
        MutationReply::Applied(remote) if is_other(&remote) => {
            MutationReply::Unreadable(another_record(remote.id))
        }
        MutationReply::Conflict { server, failure } => MutationReply::Conflict {
            server: server.filter(|remote| !is_other(remote)),
            failure,
        },
        MutationReply::ConditionFailed { server, failure } => MutationReply::ConditionFailed {
            server: server.filter(|remote| !is_other(remote)),
            failure,
        },
        reply @ (MutationReply::Applied(_)
        | MutationReply::Unreadable(_)
        | MutationReply::Crowded(_)
        | MutationReply::Failed(_)) => reply,
    }
}

fn another_record(id: RecordId) -> Box<BadRecord> {
    Box::new(BadRecord {
        reason: format!("the answer is about `{id}`, which was not asked for"),
        id: Some(id),
        fault: BadRecordFault::Malformed,
        path: String::new(),
        json: String::new(),
    })
}

impl Listed {
    fn new(schema: &Arc<Schema>, model: &ModelName) -> Result<Self, Unsendable> {
        let bad_model = |error: WireError| Unsendable {
            kind: ErrorKind::BadModel,
            reason: error.to_string(),
        };
        Ok(Self {
            reader: RecordReader::new(schema, model).map_err(bad_model)?,
            documents: ModelDocuments::build(schema, model).map_err(bad_model)?,
        })
    }
}

impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listed({})", self.reader.def().name)
    }
}
