//! Several mutations in one request, told apart by aliases. Ours: no DataStore client does so.
//!
//! Owns the document of such a request and the reading of its answer. A server carries root fields of a mutation out one
//! after another, and each by itself: what becomes of one says nothing of the others. Which mutations go together is the
//! caller's business; that the server may be asked in this way is a setting.
//!
//! Invariants: 1. an error counts for the alias that its path names, and for all if it has no path; 2. of an alias of which
//! the answer says nothing, the outcome is unknown; 3. a request that is refused as a whole refuses none of its mutations;
//! 4. no mutation is refused because all of them together were too much.

use std::fmt::Write;

use graphql_client::PathFragment;
use landfall_core::MutationKind;
use serde_json::Map;
use serde_json::value::RawValue;

use crate::document::{ModelDocuments, Variables};
use crate::failure::{Failure, FailureCause, FailureClass};
use crate::record::RecordReader;
use crate::reply::{MutationReply, mutation_reply};
use crate::response::{Answer, read_answer};
use crate::server_error::ServerError;
use crate::transport::{HttpRequest, HttpResponse};

/// Mutations in one request at most. AppSync ends a request after 30 seconds, and a lost answer leaves the outcome of all
/// of them unknown.
pub const BATCH_MAX: usize = 32;

/// The answer to several mutations.
#[derive(Clone, Debug, PartialEq)]
pub enum BatchReply {
    /// What became of each, in the order of the request.
    Each(Vec<MutationReply>),
    /// The request as such was refused for good, so that nothing was carried out: each is to be sent alone, which tells
    /// whether it is at fault.
    Refused(Failure),
}

/// The request that sends several mutations of one kind to records of one model.
///
/// # Panics
/// If there are none, or more than [`BATCH_MAX`].
pub fn batch_request(
    documents: &ModelDocuments,
    kind: MutationKind,
    mutations: Vec<Variables>,
) -> HttpRequest {
    assert!(
        (1..=BATCH_MAX).contains(&mutations.len()),
        "the caller sends as many mutations at once as may go at once"
    );
    let document = documents.mutation(kind);
    let (operation, root, model) = (
        document.operation().as_str(),
        document.root_field(),
        &documents.model,
    );
    let (mut declared, mut fields, mut variables) = (String::new(), String::new(), Map::new());
    for (number, mutation) in mutations.into_iter().enumerate() {
        let separator = if number == 0 { "" } else { ", " };
        let selection = documents.mutation_selection();
        write!(
            declared,
            "{separator}$input{number}: {operation}Input!, $condition{number}: Model{model}ConditionInput"
        )
        .and_then(|()| {
            write!(
                fields,
                " {}: {root}(input: $input{number}, condition: $condition{number}) {{ {selection} }}",
                alias(number)
            )
        })
        .expect("texts can be written to");
        for (name, value) in mutation {
            variables.insert(format!("{name}{number}"), value);
        }
    }
    let text = format!("mutation {operation}({declared}) {{{fields} }}");
    document.with_text(text).request(&variables)
}

fn alias(number: usize) -> String {
    format!("m{number}")
}

/// Whether a field of an answer, such as an error's path names, is one of several mutations of a request.
pub fn is_batch_alias(field: &str) -> bool {
    (0..BATCH_MAX).any(|number| alias(number) == field)
}

/// Reads the answer to so many mutations of one model.
pub fn read_batch(reader: &RecordReader, mutations: usize, response: &HttpResponse) -> BatchReply {
    let mut replies = Vec::with_capacity(mutations);
    let mut has_any = false;
    let mut names_any = false;
    let mut refusal = None;
    for number in 0..mutations {
        let alias = alias(number);
        let answer: Result<Answer<&RawValue>, Failure> = read_answer(response, &alias);
        let mut reply = match answer {
            Ok(answer) => {
                has_any |= answer.has_root;
                names_any |= answer.errors.iter().any(|error| !error.path.is_empty());
                mutation_reply(reader, response, about(answer, &alias))
            }
            // Refused before anything was looked at, or not answered at all: the same for each.
            Err(failure) => mutation_reply(reader, response, Err(failure)),
        };
        if mutations > 1 {
            crowded(&mut reply);
        }
        if let MutationReply::Failed(failure) = &reply
            && failure.class == FailureClass::Permanent
        {
            refusal.get_or_insert_with(|| failure.clone());
        }
        replies.push(reply);
    }
    match refusal {
        // An error that names a field tells that the request was carried out: without data too, since the null of a field
        // that must have a value takes the data of all the others along.
        Some(failure) if !has_any && !names_any && mutations > 1 => BatchReply::Refused(failure),
        _ => BatchReply::Each(replies),
    }
}

