//! Answers to the documents of a model, as values.
//!
//! Owns what each answer says about which record: pages of a sync, replies to mutations, single records, subscription
//! data. Does not decide what becomes of them.
//!
//! Invariants: 1. an item that cannot be read never takes its page with it; 2. an error below a record's field makes
//! the field missing, not null; 3. a page with an error that cannot be put down to one of its items is no page, since
//! nobody knows what it lacks.

use std::collections::BTreeMap;

use graphql_client::PathFragment;
use landfall_core::{RemoteRecord, Value};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::document::Document;
use crate::failure::{Failure, FailureClass};
use crate::record::{BadRecord, BadRecordFault, RecordReader, whole_number};
use crate::response::{Answer, parse_answer, read_answer, refusal};
use crate::server_error::ServerError;
use crate::transport::HttpResponse;

/// One page of a sync query.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncPage {
    /// The records, in the server's order; a delta sync may name one several times.
    pub items: Vec<RemoteRecord>,
    /// The items that could not be read; their number is bounded by that of the page's items.
    pub bad: Vec<BadRecord>,
    /// The errors that came with the page, all of them about some of its items.
    pub errors: Vec<ServerError>,
    /// Token of the next page; `None` on the last.
    pub next_token: Option<String>,
    /// The server's time when the first page was made, in milliseconds; what the next sync sends as `lastSync`.
    pub started_at_ms: Option<i64>,
}

/// The reply to a mutation.
#[derive(Clone, Debug, PartialEq)]
pub enum MutationReply {
    /// It was applied; this is the server's record now.
    Applied(RemoteRecord),
    /// It was applied, but the record that came back cannot be read; ask for it.
    Unreadable(Box<BadRecord>),
    /// The server's record has another version.
    Conflict {
        /// The server's record, if it came whole; else ask for it.
        server: Option<RemoteRecord>,
        /// What the server says.
        failure: Failure,
    },
    /// The condition does not hold, or the record exists already, or not at all.
    ConditionFailed {
        /// The server's record, if it came along; data sources with conflict detection send none.
        server: Option<RemoteRecord>,
        /// What the server says.
        failure: Failure,
    },
    /// Others shared its request, and together they were more than the server does at once; alone it may go through.
    /// Whether it was applied is said by [`Failure::delivery`].
    Crowded(Failure),
    /// It failed for another reason; its class is neither conflict nor failed condition.
    Failed(Failure),
}

/// The reply to a query for one record.
#[derive(Clone, Debug, PartialEq)]
pub enum GetReply {
    /// The record, perhaps a tombstone.
    Found(RemoteRecord),
    /// The server has no such record, nor a tombstone of it.
    Missing,
    /// The server's record cannot be read.
    Unreadable(Box<BadRecord>),
}

/// What a subscription delivered.
#[derive(Clone, Debug, PartialEq)]
pub enum SubscriptionData {
    /// The record after the change.
    Record(RemoteRecord),
    /// The record cannot be read, or is incomplete; ask for it by its identifier, or else sync the model.
    Bad(Box<BadRecord>),
    /// Something changed, but the server withheld it; sync the model.
    Withheld(Vec<ServerError>),
}

#[derive(Deserialize)]
struct PageBody<'a> {
    #[serde(borrow)]
    items: Vec<Option<&'a RawValue>>,
    #[serde(rename = "nextToken", default)]
    next_token: Option<String>,
    #[serde(rename = "startedAt", default)]
    started_at: Value,
}

/// Reads a page of a sync query.
///
/// # Errors
/// The failure, if there is no page or if nobody can say what it lacks.
pub fn read_sync_page(
    reader: &RecordReader,
    document: &Document,
    response: &HttpResponse,
) -> Result<SyncPage, Failure> {
    let answer: Answer<PageBody<'_>> = read_answer(response, document.root_field())?;
    let Some(body) = answer.data else {
        return Err(refusal(response, answer.errors));
    };
    let mut faults = ItemFaults::of(&answer.errors, body.items.len());
    if faults.has_unattributed {
        return Err(refusal(response, answer.errors));
    }
    let mut items = Vec::with_capacity(body.items.len());
    let mut bad = Vec::new();
    for (index, item) in body.items.iter().enumerate() {
        let of_item = faults.by_item.remove(&index).unwrap_or_default();
        match item {
            None => bad.push(withheld(of_item.first().copied())),
            Some(json) => match reader.read(json.get()) {
                Ok(record) => items.push(without_withheld(record, of_item.iter().filter_map(|e| key(e, 3)))),
                Err(fault) => bad.push(*fault),
            },
        }
    }
    drop(faults);
    Ok(SyncPage {
        items,
        bad,
        errors: answer.errors,
        // An empty token would ask for the first page again, for ever.
        next_token: body.next_token.filter(|token| !token.is_empty()),
        started_at_ms: whole_number(&body.started_at),
    })
}

