//! What is subscribed, and what a delivered payload says.
//!
//! Owns the documents, filters and readers of every synced model, made once for a run. Pure; knows of no connection.
//!
//! A server's filter only saves traffic: each record is tested again here, against the whole expression (`scope.rs`).
//! Updates are by default subscribed without it, since the server would keep quiet about those that lead out of the
//! expression.

use std::fmt;
use std::sync::Arc;

use serde_json::Value as Json;

use landfall_core::{ModelDef, ModelName, MutationKind, Quarantined, RecordId, RemoteRecord, Schema};
use landfall_wire::{
    Access, BadRecord, BadRecordFault, GetReply, HttpRequest, HttpResponse, ModelDocuments, RecordReader,
    SUBSCRIPTIONS_MAX, Subject, SubscriptionData, SubscriptionKind, get_variables, owner_argument, read_get,
    read_subscription, subscription_filter, subscription_variables,
};

use crate::config::{Leaving, Listen, SyncSettings};
use crate::handlers::ErrorKind;
use crate::scope::{Coverage, Scope};

/// Subscriptions of one model.
pub(super) const FEEDS_PER_MODEL: usize = SubscriptionKind::ALL.len();

/// Models that share a connection, so that none has more subscriptions than the server allows.
pub(super) const MODELS_PER_LINE_MAX: usize = SUBSCRIPTIONS_MAX / FEEDS_PER_MODEL;

/// Position of a model in the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ModelIndex(usize);

/// One subscription: a model and a kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Feed {
    pub(super) model: ModelIndex,
    pub(super) kind: SubscriptionKind,
}

/// Everything that is subscribed in a run.
#[derive(Debug)]
pub(super) struct Catalog {
    schema: Arc<Schema>,
    models: Vec<Listed>,
    unfit: Vec<Unfit>,
    leaving: Leaving,
}

/// A model that cannot be subscribed; known before anything is sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unfit {
    pub(super) model: ModelName,
    pub(super) kind: ErrorKind,
    pub(super) reason: String,
}

struct Listed {
    reader: RecordReader,
    documents: ModelDocuments,
    filter: Option<Json>,
    /// The argument that names the owner, with its value.
    owner: Option<(String, String)>,
    scope: Scope,
}

/// What is to be stored.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    /// A record.
    Record(RemoteRecord),
    /// A record that is not among those that sync.
    Outside(RemoteRecord),
    /// A record that cannot be read.
    Bad(Quarantined),
}

/// What a payload comes to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reading {
    /// Store it.
    Apply(Item),
    /// Nothing can be made of it, and nothing is missed.
    Nothing,
    /// The record is not all there: ask for it.
    Incomplete(RecordId),
    /// Something changed that nobody can put a name to: only a sync will tell.
    Unknown,
}

impl Catalog {
    /// The models of a schema that are pulled, in its order.
    pub(super) fn new(schema: &Arc<Schema>, settings: &SyncSettings) -> Self {
        let mut catalog = Self {
            schema: Arc::clone(schema),
            models: Vec::new(),
            unfit: Vec::new(),
            leaving: settings.leaving,
        };
        let is_live = |def: &&Arc<ModelDef>| {
            let listening = settings.listening.get(&def.name).copied().unwrap_or_default();
            def.sync.pulls() && listening == Listen::Live
        };
        for def in schema.models().filter(is_live) {
            match Listed::new(schema, def, settings) {
                Ok(listed) => catalog.models.push(listed),
                Err(unfit) => catalog.unfit.push(unfit),
            }
        }
        catalog
    }

    /// Models that cannot be subscribed.
    pub(super) fn unfit(&self) -> &[Unfit] {
        &self.unfit
    }

    /// Number of models that are subscribed.
    pub(super) fn models_len(&self) -> usize {
        self.models.len()
    }

    /// The subscriptions of each connection, in the order in which they are started.
    pub(super) fn lines(&self) -> Vec<Vec<Feed>> {
        let models: Vec<ModelIndex> = (0..self.models.len()).map(ModelIndex).collect();
        let feeds = |models: &[ModelIndex]| {
            let of_model =
                |model: &ModelIndex| SubscriptionKind::ALL.map(|kind| Feed { model: *model, kind });
            models.iter().flat_map(of_model).collect()
        };
        models.chunks(MODELS_PER_LINE_MAX).map(feeds).collect()
    }

    /// What a subscription is about, for the choice of credentials.
    pub(super) fn subject(&self, feed: Feed) -> Subject {
        Subject {
            model: self.model(feed.model).clone(),
            access: Access::Listen,
        }
    }

    /// The model of that position.
    pub(super) fn model(&self, model: ModelIndex) -> &ModelName {
        &self.models[model.0].reader.def().name
    }

    /// Whether the server is asked to filter.
    pub(super) fn has_filter(&self, feed: Feed) -> bool {
        let may_lead_out = feed.kind == SubscriptionKind::Update && self.leaving == Leaving::AtOnce;
        self.models[feed.model.0].filter.is_some() && !may_lead_out
    }