/// What was too much is that of all of them, unless a mutation was alone.
fn crowded(reply: &mut MutationReply) {
    if let MutationReply::Failed(failure) = reply
        && matches!(failure.class, FailureClass::TooMuch { .. })
    {
        *reply = MutationReply::Crowded(failure.clone());
    }
}

/// What an answer says of one alias.
fn about<'a>(answer: Answer<&'a RawValue>, alias: &str) -> Result<Answer<&'a RawValue>, Failure> {
    let concerns = |error: &ServerError| match error.path.first() {
        None => true,
        Some(PathFragment::Key(key)) => key == alias,
        Some(PathFragment::Index(_)) => false,
    };
    let had_errors = !answer.errors.is_empty();
    let answer = Answer {
        errors: answer.errors.into_iter().filter(concerns).collect(),
        ..answer
    };
    if answer.data.is_none() && answer.errors.is_empty() && had_errors {
        return Err(Failure {
            class: FailureClass::Transient {
                delivery: crate::transport::Delivery::Unknown,
                retry_after_ms: None,
            },
            cause: FailureCause::Errors {
                status: 200,
                errors: vec![ServerError::new(
                    "Unknown",
                    "the answer to several mutations does not say what became of this one",
                )],
            },
        });
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::testing::schema;
    use crate::transport::Delivery;

    fn read(mutations: usize, status: u16, body: &Json) -> BatchReply {
        let reader = RecordReader::new(&schema(), "Post").expect("a model");
        read_batch(&reader, mutations, &HttpResponse::new(status, body.to_string()))
    }

    fn post(id: &str) -> Json {
        json!({"id": id, "title": "t", "_version": 1, "_lastChangedAt": 5, "_deleted": null})
    }

    fn error(error_type: &str, path: &Json) -> Json {
        json!({"path": path, "errorType": error_type, "message": "no", "data": null})
    }

    /// A word for what became of each.
    fn words(reply: &BatchReply) -> Vec<String> {
        let BatchReply::Each(replies) = reply else {
            return vec!["refused".to_owned()];
        };
        let word = |reply: &MutationReply| match reply {
            MutationReply::Applied(record) => format!("applied {}", record.id),
            MutationReply::Unreadable(_) => "unreadable".to_owned(),
            MutationReply::Conflict { .. } => "conflict".to_owned(),
            MutationReply::ConditionFailed { .. } => "condition".to_owned(),
            MutationReply::Crowded(failure) => format!("crowded, {:?}", failure.delivery()).to_lowercase(),
            MutationReply::Failed(failure) => match failure.class {
                FailureClass::Transient {
                    delivery: Delivery::Unknown,
                    ..
                } => "unknown".to_owned(),
                FailureClass::Transient { .. } => "not delivered".to_owned(),
                class => format!("{class:?}").to_lowercase(),
            },
        };
        replies.iter().map(word).collect()
    }

    #[test]
    fn each_mutation_has_an_alias_and_variables_of_its_own() {
        let documents = ModelDocuments::build(&schema(), "Post").expect("documents");
        let variables = |title: &str, condition: Option<&str>| {
            let mut variables = Map::from_iter([("input".to_owned(), json!({ "title": title }))]);
            if let Some(title) = condition {
                variables.insert("condition".to_owned(), json!({"title": {"eq": title}}));
            }
            variables
        };
        let mutations = vec![variables("a", None), variables("b", Some("x"))];
        let request = batch_request(&documents, MutationKind::Update, mutations);
        let body: Json = serde_json::from_str(&request.body).expect("JSON");
        let selection = documents.mutation_selection();
        assert_eq!(
            body["query"],
            format!(
                "mutation UpdatePost($input0: UpdatePostInput!, $condition0: ModelPostConditionInput, \
                 $input1: UpdatePostInput!, $condition1: ModelPostConditionInput) {{ \
                 m0: updatePost(input: $input0, condition: $condition0) {{ {selection} }} \
                 m1: updatePost(input: $input1, condition: $condition1) {{ {selection} }} }}"
            )
        );
        assert_eq!(
            body["variables"],
            json!({
                "input0": {"title": "a"}, "input1": {"title": "b"}, "condition1": {"title": {"eq": "x"}},
            })
        );
        assert_eq!(request.operation.as_str(), "UpdatePost");
        assert!(
            request.operation.subject().is_some(),
            "credentials are chosen by it"
        );
    }

    #[test]
    fn each_answer_is_judged_alone() {
        let body = json!({
            "data": {"m0": post("a"), "m1": null, "m2": null, "m3": null, "m4": post("e")},
            "errors": [
                error("ConflictUnhandled", &json!(["m1"])),
                error("ConditionalCheckFailedException", &json!(["m2"])),
                error("DynamoDB:ValidationException", &json!(["m3"])),
            ],
        });
        let expected = ["applied a", "conflict", "condition", "permanent", "applied e"];
        assert_eq!(words(&read(5, 200, &body)), expected);
    }

    #[test]
    fn of_what_the_answer_does_not_mention_the_outcome_is_unknown() {
        let body =
            json!({"data": {"m0": post("a"), "m1": null}, "errors": [error("X", &json!(["createPost"]))]});
        assert_eq!(words(&read(3, 200, &body)), ["applied a", "unknown", "unknown"]);
        let body = json!({"data": {"m0": post("a")}});
        assert_eq!(words(&read(2, 200, &body)), ["applied a", "unknown"]);
    }

    #[test]
    fn a_request_that_is_refused_as_a_whole_refuses_none_of_them() {
        let errors = json!([error("ValidationError", &Json::Null)]);
        for (status, data) in [(200, Json::Null), (400, Json::Null)] {
            let body = json!({"data": data, "errors": errors});
            assert_eq!(words(&read(2, status, &body)), ["refused"], "status {status}");
        }
        // Alone it is to blame.
        let body = json!({"data": null, "errors": errors});
        assert_eq!(words(&read(1, 200, &body)), ["permanent"]);
    }

    /// A field that must have a value takes the data of all along; what the others did stays done.
    #[test]
    fn a_request_of_which_one_mutation_is_named_was_carried_out() {
        let body = json!({"data": null, "errors": [error("DynamoDB:ValidationException", &json!(["m1"]))]});
        assert_eq!(words(&read(3, 200, &body)), ["unknown", "permanent", "unknown"]);
    }

    #[test]
    fn what_is_too_much_together_is_no_refusal_of_any() {
        let body = json!({
            "data": {"m0": post("a"), "m1": null, "m2": null},
            "errors": [error("ResponseSizeExceeded", &json!(["m1"])), error("WriteSizeExceeded", &json!(["m2"]))],
        });
        let expected = ["applied a", "crowded, unknown", "crowded, notdelivered"];
        assert_eq!(words(&read(3, 200, &body)), expected);
        // The server may have done all of them before it found its answer too long.
        let body = json!({"data": null, "errors": [error("ResponseSizeExceeded", &Json::Null)]});
        assert_eq!(words(&read(2, 200, &body)), ["crowded, unknown"; 2]);
        // Alone there is nobody else to blame.
        assert_eq!(words(&read(1, 200, &body)), ["toomuch { delivery: unknown }"]);
    }

    #[test]
    fn trouble_of_the_whole_request_is_that_of_each() {
        let body = json!({"data": null, "errors": [error("ThrottlingException", &Json::Null)]});
        assert_eq!(words(&read(2, 200, &body)), ["not delivered", "not delivered"]);
        assert_eq!(words(&read(2, 503, &json!({}))), ["unknown", "unknown"]);
        assert_eq!(words(&read(2, 401, &json!({}))), ["unauthorized", "unauthorized"]);
        let body = json!({"data": null, "errors": [json!({"message": "Execution timed out."})]});
        assert_eq!(words(&read(2, 200, &body)), ["unknown", "unknown"]);
    }
}