/// Errors by the item that they are about.
struct ItemFaults<'a> {
    by_item: BTreeMap<usize, Vec<&'a ServerError>>,
    has_unattributed: bool,
}

impl<'a> ItemFaults<'a> {
    fn of(errors: &'a [ServerError], items: usize) -> Self {
        let mut faults = Self {
            by_item: BTreeMap::new(),
            has_unattributed: false,
        };
        for error in errors {
            let item = match error.path.as_slice() {
                [_, PathFragment::Key(list), PathFragment::Index(index), ..] if list == "items" => {
                    usize::try_from(*index).ok().filter(|index| *index < items)
                }
                _ => None,
            };
            match item {
                Some(item) => faults.by_item.entry(item).or_default().push(error),
                None => faults.has_unattributed = true,
            }
        }
        faults
    }
}

fn withheld(error: Option<&ServerError>) -> BadRecord {
    let reason = error.map_or_else(
        || "is null, and no error says why".to_owned(),
        |error| format!("is null: {error}"),
    );
    BadRecord {
        id: None,
        fault: BadRecordFault::Withheld,
        path: String::new(),
        reason,
        json: String::new(),
    }
}

/// The name at a position of an error's path.
fn key(error: &ServerError, position: usize) -> Option<&str> {
    match error.path.get(position) {
        Some(PathFragment::Key(key)) => Some(key),
        _ => None,
    }
}

/// The record without the fields that the server sent as null because it may not or cannot show them.
fn without_withheld<'a>(mut record: RemoteRecord, fields: impl Iterator<Item = &'a str>) -> RemoteRecord {
    for field in fields {
        record.fields.remove(field);
    }
    record
}

/// Reads the reply to a mutation.
pub fn read_mutation(reader: &RecordReader, document: &Document, response: &HttpResponse) -> MutationReply {
    mutation_reply(reader, response, read_answer(response, document.root_field()))
}

/// What an answer says of one mutation.
pub(crate) fn mutation_reply(
    reader: &RecordReader,
    response: &HttpResponse,
    answer: Result<Answer<&RawValue>, Failure>,
) -> MutationReply {
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure) => return refused(reader, failure),
    };
    match answer.data {
        // What came back was written, whatever the errors say about parts of it.
        Some(json) => match reader.read(json.get()) {
            Ok(record) => MutationReply::Applied(without_withheld(
                record,
                answer.errors.iter().filter_map(|e| key(e, 1)),
            )),
            Err(bad) => MutationReply::Unreadable(bad),
        },
        None => refused(reader, refusal(response, answer.errors)),
    }
}

fn refused(reader: &RecordReader, failure: Failure) -> MutationReply {
    let server = || {
        let data = failure.errors().first()?.data.as_ref()?;
        reader.read_json(data).ok()
    };
    match failure.class {
        FailureClass::Conflict => MutationReply::Conflict {
            server: server(),
            failure,
        },
        FailureClass::ConditionFailed => MutationReply::ConditionFailed {
            server: server(),
            failure,
        },
        FailureClass::Transient { .. }
        | FailureClass::Unauthorized
        | FailureClass::TooMuch { .. }
        | FailureClass::Permanent => MutationReply::Failed(failure),
    }
}

/// Reads the reply to a query for one record.
///
/// # Errors
/// The failure, if the server reports one instead of the record.
pub fn read_get(
    reader: &RecordReader,
    document: &Document,
    response: &HttpResponse,
) -> Result<GetReply, Failure> {
    let answer: Answer<&RawValue> = read_answer(response, document.root_field())?;
    match answer.data {
        Some(json) => Ok(match reader.read(json.get()) {
            Ok(record) => GetReply::Found(without_withheld(
                record,
                answer.errors.iter().filter_map(|e| key(e, 1)),
            )),
            Err(bad) => GetReply::Unreadable(bad),
        }),
        None if answer.errors.is_empty() => Ok(GetReply::Missing),
        None => Err(refusal(response, answer.errors)),
    }
}

/// Reads the payload of a `data` frame.
pub fn read_subscription(reader: &RecordReader, document: &Document, payload: &str) -> SubscriptionData {
    match parse_answer::<&RawValue>(payload.as_bytes(), document.root_field()) {
        Ok(Answer {
            data: Some(json),
            errors,
            ..
        }) => match reader.read(json.get()) {
            Ok(record) => {
                SubscriptionData::Record(without_withheld(record, errors.iter().filter_map(|e| key(e, 1))))
            }
            Err(bad) => SubscriptionData::Bad(bad),
        },
        Ok(Answer { errors, .. }) => SubscriptionData::Withheld(errors),
        Err(error) => SubscriptionData::Withheld(vec![ServerError {
            message: format!("the payload is not a GraphQL answer: {error}"),
            ..ServerError::default()
        }]),
    }
}

#[cfg(test)]
mod tests;
