//! Who is calling: API keys, and the places a client may put them.
//!
//! Owns the check of credentials for HTTP calls and realtime connections. What a caller may do is not decided here:
//! a [`Caller`] is handed on to execution, which is where rules of models will be applied.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_PAD_INDIFFERENT, URL_SAFE_PAD_INDIFFERENT};
use serde_json::Value as Json;

use crate::hash::constant_time_eq;

/// A key that callers present in `x-api-key`.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    key: String,
    expires_at_ms: Option<i64>,
}

impl ApiKey {
    /// A key that never expires.
    pub fn new(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            expires_at_ms: None,
        }
    }

    /// The same key, refused from a time on (milliseconds since 1970).
    #[must_use]
    pub fn expiring_at(self, at_ms: i64) -> Self {
        Self {
            expires_at_ms: Some(at_ms),
            ..self
        }
    }
}

impl std::fmt::Debug for ApiKey {
    /// Leaves the key itself out, so that it does not end up in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiKey")
            .field("expires_at_ms", &self.expires_at_ms)
            .finish_non_exhaustive()
    }
}

/// What a client sends to say who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// `x-api-key`.
    pub(crate) api_key: Option<String>,
    /// `Authorization`.
    pub(crate) authorization: Option<String>,
}

/// Who is calling, once the credentials were found good.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum Caller {
    /// Holder of an API key: AppSync gives such callers no identity.
    ApiKey,
}

/// Why a caller is refused; the texts are AppSync's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AuthRefused {
    #[error("Valid authorization header not provided.")]
    Missing,
    #[error("You are not authorized to make this call.")]
    Wrong,
}

impl AuthRefused {
    /// The error type that clients match on.
    pub(crate) const TYPE: &str = "UnauthorizedException";
}

/// Checks credentials against the keys; every key is compared, so that the time taken does not tell which one matched.
pub(crate) fn authenticate(
    credentials: &Credentials,
    keys: &[ApiKey],
    now_ms: i64,
) -> Result<Caller, AuthRefused> {
    let Some(given) = &credentials.api_key else {
        let other_mode = credentials.authorization.is_some();
        return Err(if other_mode {
            AuthRefused::Wrong
        } else {
            AuthRefused::Missing
        });
    };
    let known = keys.iter().fold(false, |known, key| {
        let valid = key.expires_at_ms.is_none_or(|at_ms| now_ms < at_ms);
        (constant_time_eq(key.key.as_bytes(), given.as_bytes()) & valid) | known
    });
    if known {
        Ok(Caller::ApiKey)
    } else {
        Err(AuthRefused::Wrong)
    }
}

/// Prefix of the subprotocol that carries credentials.
const SUBPROTOCOL_PREFIX: &str = "header-";

/// The subprotocol that the server selects.
pub(crate) const SUBPROTOCOL: &str = "graphql-ws";

impl Credentials {
    /// Reads the headers of a request; names are compared without regard to case.
    pub(crate) fn of_headers(headers: &[(String, String)]) -> Self {
        let find = |wanted: &str| {
            headers
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
                .map(|(_, value)| value.trim().to_owned())
        };
        Self {
            api_key: find("x-api-key"),
            authorization: find("authorization"),
        }
    }

    /// Reads the object that realtime clients send, in the handshake and with each `start`.
    pub(crate) fn of_json(object: &Json) -> Self {
        let find = |wanted: &str| {
            let mut members = object.as_object()?.iter();
            let (_, value) = members.find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
            Some(value.as_str()?.trim().to_owned())
        };
        Self {
            api_key: find("x-api-key"),
            authorization: find("authorization"),
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

    const NOW_MS: i64 = 1_700_000_000_000;

    fn key(key: &str) -> Credentials {
        Credentials {
            api_key: Some(key.to_owned()),
            authorization: None,
        }
    }

    #[test]
    fn any_valid_key_is_let_in_until_it_expires() {
        let keys = [
            ApiKey::new("da2-old").expiring_at(NOW_MS),
            ApiKey::new("da2-new").expiring_at(NOW_MS + 1),
        ];
        assert_eq!(authenticate(&key("da2-new"), &keys, NOW_MS), Ok(Caller::ApiKey));
        assert_eq!(
            authenticate(&key("da2-new"), &keys, NOW_MS + 1),
            Err(AuthRefused::Wrong)
        );
        assert_eq!(
            authenticate(&key("da2-old"), &keys, NOW_MS),
            Err(AuthRefused::Wrong)
        );
        assert_eq!(
            authenticate(&key("da2-old"), &keys, NOW_MS - 1),
            Ok(Caller::ApiKey)
        );
        assert_eq!(authenticate(&key(""), &keys, NOW_MS), Err(AuthRefused::Wrong));
        assert_eq!(
            authenticate(&key("da2-new"), &[], NOW_MS),
            Err(AuthRefused::Wrong)
        );
    }

    #[test]
    fn no_credentials_are_told_from_those_of_another_mode() {
        assert_eq!(
            authenticate(&Credentials::default(), &[], NOW_MS),
            Err(AuthRefused::Missing)
        );
        let token = Credentials {
            api_key: None,
            authorization: Some("eyJ".to_owned()),
        };
        assert_eq!(authenticate(&token, &[], NOW_MS), Err(AuthRefused::Wrong));
    }

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
    fn debug_output_does_not_show_the_key() {
        assert!(!format!("{:?}", ApiKey::new("da2-secret")).contains("secret"));
    }
}
