//! `landfall inspect`: a store as a page in the browser, or in the terminal.
//!
//! Owns the arguments, writing the page to a file and serving it. What is on the page is made by `inspect/data.rs`;
//! `inspect/page.*` are the page itself, which needs nothing from the network; that it follows a store which is written to
//! is `inspect/live.rs`, and the terminal `inspect/text.rs`.
//!
//! Invariants: 1. the page is served to this machine alone, and not to other sites that have a browser ask for it;
//! 2. what is looked at is not written to.

mod data;
mod flight;
mod live;
mod sides;
mod text;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::Args as ClapArgs;
use landfall::history;
use live::{Live, News};
use serde::Deserialize;

use crate::file_kind::no_log;
use crate::signals::Signals;

/// Shows a store, also one that a process has open, an exported log, or a recording, as a page in the browser. Of a store the
/// page shows what is added while it is open.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Directory of a store, its file, an exported log, or what a flight recorder wrote.
    path: PathBuf,
    /// Write the page to this file and end, instead of serving it.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Show it in the terminal instead; where there is none, print the newest state as text.
    #[arg(long, conflicts_with_all = ["html", "port"])]
    text: bool,
    /// Port on loopback to serve it on; 0 picks a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Show this many of the newest entries, or events of a recording, of which at most 20,000 are shown.
    #[arg(long, default_value_t = data::ENTRIES_DEFAULT, value_parser = clap::value_parser!(u64).range(1..=data::ENTRIES_MAX))]
    entries: u64,
}

const PAGE: &str = include_str!("inspect/page.html");
const STYLE: &str = include_str!("inspect/page.css");
const SCRIPT: &str = include_str!("inspect/page.js");

pub(crate) async fn run(args: Args) -> miette::Result<ExitCode> {
    let (path, entries) = (args.path.clone(), args.entries);
    // What is shown once needs nothing that follows the store.
    let follows = args.html.is_none() && (!args.text || text::has_screen());
    let made = tokio::task::spawn_blocking(move || -> miette::Result<Shown> {
        if let Some(recording) = flight::open(&path)? {
            return Ok(Shown::Recording(flight::collect(&recording, &path, entries)));
        }
        let history = history::open_for_inspection(&path)
            .map_err(|error| no_log(&path, error).unwrap_or_else(|error| miette::miette!("{error}")))?;
        let mut data = data::collect(&history, &path, entries).map_err(|error| miette::miette!("{error}"))?;
        // A store that is looked at could not be opened by its app.
        drop(history);
        let live = if follows {
            Live::follow(path, entries, &data)
        } else {
            None
        };
        data["live"] = live.is_some().into();
        Ok(Shown::Log(data, live.map(Box::new)))
    });
    let (page, live) = match made.await.map_err(|error| miette::miette!("{error}"))?? {
        Shown::Recording(data) if args.text => {
            crate::stdout::print(&flight::summary(&data))?;
            return Ok(ExitCode::SUCCESS);
        }
        Shown::Log(data, live) if args.text => {
            text::show(data, live.map(|live| *live)).await?;
            return Ok(ExitCode::SUCCESS);
        }
        Shown::Recording(data) => (flight::page(&data), None),
        Shown::Log(data, live) => (page(&data), live.map(|live| *live)),
    };
    match &args.html {
        Some(file) => {
            std::fs::write(file, page)
                .map_err(|error| miette::miette!("{} cannot be written: {error}", file.display()))?;
            println!("{}", file.display());
            Ok(ExitCode::SUCCESS)
        }
        None => serve(page, live, args.port).await,
    }
}

/// What was collected.
enum Shown {
    Log(serde_json::Value, Option<Box<Live>>),
    Recording(serde_json::Value),
}

/// The page as one file, with everything in it.
fn page(data: &serde_json::Value) -> String {
    filled(PAGE, SCRIPT, data)
}

/// A page with its style, its script and its data.
fn filled(page: &str, script: &str, data: &serde_json::Value) -> String {
    // Data must not end the element that it stands in.
    let data = data.to_string().replace('<', "\\u003c");
    page.replace("/* style */", STYLE)
        .replace("/* script */", script)
        .replace("/* data */", &data)
}

/// What the handler knows.
#[derive(Clone)]
struct Served {
    page: Arc<str>,
    /// `None` if nothing is added to what is shown.
    live: Option<Arc<Mutex<Live>>>,
    hosts: [String; 2],
}

async fn serve(page: String, live: Option<Live>, port: u16) -> miette::Result<ExitCode> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port))
        .await
        .map_err(|error| miette::miette!("cannot listen on port {port}: {error}; choose another --port"))?;
    let port = listener
        .local_addr()
        .map_err(|error| miette::miette!("{error}"))?
        .port();
    let served = Served {
        page: page.into(),
        live: live.map(|live| Arc::new(Mutex::new(live))),
        hosts: [format!("127.0.0.1:{port}"), format!("localhost:{port}")],
    };
    let router = axum::Router::new()
        .route("/", get(answer))
        .route("/data", get(news))
        .with_state(served);
    println!("open http://127.0.0.1:{port}/ in a browser; end with Ctrl-C");
    let mut signals = Signals::new()?;
    tokio::select! {
        served = axum::serve(listener, router) => served.map_err(|error| miette::miette!("{error}"))?,
        _ = signals.next() => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Another site may have its name lead to this machine and ask for the page; it asks by its own name.
async fn answer(State(served): State<Served>, headers: HeaderMap) -> Response {
    if !served.is_asked(&headers) {
        return refused();
    }
    of_type("text/html; charset=utf-8", served.page.to_string())
}

/// What a page has seen.
#[derive(Deserialize)]
struct Seen {
    after: u64,
}

/// What was added since; nothing, with the status that says so, if nothing was.
async fn news(State(served): State<Served>, headers: HeaderMap, Query(seen): Query<Seen>) -> Response {
    if !served.is_asked(&headers) {
        return refused();
    }
    let Some(live) = served.live else {
        return StatusCode::NO_CONTENT.into_response();
    };
    let look = move || {
        live.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .after(seen.after)
    };
    match tokio::task::spawn_blocking(look).await {
        Ok(Ok(News::Nothing)) => StatusCode::NO_CONTENT.into_response(),
        Ok(Ok(News::Data(data))) => of_type("application/json", data),
        Ok(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

impl Served {
    fn is_asked(&self, headers: &HeaderMap) -> bool {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        host.is_some_and(|host| self.hosts.iter().any(|own| own == host))
    }
}

fn refused() -> Response {
    (StatusCode::FORBIDDEN, "ask by the address that was printed").into_response()
}

fn of_type(content: &'static str, body: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_cannot_leave_its_element() {
        let hostile = serde_json::json!({ "title": "</script><script>alert(1)</script>" });
        let page = page(&hostile);
        assert!(!page.contains("alert(1)</script>"));
        assert!(page.contains("\\u003c/script>"));
        assert!(!page.contains("/* data */") && !page.contains("/* style */"));
        for from_elsewhere in ["http://", "https://", "src=", "@import"] {
            assert!(
                !page.contains(from_elsewhere),
                "{from_elsewhere} would be fetched"
            );
        }
    }
}
