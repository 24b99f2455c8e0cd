//! Calls and replies of HTTP as values, and the bodies that AppSync answers with.
//!
//! Owns the reading of a GraphQL request out of a call and the form of refusals. Does not know sockets (`serve.rs`).

use apollo_compiler::response::{JsonMap, JsonValue};
use bytes::Bytes;
use serde::Deserialize;

use crate::auth::{AuthRefused, percent_decode};
use crate::execute::{ErrorEntry, Executed, RequestFault};

/// A call to `/graphql`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpCall {
    /// Whether it is a GET, with the request in `query`; otherwise it is a POST, with the request in `body`.
    pub get: bool,
    /// The query string, without the question mark.
    pub query: Option<String>,
    /// Headers; names in any case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

/// The reply to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpReply {
    /// Status code.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, JSON.
    pub body: Bytes,
    /// Entries of `errors` in the body.
    pub errors: usize,
    /// How long a fault was injected to hold the reply back, in milliseconds.
    pub delay_ms: u64,
    /// Whether a fault was injected that loses the reply: the caller is to see a broken connection instead.
    pub lost: bool,
}

impl HttpCall {
    /// A POST of a body with an API key, as clients send it.
    pub fn post(api_key: &str, body: impl Into<Bytes>) -> Self {
        let headers = vec![
            ("x-api-key".to_owned(), api_key.to_owned()),
            (
                "content-type".to_owned(),
                "application/json; charset=UTF-8".to_owned(),
            ),
        ];
        Self {
            get: false,
            query: None,
            headers,
            body: body.into(),
        }
    }
}

/// A GraphQL request.
#[derive(Debug, PartialEq)]
pub(crate) struct GraphqlRequest {
    pub(crate) query: String,
    pub(crate) operation_name: Option<String>,
    pub(crate) variables: JsonMap,
}

/// Why a call is not executed; each has a status of its own.
#[derive(Debug, PartialEq)]
pub(crate) enum Refusal {
    Unauthorized(AuthRefused),
    EmptyBody,
    /// No JSON, no GraphQL, or no request in it.
    Malformed,
    TooLarge,
    BadRequest(String),
    /// Answered as if executed, with errors only.
    Invalid(Vec<ErrorEntry>),
    /// The service itself failed; the outcome of a mutation is unknown.
    Internal,
    /// The shell around the service refuses: status, error type, message.
    Shell(u16, &'static str, &'static str),
    /// A fault that was injected.
    Status(u16),
}

impl From<RequestFault> for Refusal {
    fn from(fault: RequestFault) -> Self {
        match fault {
            RequestFault::Malformed => Self::Malformed,
            RequestFault::BadRequest(message) => Self::BadRequest(message),
            RequestFault::Invalid(entries) => Self::Invalid(entries),
        }
    }
}

/// Most values and members in the JSON of a request: each takes some hundred bytes once it is read, however short it is. The
/// largest batch of Landfall's client has some thousand.
const JSON_NODES_MAX: usize = 100_000;

/// How many values a JSON text has, or a few more: each but the first is behind a comma or in brackets.
fn json_nodes(json: &[u8]) -> usize {
    let (mut nodes, mut in_text, mut escaped) = (1, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b',' | b'[' | b'{' if !in_text => nodes += 1,
            _ => {}
        }
    }
    nodes
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRequest {
    query: Option<String>,
    operation_name: Option<String>,
    variables: Option<JsonValue>,
}

impl GraphqlRequest {
    /// Reads the request of a call.
    pub(crate) fn of_call(call: &HttpCall, body_bytes_max: usize) -> Result<Self, Refusal> {
        if call.get {
            return Self::of_query(call.query.as_deref().unwrap_or_default(), body_bytes_max);
        }
        if call.body.len() > body_bytes_max {
            return Err(Refusal::TooLarge);
        }
        if call.body.iter().all(u8::is_ascii_whitespace) {
            return Err(Refusal::EmptyBody);
        }
        Self::of_json(&call.body)
    }

