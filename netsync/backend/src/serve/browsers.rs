//! What lets pages in browsers call: cross-origin resource sharing.
//!
//! Owns the headers and the answers to preflights. Callers prove who they are by headers that pages must set themselves,
//! never by cookies, so that a page of any origin may call without acting for somebody else.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::admin::{host_name, is_this_machine};
use super::options::ServeOptions;

/// Time for which browsers keep the answer to a preflight, in seconds.
const PREFLIGHT_AGE: HeaderValue = HeaderValue::from_static("600");

/// What a call hears that is kept out.
const KEPT_OUT: &str = r#"{"errors":[{"errorType":"Forbidden","message":"this server is for this machine: its key is known to everybody, or it is one to develop against (--dev). Call it by an address, by localhost or by a name under .localhost, and from pages that have such a host; or name the pages that may call with --cors-origin ORIGIN; or start it without --dev and with a key of your own (--api-key)"}]}"#;

/// Lets pages of the origins that the options name call.
pub(super) async fn allow(
    State(options): State<Arc<ServeOptions>>,
    request: Request,
    next: Next,
) -> Response {
    let asked = request
        .headers()
        .get(header::ACCESS_CONTROL_REQUEST_HEADERS)
        .cloned();
    let allowed = allowed_origin(&options, request.headers());
    if keeps_out(&options, request.headers()) {
        let form = [(header::CONTENT_TYPE, "application/json;charset=UTF-8")];
        return (StatusCode::FORBIDDEN, form, KEPT_OUT).into_response();
    }
    let preflight = request.method() == Method::OPTIONS;
    let mut response = if preflight {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    if options.origins.is_some() || options.local_pages_only {
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    let Some(allowed) = allowed else {
        return response;
    };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("*"),
    );
    if preflight {
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, POST, OPTIONS"),
        );
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE);
        if let Some(asked) = asked {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked);
        }
    }
    response
}

/// The origin that a browser is told to let in, if any.
fn allowed_origin(options: &ServeOptions, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN);
    match &options.origins {
        Some(origins) => origin
            .filter(|own| origins.iter().any(|origin| origin.as_bytes() == own.as_bytes()))
            .cloned(),
        None if options.local_pages_only => origin.filter(|own| is_local_page(own)).cloned(),
        None => Some(HeaderValue::from_static("*")),
    }
}

/// Whether a call is refused outright: that of a page of elsewhere, where the pages of this machine alone may call, be it
/// that its name was made to lead here. Apps and emulators say no origin, and call by an address.
fn keeps_out(options: &ServeOptions, headers: &HeaderMap) -> bool {
    if options.origins.is_some() || !options.local_pages_only {
        return false;
    }
    let of_elsewhere = headers
        .get(header::ORIGIN)
        .is_some_and(|origin| !is_local_page(origin));
    let by_name = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .is_some_and(|host| !is_this_machine(host) && !is_address(host));
    of_elsewhere || by_name
}

/// Whether an origin is a page that this machine serves, by whatever scheme.
fn is_local_page(origin: &HeaderValue) -> bool {
    let host = origin.to_str().ok().and_then(|text| text.split_once("://"));
    host.is_some_and(|(_, host)| is_this_machine(host))
}

/// Whether the value of a `Host` header is an address rather than a name.
fn is_address(host: &str) -> bool {
    host_name(host).is_some_and(|name| name.parse::<IpAddr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_elsewhere_are_kept_out_where_the_key_is_known_to_everybody() {
        let mut options = ServeOptions::default();
        let headers = |origin: Option<&str>, host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            headers
        };
        let evil = headers(Some("https://evil.example"), "127.0.0.1:20002");
        assert_eq!(allowed_origin(&options, &evil).unwrap(), "*");
        assert!(!keeps_out(&options, &evil));
        options.local_pages_only = true;
        for (origin, host, is_let_in) in [
            (Some("https://evil.example"), "127.0.0.1:20002", false),
            (Some("https://localhost.evil.example"), "127.0.0.1:20002", false),
            (Some("null"), "127.0.0.1:20002", false),
            // A name of somebody else's that leads here: the page is of the same origin, and says none.
            (None, "evil.example:20002", false),
            (
                Some("http://app.localhost.evil.example"),
                "127.0.0.1:20002",
                false,
            ),
            (None, "app.localhost.evil.example", false),
            (None, "localhost:evil.example", false),
            (Some("http://localhost:3000"), "localhost:20002", true),
            // Names under `.localhost` are this machine by definition, with and without a port, as host and as origin.
            (Some("http://app.localhost:3000"), "localhost:20002", true),
            (Some("http://app.localhost"), "127.0.0.1:20002", true),
            (Some("http://app.localhost:3000"), "api.localhost:20002", true),
            (None, "app.localhost:3000", true),
            (None, "APP.LOCALHOST", true),
            (Some("http://127.8.9.10:3000"), "127.8.9.10:20002", true),
            (None, "[fe80::1]:20002", true),
            (Some("capacitor://localhost"), "127.0.0.1:20002", true),
            (Some("http://[::1]:3000"), "[::1]:20002", true),
            (None, "10.0.2.2:20002", true),
            (None, "127.0.0.1:20002", true),
        ] {
            let headers = headers(origin, host);
            assert_eq!(!keeps_out(&options, &headers), is_let_in, "{origin:?} {host}");
            let allowed = allowed_origin(&options, &headers);
            assert_eq!(
                allowed.is_some(),
                is_let_in && origin.is_some(),
                "{origin:?} {host}"
            );
        }
        options.origins = Some(vec!["https://evil.example".to_owned()]);
        assert!(!keeps_out(&options, &evil), "whoever names origins means them");
    }
}
