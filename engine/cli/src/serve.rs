//! `landfall serve`: the AppSync-compatible backend on an address of this machine.

mod auth;
mod secret;
mod token;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use landfall_backend::{Backend, BackendConfig, ConflictStrategy, ServerHandle, os_entropy};
use landfall_core::Schema;
use landfall_storage::kv::KvStore;

use crate::schema_file;

/// Prints `listening on http://127.0.0.1:N/graphql` once it is ready; ends at Ctrl-C.
#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// GraphQL SDL with Amplify's directives, or model-introspection JSON.
    #[arg(long, value_name = "FILE", required = true)]
    schema: Option<PathBuf>,
    /// Port to listen on; 0 picks a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Directory for the tables; by default they are in memory and gone at the end.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    auth: auth::AuthArgs,
    /// How conflicts are resolved.
    #[arg(long, value_enum, default_value = "automerge")]
    conflict: Conflict,
}

/// What there is beside serving.
#[derive(Debug, Subcommand)]
enum Command {
    /// Issues a token for `--dev-tokens`.
    Token(token::TokenArgs),
}

/// How the backend resolves conflicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Conflict {
    /// Merges what can be merged; the server's value wins.
    Automerge,
    /// Refuses, and lets the client decide.
    OptimisticConcurrency,
}

/// A backend that listens.
pub(crate) struct Running {
    url: String,
    handle: ServerHandle,
}

impl Running {
    /// The endpoint for clients.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Stops listening and waits until open requests are answered.
    pub(crate) async fn shutdown(self) {
        self.handle.shutdown().await;
    }
}

/// Starts a backend on loopback; port 0 picks a free one, no directory keeps the tables in memory.
pub(crate) async fn start(
    schema: Arc<Schema>,
    api_key: &str,
    conflict: Conflict,
    data: Option<&Path>,
    port: u16,
) -> miette::Result<Running> {
    let config = BackendConfig {
        conflict: conflict.strategy(),
        ..BackendConfig::with_api_key(api_key)
    };
    start_with(schema, config, data, port).await
}

impl Conflict {
    fn strategy(self) -> ConflictStrategy {
        match self {
            Self::Automerge => ConflictStrategy::Automerge,
            Self::OptimisticConcurrency => ConflictStrategy::OptimisticConcurrency,
        }
    }
}

async fn start_with(
    schema: Arc<Schema>,
    config: BackendConfig,
    data: Option<&Path>,
    port: u16,
) -> miette::Result<Running> {
    let kv = match data {
        Some(directory) => KvStore::open(directory),
        None => KvStore::in_memory(),
    };
    let kv = kv.map_err(|error| miette::miette!("{error}"))?;
    let backend =
        Backend::new(schema, config, kv, os_entropy()).map_err(|error| miette::miette!("{error}"))?;
    for warning in backend.unreachable_models() {
        eprintln!("warning: {warning}");
    }
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let handle = landfall_backend::serve(address, Arc::new(backend))
        .await
        .map_err(|error| {
            miette::miette!("cannot listen on {address}: {error}; choose another --port, or 0 for a free one")
        })?;
    Ok(Running {
        url: handle.endpoint(),
        handle,
    })
}

pub(crate) async fn run(args: Args) -> miette::Result<ExitCode> {
    if let Some(Command::Token(args)) = &args.command {
        return token::run(args);
    }
    let path = args
        .schema
        .as_deref()
        .ok_or_else(|| miette::miette!("name a schema with --schema"))?;
    let schema = Arc::new(schema_file::read(path)?);
    let config = BackendConfig {
        conflict: args.conflict.strategy(),
        ..args.auth.config()?
    };
    let running = start_with(schema, config, args.data.as_deref(), args.port).await?;
    println!("listening on {}", running.url());
    tokio::signal::ctrl_c()
        .await
        .map_err(|error| miette::miette!("{error}"))?;
    running.shutdown().await;
    Ok(ExitCode::SUCCESS)
}