    /// Reads a request that was sent as JSON.
    pub(crate) fn of_json(json: &[u8]) -> Result<Self, Refusal> {
        // What is not longer cannot have more.
        if json.len() > JSON_NODES_MAX && json_nodes(json) > JSON_NODES_MAX {
            return Err(Refusal::TooLarge);
        }
        let raw: RawRequest = serde_json::from_slice(json).map_err(|_| Refusal::Malformed)?;
        let variables = match raw.variables {
            None | Some(JsonValue::Null) => JsonMap::new(),
            Some(JsonValue::Object(variables)) => variables,
            Some(_) => return Err(Refusal::Malformed),
        };
        let query = raw
            .query
            .filter(|query| !query.trim().is_empty())
            .ok_or(Refusal::Malformed)?;
        Ok(Self {
            query,
            operation_name: raw.operation_name.filter(|name| !name.is_empty()),
            variables,
        })
    }

    fn of_query(query: &str, body_bytes_max: usize) -> Result<Self, Refusal> {
        if query.len() > body_bytes_max {
            return Err(Refusal::TooLarge);
        }
        let find = |wanted: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let (_, value) = pairs.into_iter().find(|(name, _)| *name == wanted)?;
            // Forms write a space as a plus sign.
            percent_decode(&value.replace('+', " "))
        };
        let variables = match find("variables").filter(|text| !text.trim().is_empty()) {
            Some(text) => serde_json::from_str(&text).map_err(|_| Refusal::Malformed)?,
            None => JsonValue::Null,
        };
        let request = serde_json::json!({
            "query": find("query"),
            "operationName": find("operationName"),
            "variables": variables,
        });
        Self::of_json(request.to_string().as_bytes())
    }
}

/// The reply to an executed request.
pub(crate) fn reply_of(executed: Executed, request_id: &str) -> HttpReply {
    HttpReply {
        errors: executed.errors.len(),
        ..reply(200, executed.into_body(), request_id, None)
    }
}

/// The reply to a call that is not executed.
pub(crate) fn refuse(refusal: Refusal, request_id: &str) -> HttpReply {
    let (status, error_type, message) = match refusal {
        Refusal::Unauthorized(refused) => (refused.status(), refused.error_type(), refused.to_string()),
        Refusal::EmptyBody => (
            400,
            "MalformedHttpRequestException",
            "Request body is empty.".to_owned(),
        ),
        Refusal::Malformed => (
            400,
            "MalformedHttpRequestException",
            "Unable to parse GraphQL query.".to_owned(),
        ),
        Refusal::TooLarge => (
            413,
            "RequestEntityTooLargeException",
            "Request body is too large.".to_owned(),
        ),
        Refusal::BadRequest(message) => (400, "BadRequestException", message),
        Refusal::Invalid(errors) => {
            return reply_of(Executed::refused(errors), request_id);
        }
        Refusal::Internal => (
            500,
            "InternalFailure",
            "The service failed; try again.".to_owned(),
        ),
        Refusal::Shell(status, error_type, message) => (status, error_type, message.to_owned()),
        Refusal::Status(401) => (401, AuthRefused::TYPE, AuthRefused::Wrong.to_string()),
        Refusal::Status(403) => (403, "AccessDeniedException", "Access denied.".to_owned()),
        Refusal::Status(429) => (429, "ThrottlingException", "Rate exceeded".to_owned()),
        Refusal::Status(status) => (status, "InternalFailure", "A fault was injected.".to_owned()),
    };
    let body = serde_json::json!({"errors": [{"errorType": error_type, "message": message}]});
    reply(
        status,
        body.to_string().into_bytes(),
        request_id,
        Some(error_type),
    )
}

