//! `landfall serve`: the AppSync-compatible backend on an address of this machine.

mod auth;
mod given;
mod hosting;
mod secret;
mod tables;
mod token;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use landfall_backend::{
    Backend, BackendConfig, BackendError, ConflictHandlers, ConflictStrategy, ConflictWebhook, ServeOptions,
    ServerHandle, os_entropy,
};
use landfall_core::Schema;
use landfall_storage::kv::KvStore;

use crate::schema_file;
use crate::signals::Signals;
use hosting::Hosting;
pub(crate) use hosting::WELL_KNOWN_API_KEY;

/// Prints `listening on http://127.0.0.1:N/graphql` once it is ready; ends at Ctrl-C (a second one does not wait).
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
    /// Serve tables whose rows were made by a schema with models, fields or types that this one has not; what they hold is
    /// not served. Rows are not carried over.
    #[arg(long, requires = "data")]
    accept_schema_change: bool,
    #[command(flatten)]
    auth: auth::AuthArgs,
    /// How conflicts are resolved.
    #[arg(long, value_enum, default_value = "automerge")]
    conflict: Conflict,
    /// How conflicts of one model are resolved, such as `Post=optimistic-concurrency`; may be given again.
    #[arg(long, value_name = "MODEL=HOW", value_parser = model_conflict)]
    model_conflict: Vec<(String, Conflict)>,
    /// URL that is asked by `handler`: it gets AppSync's Lambda event and answers RESOLVE, REJECT or REMOVE.
    #[arg(long, value_name = "URL")]
    conflict_webhook: Option<String>,
    /// How long the webhook may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=30))]
    conflict_webhook_timeout: u64,
    /// How long deleted records stay as tombstones, in minutes; 0 keeps none.
    #[arg(long, value_name = "MINUTES", default_value_t = 43_200)]
    base_ttl: u32,
    /// How long changes stay in the delta table, in minutes.
    #[arg(long, value_name = "MINUTES", default_value_t = 30)]
    delta_ttl: u32,
    /// Chooses another reading where AppSync's behaviour is not settled, such as `list-merge=union`; may be given again.
    #[arg(long = "switch", value_name = "NAME=READING")]
    switches: Vec<String>,
    #[command(flatten)]
    hosting: Hosting,
}

impl Args {
    pub(crate) fn start_log(&self) {
        crate::logging::start(self.hosting.log_format, self.hosting.log_level);
    }
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
    /// Asks the webhook, as AppSync asks a Lambda function.
    Handler,
}

impl From<Conflict> for ConflictStrategy {
    fn from(conflict: Conflict) -> Self {
        match conflict {
            Conflict::Automerge => Self::Automerge,
            Conflict::OptimisticConcurrency => Self::OptimisticConcurrency,
            Conflict::Handler => Self::Handler,
        }
    }
}

fn model_conflict(text: &str) -> Result<(String, Conflict), String> {
    let (model, how) = text
        .split_once('=')
        .ok_or("write the model and how, such as Post=optimistic-concurrency")?;
    Ok((model.to_owned(), Conflict::from_str(how, false)?))
}

