//! Bodies of HTTP replies: the GraphQL envelope, and what stands in its place.
//!
//! Owns the reading of `{"data", "errors"}` in one pass without building a tree, and the diagnosis of bodies that are
//! no such thing: a login page, a cut-off reply, other JSON. What errors mean is decided in `failure.rs`.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, de};

use crate::document::Document;
use crate::error::WireError;
use crate::failure::{Failure, FailureCause, FailureClass, StatusVerdict, status_verdict};
use crate::server_error::{ServerError, ServerErrors, shortened};
use crate::transport::HttpResponse;

/// How far into a web page its title is looked for.
pub const HTML_TITLE_BYTES_MAX: usize = 4_096;

/// How much of a web page's title is repeated.
const HTML_TITLE_CHARS_MAX: usize = 80;

/// A readable answer: the value of the root field, and errors beside it.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    /// The value of the root field unless it is null.
    pub(crate) data: Option<T>,
    /// Whether there is a `data` object with the root field in it, be it null.
    pub(crate) has_root: bool,
    /// The errors.
    pub(crate) errors: Vec<ServerError>,
}

/// Reads the answer to a document with that root field.
pub(crate) fn read_answer<'a, T: Deserialize<'a>>(
    response: &'a HttpResponse,
    root: &str,
) -> Result<Answer<T>, Failure> {
    let verdict = status_verdict(response.status);
    if verdict == StatusVerdict::Read {
        return match parse_answer(&response.body, root) {
            Ok(answer) if !answer.has_root && answer.errors.is_empty() => {
                let reason = format!("it holds neither `data.{root}` nor errors");
                Err(Failure::unreadable(WireError::UnexpectedShape {
                    status: response.status,
                    reason,
                }))
            }
            Ok(answer) => Ok(answer),
            Err(error) => Err(Failure::unreadable(diagnose(response, &error))),
        };
    }
    let errors = parse_answer::<IgnoredAny>(&response.body, root)
        .map(|answer| answer.errors)
        .unwrap_or_default();
    Err(match verdict {
        StatusVerdict::Unless(class) => {
            Failure::of_errors(response.status, errors, response.retry_after_ms, class)
        }
        StatusVerdict::Final(class) => {
            let failure = Failure::of_errors(response.status, errors, response.retry_after_ms, class);
            Failure {
                class: class.with_retry_after(response.retry_after_ms),
                ..failure
            }
        }
        StatusVerdict::Read => unreachable!("handled above"),
    }
    .named_after_page(response))
}

impl Failure {
    /// Says of an error status without GraphQL errors that a web page came with it.
    fn named_after_page(self, response: &HttpResponse) -> Self {
        match (&self.cause, html(response)) {
            (FailureCause::Status { .. }, Some(page)) => Self {
                cause: FailureCause::Unreadable(page),
                ..self
            },
            _ => self,
        }
    }
}

/// Reads the answer to any document as JSON.
///
/// # Errors
/// The failure, if the root field is missing or null, or if there is any error beside it.
pub fn read_data(document: &Document, response: &HttpResponse) -> Result<serde_json::Value, Failure> {
    let answer: Answer<serde_json::Value> = read_answer(response, document.root_field())?;
    match answer.data {
        Some(data) if answer.errors.is_empty() => Ok(data),
        _ => Err(refusal(response, answer.errors)),
    }
}

/// The failure of a readable answer that lacks its data.
pub(crate) fn refusal(response: &HttpResponse, errors: Vec<ServerError>) -> Failure {
    if errors.is_empty() {
        let reason = "its data is null and no error says why".to_owned();
        return Failure::unreadable(WireError::UnexpectedShape {
            status: response.status,
            reason,
        });
    }
    Failure::of_errors(
        response.status,
        errors,
        response.retry_after_ms,
        FailureClass::Permanent,
    )
}

pub(crate) fn parse_answer<'a, T: Deserialize<'a>>(
    body: &'a [u8],
    root: &str,
) -> serde_json::Result<Answer<T>> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let answer = deserializer.deserialize_map(AnswerVisitor {
        root,
        data: PhantomData,
    })?;
    deserializer.end()?;
    Ok(answer)
}

fn diagnose(response: &HttpResponse, error: &serde_json::Error) -> WireError {
    let status = response.status;
    if let Some(page) = html(response) {
        return page;
    }
    match error.classify() {
        serde_json::error::Category::Eof => WireError::Truncated {
            status,
            bytes: response.body.len(),
        },
        serde_json::error::Category::Data => WireError::UnexpectedShape {
            status,
            reason: shortened(&error.to_string()),
        },
        serde_json::error::Category::Syntax | serde_json::error::Category::Io => WireError::NotJson {
            status,
            reason: shortened(&error.to_string()),
        },
    }
}

/// The error for a body that is a web page.
fn html(response: &HttpResponse) -> Option<WireError> {
    web_page(response.status, &response.body)
}

/// The error for a body that is a web page; its beginning is enough, [`HTML_TITLE_BYTES_MAX`] of it at most.
pub fn web_page(status: u16, body: &[u8]) -> Option<WireError> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace())?;
    if *first != b'<' {
        return None;
    }
    let head = String::from_utf8_lossy(&body[..body.len().min(HTML_TITLE_BYTES_MAX)]);
    Some(WireError::Html {
        status,
        title: title(&head),
    })
}

fn title(html: &str) -> Option<String> {
    // Lower case of ASCII letters only, so that positions stay the same.
    let lower = html.to_ascii_lowercase();
    let open = lower.find("<title")?;
    let start = open + lower[open..].find('>')? + 1;
    let end = start + lower[start..].find("</title")?;
    let title: String = html[start..end].split_whitespace().collect::<Vec<_>>().join(" ");
    (!title.is_empty()).then(|| title.chars().take(HTML_TITLE_CHARS_MAX).collect())
}

struct AnswerVisitor<'r, T> {
    root: &'r str,
    data: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for AnswerVisitor<'_, T> {
    type Value = Answer<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a GraphQL answer")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Answer<T>, A::Error> {
        let mut answer = Answer {
            data: None,
            has_root: false,
            errors: Vec::new(),
        };
        while let Some(member) = map.next_key::<Member>()? {
            match member {
                Member::Data => {
                    let found = map.next_value_seed(DataSeed {
                        root: self.root,
                        data: PhantomData,
                    })?;
                    answer.has_root = found.is_some();
                    answer.data = found.flatten();
                }
                Member::Errors => answer.errors = map.next_value::<ServerErrors>()?.0,
                Member::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(answer)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Member {
    Data,
    Errors,
    #[serde(other)]
    Other,
}

/// Reads `data`: `None` if the root field is not in it, `Some(None)` if it is null.
struct DataSeed<'r, T> {
    root: &'r str,
    data: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for DataSeed<'_, T> {
    type Value = Option<Option<T>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for DataSeed<'_, T> {
    type Value = Option<Option<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with `{}`", self.root)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_root) = map.next_key_seed(IsName(self.root))? {
            if is_root {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Whether a member's name is the given one, without copying it.
struct IsName<'r>(&'r str);

impl<'de> DeserializeSeed<'de> for IsName<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for IsName<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
mod tests;
