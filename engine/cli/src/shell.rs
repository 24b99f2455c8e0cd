//! `landfall shell`: a store to type into, or to drive by JSON lines.
//!
//! Owns the arguments and the choice between the two. The operations are `shell/session.rs`, the JSON form of them
//! `shell/protocol.rs`, the form for people `shell/interactive.rs`.

mod interactive;
mod protocol;
mod recorder;
mod session;
mod values;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args as ClapArgs;
use landfall::DataStore;

use crate::schema_file;
use recorder::Recorder;
use session::Session;

/// Opens a store; type `help` for what can be typed.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// GraphQL SDL with Amplify's directives, or model-introspection JSON.
    #[arg(long, value_name = "FILE")]
    schema: PathBuf,
    /// Directory of the store; by default a temporary one that is removed at the end.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// AppSync endpoint, such as http://127.0.0.1:8080/graphql; without it nothing is synced.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// API key of the endpoint.
    #[arg(long, value_name = "KEY", env = "LANDFALL_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// Read one JSON command a line and answer with one JSON line each.
    #[arg(long)]
    json: bool,
}

/// A condition as it is typed, or as JSON of the line protocol.
pub(crate) fn condition(text: &str) -> Result<landfall::Predicate, String> {
    words::condition(text).and_then(|json| values::predicate(&json))
}

pub(crate) async fn run(args: Args) -> miette::Result<ExitCode> {
    let schema = Arc::new(schema_file::read(&args.schema)?);
    let temporary = match &args.data {
        Some(_) => None,
        None => {
            Some(tempfile::tempdir().map_err(|error| miette::miette!("no temporary directory: {error}"))?)
        }
    };
    let directory = match (&args.data, &temporary) {
        (Some(directory), _) => directory.clone(),
        (None, Some(temporary)) => temporary.path().to_owned(),
        (None, None) => unreachable!("one of the two is there"),
    };
    let recorder = Recorder::default();
    let mut builder = DataStore::builder(&schema)
        .directory(directory)
        .conflict_handler(recorder.clone())
        .error_handler(recorder.clone());
    if let Some(endpoint) = &args.endpoint {
        builder = builder.endpoint(endpoint, args.api_key.clone().unwrap_or_default());
    }
    let store = builder.open().await.map_err(|error| miette::miette!("{error}"))?;
    let session = Session::open(store.clone(), recorder)
        .await
        .map_err(|error| miette::miette!("{error}"))?;
    let done = if args.json {
        protocol::run(session).await
    } else {
        interactive::run(session).await
    };
    store.close().await;
    done.map_err(|error| miette::miette!("{error}"))?;
    Ok(ExitCode::SUCCESS)
}
