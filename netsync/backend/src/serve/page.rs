//! The page to explore the API with: a query editor, its documentation, the tables, subscriptions, faults.
//!
//! Owns the files of the page, which are part of the binary and need nothing from elsewhere. Only a server in development
//! mode has it. What the page may load and call is stated to the browser: itself.

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::shell::Shell;

const HTML: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/page.js");

/// Nothing from elsewhere, nothing inline, and in no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn routes() -> Router<Shell> {
    Router::new()
        .route("/", get(async || file("text/html; charset=utf-8", HTML)))
        .route(
            "/_page/style.css",
            get(async || file("text/css; charset=utf-8", STYLE)),
        )
        .route(
            "/_page/page.js",
            get(async || file("text/javascript; charset=utf-8", SCRIPT)),
        )
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let fixed = |name: &'static str, value: &'static str| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    (
        [
            (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
            fixed("content-security-policy", POLICY),
            fixed("x-content-type-options", "nosniff"),
            fixed("referrer-policy", "no-referrer"),
            fixed("cache-control", "no-cache"),
        ],
        text,
    )
        .into_response()
}
