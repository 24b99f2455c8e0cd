//! The places where clients put what says who they are.
//!
//! Owns [`Credentials`]: reading them from headers, from the object that realtime clients send, and from the three
//! places of a realtime handshake. Does not judge them (`gate.rs`).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_PAD_INDIFFERENT, URL_SAFE_PAD_INDIFFERENT};
use serde_json::Value as Json;

/// What a client sends to say who it is.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// `x-api-key`.
    pub(crate) api_key: Option<String>,
    /// `Authorization`.
    pub(crate) authorization: Option<String>,
    /// Every header that came with them, names in lower case: signatures are over headers. None beside an API key, which
    /// alone decides.
    pub(crate) headers: Vec<(String, String)>,
}

impl std::fmt::Debug for Credentials {
    /// Says only what there is, so that no secret ends up in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("api_key", &self.api_key.is_some())
            .field("authorization", &self.authorization.is_some())
            .finish_non_exhaustive()
    }
}

/// Most headers that are looked at; web servers let in some hundred.
const HEADERS_MAX: usize = 256;

/// Prefix of the subprotocol that carries credentials.
const SUBPROTOCOL_PREFIX: &str = "header-";

/// The subprotocol that the server selects.
pub(crate) const SUBPROTOCOL: &str = "graphql-ws";

impl Credentials {
    /// Reads the headers of a request; names are compared without regard to case.
    pub(crate) fn of_headers(headers: &[(String, String)]) -> Self {
        let mut looked_at = headers.iter().take(HEADERS_MAX);
        if let Some((_, key)) = looked_at.find(|(name, _)| name.eq_ignore_ascii_case("x-api-key")) {
            return Self {
                api_key: Some(key.trim().to_owned()),
                ..Self::default()
            };
        }
        let headers = headers
            .iter()
            .take(HEADERS_MAX)
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
        Self::of(headers.collect())
    }

    /// Reads the object that realtime clients send, in the handshake and with each `start`.
    pub(crate) fn of_json(object: &Json) -> Self {
        let members = object.as_object().into_iter().flatten();
        let headers = members
            .take(HEADERS_MAX)
            .filter_map(|(name, value)| Some((name.to_ascii_lowercase(), value.as_str()?.trim().to_owned())));
        Self::of(headers.collect())
    }

    fn of(headers: Vec<(String, String)>) -> Self {
        let find = |wanted: &str| {
            let found = headers.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.clone())
        };
        Self {
            api_key: find("x-api-key"),
            authorization: find("authorization"),
            headers,
        }
    }

    /// Reads a realtime handshake: subprotocols first, then the `header` query parameter, then the headers.
    pub(crate) fn of_handshake(headers: &[(String, String)], query: Option<&str>) -> Self {
        let offered = headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-protocol"))
            .flat_map(|(_, value)| value.split(','))
            .find_map(|protocol| protocol.trim().strip_prefix(SUBPROTOCOL_PREFIX));
        let parameter = query.and_then(|query| query_parameter(query, "header"));
        let encoded = offered.map(str::to_owned).or(parameter);
        match encoded.as_deref().and_then(decode_header) {
            Some(object) => Self::of_json(&object),
            None => Self::of_headers(headers),
        }
    }
}

/// A query parameter with its escapes undone.
pub(crate) fn query_parameter(query: &str, wanted: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name == wanted).then_some(value)
    })?;
    percent_decode(value)
}

/// Undoes `%xx`. A plus sign stays one: base64 uses it, and the clients that send forms escape it.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

/// Base64 in either alphabet, padded or not: clients differ.
fn decode_header(text: &str) -> Option<Json> {
    let bytes = STANDARD_PAD_INDIFFERENT
        .decode(text)
        .or_else(|_| URL_SAFE_PAD_INDIFFERENT.decode(text))
        .ok()?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    use super::*;

    #[test]
    fn a_handshake_may_carry_the_key_in_three_places() {
        let object = r#"{"host":"localhost","x-api-key":"da2-~?>"}"#;
        let headers = |name: &str, value: String| vec![(name.to_owned(), value)];
        let subprotocol = format!("graphql-ws, header-{}", URL_SAFE_NO_PAD.encode(object));
        let parameter = STANDARD
            .encode(object)
            .replace('+', "%2B")
            .replace('/', "%2F")
            .replace('=', "%3D");
        let cases = [
            (headers("Sec-WebSocket-Protocol", subprotocol), None),
            (
                headers("sec-websocket-protocol", "graphql-ws".to_owned()),
                Some(format!("header={parameter}&payload=e30=")),
            ),
            (headers("X-Api-Key", "da2-~?>".to_owned()), None),
        ];
        for (headers, query) in cases {
            let found = Credentials::of_handshake(&headers, query.as_deref());
            assert_eq!(found.api_key.as_deref(), Some("da2-~?>"), "{headers:?} {query:?}");
        }
    }

    #[test]
    fn unreadable_handshakes_carry_no_credentials() {
        for query in [
            None,
            Some("header=%zz"),
            Some("header=AAAA"),
            Some("header"),
            Some("payload=e30="),
        ] {
            assert_eq!(
                Credentials::of_handshake(&[], query),
                Credentials::default(),
                "{query:?}"
            );
        }
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let headers = [("x-api-key", "da2-secret"), ("authorization", "secret")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert!(!format!("{:?}", Credentials::of_headers(&headers)).contains("secret"));
    }
}
