//! `landfall shell`: a store to type into, or to drive by JSON lines.
//!
//! Owns the arguments and the choice between the two. The operations are `shell/session.rs`, the JSON form of them
//! `shell/protocol.rs`, the form for people `shell/interactive.rs`.

mod interactive;
mod kept;
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

use crate::credentials::CredentialArgs;
use crate::opening;
use crate::schema_file;
use crate::signals::Signals;
use interactive::Surroundings;
use recorder::Recorder;
use session::Session;
use values::Form;

/// Opens a store, and syncs it if there is an endpoint; type `help` for what can be typed.
///
/// What is typed by a script, through a pipe, ends with status 1 if a command failed. With --json each line is answered by
/// itself, and the status says nothing of them.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// GraphQL SDL with Amplify's directives, or model-introspection JSON.
    #[arg(long, value_name = "FILE")]
    schema: PathBuf,
    /// Directory of the store; by default a temporary one that is removed at the end.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// AppSync endpoint to sync with, such as http://127.0.0.1:8080/graphql; without it nothing is synced.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Do not sync before `start` is typed.
    #[arg(long, alias = "no-start")]
    offline: bool,
    /// Record what the store hears from outside in this new file, for `landfall replay`. It holds records, and no credentials.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    #[command(flatten)]
    credentials: CredentialArgs,
    /// Read one JSON command a line and answer with one JSON line each; then `start` has to be said.
    ///
    /// What happens is kept until it is asked for: 100,000 changes, records of snapshots and Hub events each, 10,000 errors and
    /// 10,000 conflicts. Beyond that the oldest give way, and the next answer is an error that says how many (of Hub
    /// events an event says it); those that were kept come with the one after it. `outbox` lists a million changes, and says if there are more.
    #[arg(long)]
    json: bool,
}

/// A condition as it is typed, or as JSON of the line protocol.
pub(crate) fn condition(text: &str) -> Result<landfall::Predicate, String> {
    words::condition(text).and_then(|json| values::predicate(&json))
}

/// Whether the recorder has begun and goes on.
fn is_recorded(store: &DataStore) -> bool {
    store.recording().is_some_and(|report| !report.stopped)
}

pub(crate) async fn run(args: Args) -> miette::Result<ExitCode> {
    let (schema, implied) = schema_file::read_with_implied(&args.schema)?;
    let schema = Arc::new(schema);
    let temporary = match &args.data {
        Some(_) => None,
        None => Some(opening::temporary(", or keep the store with --data DIR")?),
    };
    let directory = match (&args.data, &temporary) {
        (Some(directory), _) => directory.clone(),
        (None, Some(temporary)) => temporary.path().to_owned(),
        (None, None) => unreachable!("one of the two is there"),
    };
    let (recorder, errors) = Recorder::with_listener();
    let mut builder = DataStore::builder(&schema)
        .directory(&directory)
        .conflict_handler(recorder.clone())
        .error_handler(recorder.clone());
    if let Some(endpoint) = &args.endpoint {
        builder = args.credentials.attach(builder, endpoint)?;
    }
    if let Some(file) = &args.record {
        builder = builder.record(file);
    }
    let store = opening::open(builder, &directory, &schema).await?;
    if let Some(file) = args.record.as_deref().filter(|_| !is_recorded(&store)) {
        store.close().await;
        return Err(miette::miette!(
            "{}: nothing is recorded, since a recording begins with the whole log, and that of this store was trimmed",
            file.display()
        ));
    }
    let session = Session::open(store.clone(), recorder, Form::new(&schema, implied))
        .await
        .map_err(|error| miette::miette!("{error}"))?;
    let mut signals = Signals::with_hang_up()?;
    let converse = async {
        if args.json {
            return protocol::run(session).await.map(|()| true);
        }
        let surroundings = Surroundings {
            starts: !args.offline && args.endpoint.is_some(),
            url: args.endpoint,
            kept_in: args.data,
            errors,
        };
        interactive::run(session, surroundings).await
    };
    let ended = tokio::select! {
        done = converse => Ok(done),
        asked = signals.next() => Err(asked),
    };
    // Also when it is broken off: what was saved is on disk, and a temporary store leaves nothing behind.
    store.close().await;
    match ended {
        Ok(done) => match done.map_err(|error| miette::miette!("{error}"))? {
            true => Ok(ExitCode::SUCCESS),
            false => Ok(ExitCode::FAILURE),
        },
        Err(asked) => Ok(asked.status()),
    }
}
