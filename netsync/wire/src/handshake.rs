//! The realtime handshake: where the realtime endpoint is, and how credentials travel in it.
//!
//! Owns the rule that turns an HTTP endpoint into a realtime one, and the sub-protocol and query forms of credentials.
//! Opens nothing.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value as Json};
use url::Url;

use crate::error::WireError;
use crate::transport::Credentials;

/// The sub-protocol that the server selects.
pub const REALTIME_PROTOCOL: &str = "graphql-ws";

/// Prefix of the sub-protocol that carries credentials.
const HEADER_PROTOCOL_PREFIX: &str = "header-";

/// Most bytes of encoded credentials that are read: a token with many claims fits many times.
const CREDENTIALS_BYTES_MAX: usize = 64 * 1_024;

/// The realtime URL of an HTTP endpoint.
///
/// | endpoint | realtime URL |
/// |---|---|
/// | `https://<id>.appsync-api.<region>.amazonaws.com/graphql`, also `.com.cn` | host with `appsync-realtime-api`, scheme `wss` |
/// | any other | path with `/realtime` appended; `http` becomes `ws`, `https` becomes `wss` |
///
/// # Errors
/// [`WireError::NoRealtimeAddress`] if the endpoint is neither `http` nor `https`.
///
/// ```
/// let endpoint = "http://localhost:8080/graphql".parse().unwrap();
/// assert_eq!(landfall_wire::realtime_url(&endpoint).unwrap().as_str(), "ws://localhost:8080/graphql/realtime");
/// ```
pub fn realtime_url(endpoint: &Url) -> Result<Url, WireError> {
    let refused = |reason| WireError::NoRealtimeAddress {
        endpoint: endpoint.to_string(),
        reason,
    };
    let scheme = match endpoint.scheme() {
        "http" => "ws",
        "https" => "wss",
        _ => return Err(refused("its scheme is neither http nor https")),
    };
    let mut url = endpoint.clone();
    match realtime_host(endpoint.host_str().unwrap_or_default()) {
        Some(host) => url
            .set_host(Some(&host))
            .map_err(|_| refused("its host cannot be changed"))?,
        None => url.set_path(&format!("{}/realtime", endpoint.path().trim_end_matches('/'))),
    }
    url.set_scheme(scheme)
        .map_err(|()| refused("its scheme cannot be changed"))?;
    Ok(url)
}

/// The realtime host of a host of AppSync itself.
fn realtime_host(host: &str) -> Option<String> {
    let rest = host
        .strip_suffix(".amazonaws.com")
        .or_else(|| host.strip_suffix(".amazonaws.com.cn"))?;
    let (id, region) = rest.split_once(".appsync-api.")?;
    let plain = !id.is_empty() && !region.is_empty() && !id.contains('.') && !region.contains('.');
    plain.then(|| host.replacen(".appsync-api.", ".appsync-realtime-api.", 1))
}

/// The value of `Sec-WebSocket-Protocol` that offers the protocol and carries credentials; treat it as a secret.
pub fn subprotocols(credentials: &Credentials) -> String {
    let json = Json::Object(credentials.members().clone()).to_string();
    format!(
        "{REALTIME_PROTOCOL}, {HEADER_PROTOCOL_PREFIX}{}",
        URL_SAFE_NO_PAD.encode(json)
    )
}

/// Reads credentials out of a `Sec-WebSocket-Protocol` value.
///
/// # Errors
/// [`WireError::BadHandshake`].
pub fn credentials_of_subprotocols(value: &str) -> Result<Credentials, WireError> {
    let encoded = value
        .split(',')
        .find_map(|protocol| protocol.trim().strip_prefix(HEADER_PROTOCOL_PREFIX))
        .ok_or_else(|| refused("no sub-protocol starts with `header-`"))?;
    decode(encoded.trim_end_matches('='), &URL_SAFE_NO_PAD)
}

/// Reads credentials out of the `header` parameter of a query string, after its percent-decoding.
///
/// # Errors
/// [`WireError::BadHandshake`].
pub fn credentials_of_query(header: &str) -> Result<Credentials, WireError> {
    decode(header, &STANDARD)
}

fn refused(reason: &str) -> WireError {
    WireError::BadHandshake {
        reason: reason.to_owned(),
    }
}

fn decode(encoded: &str, alphabet: &impl base64::Engine) -> Result<Credentials, WireError> {
    if encoded.len() > CREDENTIALS_BYTES_MAX {
        return Err(refused("they are too long"));
    }
    // The decoder's own messages repeat parts of the input, which may be secret.
    let json = alphabet
        .decode(encoded)
        .map_err(|_| refused("they are not Base64"))?;
    let members: Map<String, Json> =
        serde_json::from_slice(&json).map_err(|_| refused("they are not a JSON object"))?;
    Ok(Credentials::new(members))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn realtime(endpoint: &str) -> String {
        realtime_url(&endpoint.parse().expect("a URL")).map_or_else(|error| error.to_string(), String::from)
    }

    #[test]
    fn appsync_hosts_have_a_realtime_twin() {
        assert_eq!(
            realtime("https://abc123.appsync-api.eu-west-1.amazonaws.com/graphql"),
            "wss://abc123.appsync-realtime-api.eu-west-1.amazonaws.com/graphql"
        );
        assert_eq!(
            realtime("https://abc.appsync-api.cn-north-1.amazonaws.com.cn/graphql"),
            "wss://abc.appsync-realtime-api.cn-north-1.amazonaws.com.cn/graphql"
        );
    }

    #[test]
    fn other_hosts_get_a_longer_path() {
        assert_eq!(
            realtime("https://api.example.com/graphql"),
            "wss://api.example.com/graphql/realtime"
        );
        assert_eq!(
            realtime("http://127.0.0.1:8080/graphql/"),
            "ws://127.0.0.1:8080/graphql/realtime"
        );
        let lookalike = "https://x.appsync-api.eu.amazonaws.com.evil.example/graphql";
        assert_eq!(
            realtime(lookalike),
            "wss://x.appsync-api.eu.amazonaws.com.evil.example/graphql/realtime"
        );
        assert!(realtime("ftp://example.com/").contains("neither http nor https"));
    }

    #[test]
    fn credentials_survive_the_handshake_in_both_forms() {
        let members = Map::from_iter([
            ("host".to_owned(), "a?b>c".into()),
            ("x-api-key".to_owned(), "da2-ü".into()),
        ]);
        let credentials = Credentials::new(members.clone());
        let offered = subprotocols(&credentials);
        assert!(offered.starts_with("graphql-ws, header-"), "{offered}");
        assert!(!offered.contains('='), "{offered}");
        assert_eq!(credentials_of_subprotocols(&offered), Ok(credentials.clone()));
        let header = STANDARD.encode(Json::Object(members).to_string());
        assert_eq!(credentials_of_query(&header), Ok(credentials));
    }

    #[test]
    fn broken_credentials_are_refused_without_repeating_them() {
        for value in ["graphql-ws", "graphql-ws, header-%%%", "header-c2VjcmV0"] {
            let error = credentials_of_subprotocols(value).expect_err(value).to_string();
            assert!(
                !error.contains("c2VjcmV0") && !error.contains("secret"),
                "{error}"
            );
        }
        assert!(credentials_of_query(&"A".repeat(CREDENTIALS_BYTES_MAX + 4)).is_err());
    }
}
