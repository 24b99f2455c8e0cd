//! Handlers of conflicts that an application brings along: AppSync's `LAMBDA`.
//!
//! Owns the trait, what a handler is given and may answer, in the JSON of AppSync's payloads. Who calls a handler, and
//! when again, is in `service/asking.rs`; the HTTP client is in `webhook.rs`.
//!
//! Invariant: a handler's answer never sets a key or sync metadata.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use landfall_core::ModelName;
use serde::Serialize;
use serde_json::{Map, Value as Json};

/// Decides what becomes of a write whose version is not the stored one, as AppSync's Lambda handlers do.
///
/// A handler is called outside the transaction, so it may take its time. If the record changed meanwhile it is asked
/// again with the newer one, a few times; then the mutation is answered with `MaxConflicts`.
///
/// ```
/// use landfall_backend::{ConflictCall, ConflictHandler, HandlerFailed, Resolution};
///
/// /// The higher rating wins.
/// struct HighestRating;
///
/// impl ConflictHandler for HighestRating {
///     fn resolve(&self, call: &ConflictCall) -> Result<Resolution, HandlerFailed> {
///         let rating = |item: &serde_json::Map<String, serde_json::Value>| item.get("rating").and_then(|r| r.as_i64());
///         Ok(if rating(&call.new_item) > rating(&call.existing_item) {
///             Resolution::Resolve(call.new_item.clone())
///         } else {
///             Resolution::Reject
///         })
///     }
/// }
/// ```
pub trait ConflictHandler: Send + Sync {
    /// Decides one conflict.
    ///
    /// # Errors
    /// [`HandlerFailed`] if it cannot decide; the mutation is answered with `ConflictError` and nothing is written.
    fn resolve(&self, call: &ConflictCall) -> Result<Resolution, HandlerFailed>;
}

/// What a handler is given; serialized, it is the event of AppSync's Lambda handlers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ConflictCall {
    /// The record as the write would make it if its version were right, with the metadata that it would get.
    pub new_item: Map<String, Json>,
    /// The record as it is stored, with its metadata; `_deleted` is true on a tombstone.
    pub existing_item: Map<String, Json>,
    /// Arguments of the mutation.
    pub arguments: Map<String, Json>,
    /// The field that is being resolved.
    pub resolver: ConflictResolver,
    /// Who called, where the authorization mode tells; null for API keys.
    pub identity: Option<Json>,
}

/// The field whose resolver met a conflict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ConflictResolver {
    /// Name of the base table; made up, as there is no DynamoDB.
    pub table_name: String,
    /// Made up as well.
    pub aws_region: String,
    /// `Mutation`.
    pub parent_type: String,
    /// Such as `updatePost`.
    pub field: String,
}

/// What a handler decides.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolution {
    /// `RESOLVE`: this is the record now. Its key and metadata are ignored; attributes that it lacks are gone.
    Resolve(Map<String, Json>),
    /// `REJECT`: the mutation is answered with `ConflictUnhandled`.
    Reject,
    /// `REMOVE`: the record is deleted.
    Remove,
}

/// A handler that could not decide; the text is told to the caller of the mutation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HandlerFailed(String);

impl HandlerFailed {
    /// A failure with its reason, which clients see: leave secrets out.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// The handlers of a backend: one for all models, and those of single models.
#[derive(Clone, Default)]
pub struct ConflictHandlers {
    all: Option<Arc<dyn ConflictHandler>>,
    models: BTreeMap<ModelName, Arc<dyn ConflictHandler>>,
}

impl ConflictHandlers {
    /// One handler for all models.
    pub fn for_all(handler: impl ConflictHandler + 'static) -> Self {
        Self {
            all: Some(Arc::new(handler)),
            models: BTreeMap::new(),
        }
    }

    /// The same, with a handler of its own for a model.
    #[must_use]
    pub fn with_model(
        mut self,
        model: impl Into<ModelName>,
        handler: impl ConflictHandler + 'static,
    ) -> Self {
        self.models.insert(model.into(), Arc::new(handler));
        self
    }

    /// The handler of a model.
    pub(crate) fn of(&self, model: &ModelName) -> Option<&dyn ConflictHandler> {
        self.models.get(model).or(self.all.as_ref()).map(AsRef::as_ref)
    }
}

impl fmt::Debug for ConflictHandlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConflictHandlers")
            .field("all", &self.all.is_some())
            .field("models", &self.models.keys().collect::<Vec<_>>())
            .finish()
    }
}

impl Resolution {
    /// Reads the answer of a Lambda handler: `{"action": "RESOLVE", "item": {...}}`, `REJECT` or `REMOVE`.
    ///
    /// # Errors
    /// [`HandlerFailed`] if it is anything else.
    pub fn from_json(answer: &[u8]) -> Result<Self, HandlerFailed> {
        let answer: Json = serde_json::from_slice(answer)
            .map_err(|_| HandlerFailed::new("the conflict handler did not answer with JSON"))?;
        match answer.get("action").and_then(Json::as_str) {
            Some("RESOLVE") => match answer.get("item") {
                Some(Json::Object(item)) => Ok(Self::Resolve(item.clone())),
                _ => Err(HandlerFailed::new(
                    "the conflict handler answered RESOLVE without an item",
                )),
            },
            Some("REJECT") => Ok(Self::Reject),
            Some("REMOVE") => Ok(Self::Remove),
            _ => Err(HandlerFailed::new(
                "the conflict handler answered no action of RESOLVE, REJECT and REMOVE",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_are_read_as_appsync_reads_them() {
        let read = |answer: Json| Resolution::from_json(answer.to_string().as_bytes());
        let item = json!({"title": "t"}).as_object().unwrap().clone();
        assert_eq!(
            read(json!({"action": "RESOLVE", "item": item})),
            Ok(Resolution::Resolve(item))
        );
        assert_eq!(read(json!({"action": "REJECT"})), Ok(Resolution::Reject));
        assert_eq!(
            read(json!({"action": "REMOVE", "item": null})),
            Ok(Resolution::Remove)
        );
        for bad in [
            json!({"action": "RESOLVE"}),
            json!({"action": "resolve"}),
            json!({}),
            json!(null),
            json!([1]),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
        assert!(Resolution::from_json(b"nope").is_err());
    }

    #[test]
    fn a_call_is_the_event_of_a_lambda_handler() {
        let call = ConflictCall {
            new_item: json!({"id": "p", "_version": 3}).as_object().unwrap().clone(),
            existing_item: Map::new(),
            arguments: Map::new(),
            resolver: ConflictResolver {
                table_name: "Post-landfall-local".to_owned(),
                aws_region: "local".to_owned(),
                parent_type: "Mutation".to_owned(),
                field: "updatePost".to_owned(),
            },
            identity: None,
        };
        assert_eq!(
            serde_json::to_value(&call).unwrap(),
            json!({
                "newItem": {"id": "p", "_version": 3}, "existingItem": {}, "arguments": {}, "identity": null,
                "resolver": {"tableName": "Post-landfall-local", "awsRegion": "local", "parentType": "Mutation",
                    "field": "updatePost"}
            })
        );
    }
}
