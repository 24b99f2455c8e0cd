//! `landfall inspect`: a store as a page in the browser.
//!
//! Owns the arguments, writing the page to a file and serving it. What is on the page is made by `inspect/data.rs`;
//! `inspect/page.*` are the page itself, which needs nothing from the network.
//!
//! Invariants: 1. the page is served to this machine alone, and not to other sites that have a browser ask for it;
//! 2. what is looked at is not written to.

mod data;

use std::path::PathBuf;
use std::process::ExitCode;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::Args as ClapArgs;
use landfall::history;

/// Shows a store, also one that a process has open, or an exported log, as a page in the browser.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Directory of a store, its file, or an exported log.
    path: PathBuf,
    /// Write the page to this file and end, instead of serving it.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Port on loopback to serve it on; 0 picks a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Show this many of the newest entries.
    #[arg(long, default_value_t = data::ENTRIES_DEFAULT, value_parser = clap::value_parser!(u64).range(1..=data::ENTRIES_MAX))]
    entries: u64,
}

const PAGE: &str = include_str!("inspect/page.html");
const STYLE: &str = include_str!("inspect/page.css");
const SCRIPT: &str = include_str!("inspect/page.js");

pub(crate) async fn run(args: Args) -> miette::Result<ExitCode> {
    let (path, entries) = (args.path.clone(), args.entries);
    let page = tokio::task::spawn_blocking(move || -> miette::Result<String> {
        let history = history::open_for_inspection(&path).map_err(|error| miette::miette!("{error}"))?;
        let data = data::collect(&history, &path, entries).map_err(|error| miette::miette!("{error}"))?;
        Ok(page(&data))
    });
    let page = page.await.map_err(|error| miette::miette!("{error}"))??;
    match &args.html {
        Some(file) => {
            std::fs::write(file, page)
                .map_err(|error| miette::miette!("{} cannot be written: {error}", file.display()))?;
            println!("{}", file.display());
            Ok(ExitCode::SUCCESS)
        }
        None => serve(page, args.port).await,
    }
}

/// The page as one file, with everything in it.
fn page(data: &serde_json::Value) -> String {
    // Data must not end the element that it stands in.
    let data = data.to_string().replace('<', "\\u003c");
    PAGE.replace("/* style */", STYLE)
        .replace("/* script */", SCRIPT)
        .replace("/* data */", &data)
}

/// What the handler knows.
#[derive(Clone)]
struct Served {
    page: std::sync::Arc<str>,
    hosts: [String; 2],
}

async fn serve(page: String, port: u16) -> miette::Result<ExitCode> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port))
        .await
        .map_err(|error| miette::miette!("cannot listen on port {port}: {error}; choose another --port"))?;
    let port = listener
        .local_addr()
        .map_err(|error| miette::miette!("{error}"))?
        .port();
    let served = Served {
        page: page.into(),
        hosts: [format!("127.0.0.1:{port}"), format!("localhost:{port}")],
    };
    let router = axum::Router::new().route("/", get(answer)).with_state(served);
    println!("open http://127.0.0.1:{port}/ in a browser; end with Ctrl-C");
    let ended = async {
        // Without a way to hear of Ctrl-C the page is served until the process is ended.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        served = axum::serve(listener, router) => served.map_err(|error| miette::miette!("{error}"))?,
        () = ended => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Another site may have its name lead to this machine and ask for the page; it asks by its own name.
async fn answer(State(served): State<Served>, headers: HeaderMap) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    if !host.is_some_and(|host| served.hosts.iter().any(|own| own == host)) {
        return (StatusCode::FORBIDDEN, "ask by the address that was printed").into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, served.page.to_string()).into_response()
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