    /// The text of a `start`, with the server's filter if there is one and it is `wanted`.
    pub(super) fn start_data(&self, feed: Feed, wanted: Filter) -> String {
        let listed = &self.models[feed.model.0];
        let owner = listed.owner.as_ref();
        let owner = owner.map(|(argument, owner)| (argument.as_str(), owner.as_str()));
        let (document, filter) = match (&listed.filter, wanted) {
            (filter @ Some(_), Filter::AtServer) if self.has_filter(feed) => {
                (listed.documents.filtered_subscription(feed.kind), filter.as_ref())
            }
            _ => (listed.documents.subscription(feed.kind), None),
        };
        document.start_data(&subscription_variables(filter, owner))
    }

    /// Reads the payload of a `data` frame.
    pub(super) fn read_data(&self, feed: Feed, payload: &str) -> Reading {
        let listed = &self.models[feed.model.0];
        let unheard = match feed.kind {
            SubscriptionKind::Create => "create-messages-ignored",
            SubscriptionKind::Update => "update-messages-ignored",
            SubscriptionKind::Delete => "delete-messages-ignored",
        };
        if landfall_core::planted(unheard) {
            return Reading::Nothing;
        }
        match read_subscription(&listed.reader, listed.documents.subscription(feed.kind), payload) {
            SubscriptionData::Record(record) => listed.admit(record),
            SubscriptionData::Bad(bad) => match (bad.fault, &bad.id) {
                (BadRecordFault::Incomplete, Some(id)) => Reading::Incomplete(id.clone()),
                (BadRecordFault::Malformed, Some(_)) => listed.quarantine(*bad),
                // Without an identifier it may be any record, and some of it may be readable in another form.
                (_, None) | (BadRecordFault::Withheld, _) => Reading::Unknown,
            },
            SubscriptionData::Withheld(_) => Reading::Unknown,
        }
    }

    /// A request for one record.
    pub(super) fn get(&self, model: ModelIndex, id: &RecordId) -> HttpRequest {
        let listed = &self.models[model.0];
        listed
            .documents
            .get
            .request(&get_variables(&self.schema, listed.reader.def(), id))
    }

    /// Reads the answer to [`get`](Self::get).
    pub(super) fn read_get(&self, model: ModelIndex, response: &HttpResponse) -> Reading {
        let listed = &self.models[model.0];
        match read_get(&listed.reader, &listed.documents.get, response) {
            Ok(GetReply::Found(record)) => match listed.admit(record) {
                // A field that the server does not show even when asked for leaves it open whether the record syncs.
                Reading::Incomplete(_) => Reading::Nothing,
                reading => reading,
            },
            // Gone without a tombstone; only a full sync finds that out.
            Ok(GetReply::Missing) => Reading::Nothing,
            Ok(GetReply::Unreadable(bad)) => listed.quarantine(*bad),
            Err(_) => Reading::Unknown,
        }
    }
}

/// Who filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// The server, and the receiver again.
    AtServer,
    /// The receiver alone.
    AtReceiver,
}

impl Listed {
    fn new(schema: &Arc<Schema>, def: &Arc<ModelDef>, settings: &SyncSettings) -> Result<Self, Unfit> {
        let unfit = |kind, reason: &dyn fmt::Display| Unfit {
            model: def.name.clone(),
            kind,
            reason: reason.to_string(),
        };
        let bad_model = |error: landfall_wire::WireError| unfit(ErrorKind::BadModel, &error);
        let owner = settings
            .owner
            .clone()
            .and_then(|owner| Some((owner_argument(def)?.to_owned(), owner)));
        let argument = owner.as_ref().map(|(argument, _)| argument.as_str());
        let documents = ModelDocuments::build_for_owner(schema, &def.name, argument).map_err(bad_model)?;
        let reader = RecordReader::new(schema, &def.name).map_err(bad_model)?;
        let expression = settings.expressions.get(&def.name);
        let scope = Scope::new(def, expression).map_err(|error| unfit(ErrorKind::ConfigError, &error))?;
        Ok(Self {
            reader,
            documents,
            owner,
            filter: expression.and_then(|expression| subscription_filter(def, expression)),
            scope,
        })
    }

    /// Whether a record is one of those that sync.
    fn admit(&self, record: RemoteRecord) -> Reading {
        match self.scope.coverage(self.reader.def(), &record) {
            Coverage::Covered => Reading::Apply(Item::Record(record)),
            Coverage::Outside => Reading::Apply(Item::Outside(record)),
            Coverage::Open => Reading::Incomplete(record.id),
        }
    }

    fn quarantine(&self, bad: BadRecord) -> Reading {
        let reason = bad.to_string();
        Reading::Apply(Item::Bad(Quarantined {
            model: self.reader.def().name.clone(),
            reason,
            json: bad.json,
        }))
    }
}

impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listed({})", self.reader.def().name)
    }
}

/// What a subscription is about, in the words of mutations.
pub(super) fn operation(kind: SubscriptionKind) -> MutationKind {
    match kind {
        SubscriptionKind::Create => MutationKind::Create,
        SubscriptionKind::Update => MutationKind::Update,
        SubscriptionKind::Delete => MutationKind::Delete,
    }
}

#[cfg(test)]
mod tests;