impl Args {
    /// The backend's settings.
    fn config(&self, schema: &Schema) -> miette::Result<BackendConfig> {
        let mut config = BackendConfig {
            conflict: self.conflict.into(),
            base_ttl_minutes: self.base_ttl,
            delta_ttl_minutes: self.delta_ttl,
            ..self.auth.config()?
        };
        config.limits.calls_per_second_max = self.hosting.throttle;
        for text in &self.switches {
            config
                .switches
                .set(text)
                .map_err(|error| miette::miette!("{error}"))?;
        }
        for (model, how) in &self.model_conflict {
            if schema.model(model).is_none() {
                return Err(miette::miette!(
                    "the schema has no model `{model}`; check --model-conflict"
                ));
            }
            config
                .model_conflicts
                .insert(model.as_str().into(), (*how).into());
        }
        let asks = config.conflict == ConflictStrategy::Handler
            || config
                .model_conflicts
                .values()
                .any(|how| *how == ConflictStrategy::Handler);
        match &self.conflict_webhook {
            Some(_) if !asks => {
                return Err(miette::miette!("nobody asks the webhook; add --conflict handler"));
            }
            Some(url) => {
                let timeout = Duration::from_secs(self.conflict_webhook_timeout);
                let webhook = ConflictWebhook::new(url, timeout, tokio::runtime::Handle::current())
                    .map_err(|error| miette::miette!("{error}"))?;
                config.conflict_handlers = ConflictHandlers::for_all(webhook);
            }
            None if asks => {
                return Err(miette::miette!(
                    "who resolves the conflicts? name a URL with --conflict-webhook"
                ));
            }
            None => {}
        }
        Ok(config)
    }
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
        conflict: conflict.into(),
        ..BackendConfig::with_api_key(api_key)
    };
    let address = SocketAddr::from((IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    let mut options = ServeOptions::default();
    options.local_pages_only = api_key == WELL_KNOWN_API_KEY;
    host(schema, config, data, address, options).await
}

/// Starts a backend as it is to be hosted.
async fn host(
    schema: Arc<Schema>,
    config: BackendConfig,
    data: Option<&Path>,
    address: SocketAddr,
    options: ServeOptions,
) -> miette::Result<Running> {
    let kv = match data {
        Some(directory) => KvStore::open(directory).map_err(|error| {
            miette::miette!("{error}").wrap_err(format!(
                "the tables cannot be kept in the directory {} (--data)",
                directory.display()
            ))
        })?,
        None => KvStore::in_memory().map_err(|error| miette::miette!("{error}"))?,
    };
    let backend =
        Backend::new(schema, config, kv, os_entropy()).map_err(|error| miette::miette!("{error}"))?;
    for warning in backend.unreachable_models() {
        eprintln!("warning: {warning}");
    }
    let handle = landfall_backend::serve_with(address, Arc::new(backend), options)
        .await
        .map_err(|error| match error {
            BackendError::Listen { .. } => miette::miette!("{error} (--port 0 picks a free one)"),
            other => miette::miette!("{other}"),
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
    let config = args.config(&schema)?;
    let options = args.hosting.options(&config.api_keys)?;
    if args.auth.takes_dev_tokens() && !args.hosting.host().is_loopback() {
        eprintln!(
            "warning: whoever has the secret of the development tokens can be any user; leave --dev-tokens out here"
        );
    }
    if args.hosting.is_in_the_clear() {
        eprintln!(
            "warning: without --tls-cert and --tls-key, keys and tokens go over the network as they are; leave this to a proxy only"
        );
    }
    let address = SocketAddr::from((args.hosting.host(), args.port));
    if let Some(directory) = &args.data {
        tables::check(directory, &schema, args.accept_schema_change)?;
    }
    let mut signals = Signals::new()?;
    let running = host(
        Arc::clone(&schema),
        config,
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
    if let Some(directory) = &args.data {
        tables::note(directory, &schema);
    }
    println!("listening on {}", running.url());
    if args.hosting.is_development() {
        println!("explore it at {}", running.url().trim_end_matches("graphql"));
    }
    signals.next().await;
    tracing::info!("asked to stop: finishing what runs");
    tokio::select! {
        () = running.shutdown() => Ok(ExitCode::SUCCESS),
        _ = signals.next() => {
            tracing::warn!("asked to stop at once");
            Ok(ExitCode::FAILURE)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn config(flags: &[&str]) -> Result<BackendConfig, String> {
        let line = [&["serve", "--schema", "s.graphql"], flags].concat();
        let schema = landfall_codegen::parse_sdl("s.graphql", "type Post @model { title: String }").unwrap();
        let command = Command::try_parse_from(line).map_err(|error| error.to_string())?;
        command.args.config(&schema).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn flags_become_settings() {
        let plain = config(&[]).unwrap();
        assert_eq!(
            (plain.conflict, plain.base_ttl_minutes, plain.delta_ttl_minutes),
            (ConflictStrategy::Automerge, 43_200, 30)
        );
        let set = config(&[
            "--model-conflict",
            "Post=handler",
            "--conflict-webhook",
            "http://127.0.0.1:9/",
            "--switch",
            "list-merge=union",
            "--delta-ttl",
            "5",
        ])
        .unwrap();
        assert_eq!(set.model_conflicts["Post"], ConflictStrategy::Handler);
        assert_eq!(
            (set.switches.list_merge, set.delta_ttl_minutes),
            (landfall_backend::ListMerge::Union, 5)
        );
    }

    #[test]
    fn a_server_to_develop_against_is_for_this_machine_only() {
        let line = ["serve", "--schema", "s.graphql", "--dev", "--host", "0.0.0.0"];
        let refused = Command::parse_from(line).args.hosting.options(&[]).unwrap_err();
        assert!(refused.to_string().contains("leave --host out"), "{refused}");
    }

    #[tokio::test]
    async fn pages_of_elsewhere_are_kept_out_while_everybody_knows_the_key() {
        let options = |flags: &[&str]| {
            let line = [&["serve", "--schema", "s.graphql"], flags].concat();
            let hosting = Command::parse_from(line).args.hosting;
            let keys = config(flags).unwrap().api_keys;
            hosting.options(&keys).unwrap()
        };
        assert!(options(&[]).local_pages_only);
        assert!(options(&["--api-key", "da2-own", "--dev"]).local_pages_only);
        assert!(!options(&["--api-key", "da2-own"]).local_pages_only);
        let throttled = config(&["--throttle", "50"]).unwrap();
        assert_eq!(throttled.limits.calls_per_second_max, Some(50));
    }

    #[tokio::test]
    async fn flags_that_make_no_sense_say_what_would() {
        for (flags, hint) in [
            (&["--conflict", "handler"][..], "--conflict-webhook"),
            (&["--model-conflict", "Nope=automerge"], "no model `Nope`"),
            (
                &["--model-conflict", "Post"],
                "such as Post=optimistic-concurrency",
            ),
            (&["--switch", "list-merge=sum"], "append|replace|union"),
            (
                &["--conflict", "handler", "--conflict-webhook", "ftp://host"],
                "begin with http",
            ),
            (&["--conflict-webhook", "http://host"], "--conflict handler"),
            (&["--api-key", ""], "at least one character"),
            (&["--cors-origin", "*"], "https://app.example.com"),
        ] {
            let refused = config(flags).unwrap_err();
            assert!(refused.contains(hint), "{refused}");
        }
    }
}
