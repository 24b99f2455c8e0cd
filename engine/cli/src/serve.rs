//! `landfall serve`: the AppSync-compatible backend on an address of this machine.

mod hosting;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args as ClapArgs, ValueEnum};
use landfall_backend::{Backend, BackendConfig, ConflictStrategy, ServeOptions, ServerHandle, os_entropy};
use landfall_core::Schema;
use landfall_storage::kv::KvStore;

use crate::schema_file;
use hosting::{Hosting, WELL_KNOWN_API_KEY};

/// Prints `listening on http://127.0.0.1:N/graphql` once it is ready; ends at Ctrl-C (a second one does not wait).
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// GraphQL SDL with Amplify's directives, or model-introspection JSON.
    #[arg(long, value_name = "FILE")]
    schema: PathBuf,
    /// Port to listen on; 0 picks a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Directory for the tables; by default they are in memory and gone at the end.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Key that clients must present.
    #[arg(
        long,
        value_name = "KEY",
        env = "LANDFALL_API_KEY",
        hide_env_values = true,
        default_value = WELL_KNOWN_API_KEY
    )]
    api_key: String,
    /// How conflicts are resolved.
    #[arg(long, value_enum, default_value = "automerge")]
    conflict: Conflict,
    #[command(flatten)]
    hosting: Hosting,
}

impl Args {
    pub(crate) fn start_log(&self) {
        crate::log::start(self.hosting.log_format, self.hosting.log_level);
    }
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
    let address = SocketAddr::from((IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    host(schema, api_key, conflict, data, address, ServeOptions::default()).await
}

/// Starts a backend as it is to be hosted.
async fn host(
    schema: Arc<Schema>,
    api_key: &str,
    conflict: Conflict,
    data: Option<&Path>,
    address: SocketAddr,
    options: ServeOptions,
) -> miette::Result<Running> {
    let kv = match data {
        Some(directory) => KvStore::open(directory),
        None => KvStore::in_memory(),
    };
    let kv = kv.map_err(|error| miette::miette!("{error}"))?;
    let config = BackendConfig {
        conflict: match conflict {
            Conflict::Automerge => ConflictStrategy::Automerge,
            Conflict::OptimisticConcurrency => ConflictStrategy::OptimisticConcurrency,
        },
        ..BackendConfig::with_api_key(api_key)
    };
    let backend =
        Backend::new(schema, config, kv, os_entropy()).map_err(|error| miette::miette!("{error}"))?;
    let handle = landfall_backend::serve_with(address, Arc::new(backend), options)
        .await
        .map_err(|error| miette::miette!("{error} (--port 0 picks a free one)"))?;
    Ok(Running {
        url: handle.endpoint(),
        handle,
    })
}

pub(crate) async fn run(args: Args) -> miette::Result<ExitCode> {
    let schema = Arc::new(schema_file::read(&args.schema)?);
    let options = args.hosting.options(&args.api_key)?;
    let address = SocketAddr::from((args.hosting.host(), args.port));
    let mut signals = Signals::new()?;
    let running = host(
        schema,
        &args.api_key,
        args.conflict,
        args.data.as_deref(),
        address,
        options,
    )
    .await?;
    for fault in &args.hosting.fault {
        running
            .handle
            .inject(*fault)
            .map_err(|error| miette::miette!("{error}"))?;
    }
    println!("listening on {}", running.url());
    if args.hosting.is_development() {
        println!("explore it at {}", running.url().trim_end_matches("graphql"));
    }
    signals.next().await;
    tracing::info!("asked to stop: finishing what runs");
    tokio::select! {
        () = running.shutdown() => Ok(ExitCode::SUCCESS),
        () = signals.next() => {
            tracing::warn!("asked to stop at once");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// What asks a process to end: Ctrl-C, and what service managers send.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    /// Listens from now on.
    fn new() -> miette::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
                .map_err(|error| miette::miette!("{error}"))?,
        })
    }

    /// Waits for the next one.
    async fn next(&mut self) {
        #[cfg(unix)]
        let terminated = self.terminate.recv();
        #[cfg(not(unix))]
        let terminated = std::future::pending::<Option<()>>();
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => {
                if let Err(error) = interrupted {
                    tracing::error!(%error, "Ctrl-C cannot be heard");
                }
            }
            _ = terminated => {}
        }
    }
}
