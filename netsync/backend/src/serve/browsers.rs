//! What lets pages in browsers call: cross-origin resource sharing.
//!
//! Owns the headers and the answers to preflights. Callers prove who they are by headers that pages must set themselves,
//! never by cookies, so that a page of any origin may call without acting for somebody else.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::options::ServeOptions;

/// Time for which browsers keep the answer to a preflight, in seconds.
const PREFLIGHT_AGE: HeaderValue = HeaderValue::from_static("600");

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
    let allowed = allowed_origin(options.origins.as_deref(), request.headers());
    let preflight = request.method() == Method::OPTIONS;
    let mut response = if preflight {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    if options.origins.is_some() {
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
fn allowed_origin(origins: Option<&[String]>, headers: &HeaderMap) -> Option<HeaderValue> {
    let Some(origins) = origins else {
        return Some(HeaderValue::from_static("*"));
    };
    let own = headers.get(header::ORIGIN)?;
    origins
        .iter()
        .any(|origin| origin.as_bytes() == own.as_bytes())
        .then(|| own.clone())
}