fn reply(status: u16, body: Vec<u8>, request_id: &str, error_type: Option<&str>) -> HttpReply {
    let mut headers = vec![
        (
            "content-type".to_owned(),
            "application/json;charset=UTF-8".to_owned(),
        ),
        ("x-amzn-requestid".to_owned(), request_id.to_owned()),
    ];
    match error_type {
        Some(error_type) => headers.push(("x-amzn-errortype".to_owned(), error_type.to_owned())),
        None => headers.push(("x-amzn-appsync-tokensconsumed".to_owned(), "1".to_owned())),
    }
    HttpReply {
        status,
        headers,
        body: body.into(),
        errors: usize::from(error_type.is_some()),
        delay_ms: 0,
        lost: false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(body: &str) -> HttpCall {
        HttpCall {
            body: Bytes::copy_from_slice(body.as_bytes()),
            ..HttpCall::default()
        }
    }

    #[test]
    fn junk_is_refused_before_anything_runs() {
        let read = |text: &str| GraphqlRequest::of_call(&body(text), 1_000);
        assert_eq!(read(""), Err(Refusal::EmptyBody));
        assert_eq!(read(" \n"), Err(Refusal::EmptyBody));
        for junk in [
            "{}",
            "[]",
            "x",
            r#"{"query": 1}"#,
            r#"{"query": " "}"#,
            r#"{"query": "{a}", "variables": 3}"#,
        ] {
            assert_eq!(read(junk), Err(Refusal::Malformed), "{junk}");
        }
        assert_eq!(
            read(&format!(r#"{{"query": "{}"}}"#, "x".repeat(1_000))),
            Err(Refusal::TooLarge)
        );
    }

    #[test]
    fn values_are_counted_before_they_are_read() {
        assert_eq!(json_nodes(br#"{"a": [1, "x,[{\",", {}], "b": null}"#), 7);
        let request = |values: usize, rest: &str| {
            let values = vec!["1"; values].join(",");
            format!(r#"{{"query": "{{ a }}", "variables": {{"x": [{values}], "t": "{rest}"}}}}"#)
        };
        let read = |text: &str| GraphqlRequest::of_call(&body(text), 10_000_000);
        assert_eq!(read(&request(100_000, "")), Err(Refusal::TooLarge));
        assert!(read(&request(90_000, "")).is_ok());
        // A long text is one value, whatever is in it.
        assert!(read(&request(1, &"[{,".repeat(100_000))).is_ok());
    }

    #[test]
    fn variables_may_be_null_and_get_carries_the_same_request() {
        let post = GraphqlRequest::of_call(
            &body(r#"{"query": "{ a }", "variables": null, "extensions": {}}"#),
            1_000,
        );
        assert_eq!(
            post,
            Ok(GraphqlRequest {
                query: "{ a }".to_owned(),
                operation_name: None,
                variables: JsonMap::new()
            })
        );
        let call = HttpCall {
            get: true,
            query: Some(
                "operationName=op&query=query+op(%24a%3AID)%7B+a+%7D&variables=%7B%22a%22%3A%221%22%7D"
                    .to_owned(),
            ),
            ..HttpCall::default()
        };
        let get = GraphqlRequest::of_call(&call, 1_000).unwrap();
        assert_eq!(
            (get.query.as_str(), get.operation_name.as_deref()),
            ("query op($a:ID){ a }", Some("op"))
        );
        assert_eq!(
            JsonValue::Object(get.variables),
            JsonValue::from(json!({"a": "1"}))
        );
    }

    #[test]
    fn refusals_have_the_status_and_body_of_appsync() {
        let cases = [
            (
                Refusal::Unauthorized(AuthRefused::Missing),
                401,
                "UnauthorizedException",
                "Valid authorization header not provided.",
            ),
            (
                Refusal::EmptyBody,
                400,
                "MalformedHttpRequestException",
                "Request body is empty.",
            ),
            (
                Refusal::Malformed,
                400,
                "MalformedHttpRequestException",
                "Unable to parse GraphQL query.",
            ),
            (Refusal::Status(429), 429, "ThrottlingException", "Rate exceeded"),
        ];
        for (refusal, status, error_type, message) in cases {
            let reply = refuse(refusal, "r1");
            let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
            assert_eq!(reply.status, status);
            assert_eq!(
                body,
                json!({"errors": [{"errorType": error_type, "message": message}]})
            );
        }
    }
}
