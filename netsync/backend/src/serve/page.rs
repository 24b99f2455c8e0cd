//! The page to explore the API with: GraphiQL, the tables, faults.
//!
//! Owns the files of the page, which are part of the binary and need nothing from elsewhere. Only a server in development
//! mode has it. What the page may load and call is stated to the browser: itself. The files of others
//! (`assets/vendor/README.md`) are kept and sent compressed; there is no browser that cannot read them so.

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::shell::Shell;

/// A file of the page.
struct File {
    path: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
    /// Whether `bytes` are compressed.
    gzip: bool,
}

impl File {
    const fn own(path: &'static str, kind: &'static str, text: &'static str) -> Self {
        let (bytes, gzip) = (text.as_bytes(), false);
        Self {
            path,
            kind,
            bytes,
            gzip,
        }
    }

    const fn of_others(path: &'static str, kind: &'static str, bytes: &'static [u8]) -> Self {
        let gzip = true;
        Self {
            path,
            kind,
            bytes,
            gzip,
        }
    }
}

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

static FILES: [File; 8] = [
    File::own("/", HTML, include_str!("page/index.html")),
    File::own("/_page/style.css", STYLE, include_str!("page/style.css")),
    File::own("/_page/page.js", SCRIPT, include_str!("page/page.js")),
    File::own("/_page/query.js", SCRIPT, include_str!("page/query.js")),
    File::of_others(
        "/_page/graphiql.css",
        STYLE,
        include_bytes!("../../assets/vendor/graphiql.css.gz"),
    ),
    File::of_others(
        "/_page/graphiql.js",
        SCRIPT,
        include_bytes!("../../assets/vendor/graphiql.js.gz"),
    ),
    File::of_others(
        "/_page/react.js",
        SCRIPT,
        include_bytes!("../../assets/vendor/react.js.gz"),
    ),
    File::of_others(
        "/_page/react-dom.js",
        SCRIPT,
        include_bytes!("../../assets/vendor/react-dom.js.gz"),
    ),
];

/// Nothing from elsewhere, no script inline, and in no frame. GraphiQL's dialogs put styles into the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn routes() -> Router<Shell> {
    FILES.iter().fold(Router::new(), |routes, file| {
        routes.route(file.path, get(move || async move { answer(file) }))
    })
}

fn answer(file: &'static File) -> Response {
    let fixed = |name: &'static str, value: &'static str| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    let mut response = (
        [
            (header::CONTENT_TYPE, HeaderValue::from_static(file.kind)),
            fixed("content-security-policy", POLICY),
            fixed("x-content-type-options", "nosniff"),
            fixed("referrer-policy", "no-referrer"),
            fixed("cache-control", "no-cache"),
        ],
        file.bytes,
    )
        .into_response();
    if file.gzip {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}
