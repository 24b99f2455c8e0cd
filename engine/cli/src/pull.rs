//! `landfall pull`: the schema of an API that is there already, as SDL that `include_schema!` takes.
//!
//! Owns the call and what is reported of it. The introspection query is in `introspection.rs`, the way back from it to
//! models in `models.rs` and `relations.rs`.

mod introspection;
mod models;
mod relations;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args as ClapArgs;
use landfall_netsync::{Authorization, Endpoint, HttpTransport};
use landfall_wire::{HttpRequest, OperationName, Transport};
use miette::IntoDiagnostic;

use introspection::Api;

/// Asks an API for its schema and prints the models as SDL.
///
/// Introspection tells types and operations, no directives: keys, indexes, relations and owner rules are read off them;
/// defaults and other rules cannot be seen.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// URL of the GraphQL endpoint.
    #[arg(long, value_name = "URL")]
    endpoint: String,
    /// API key to present.
    #[arg(
        long,
        value_name = "KEY",
        env = "LANDFALL_API_KEY",
        hide_env_values = true,
        default_value = "da2-landfall"
    )]
    api_key: String,
    /// Token to present instead, of a user pool, an OpenID Connect provider or for a Lambda authorizer.
    #[arg(long, value_name = "TOKEN", env = "LANDFALL_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// File to write; standard output by default.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) async fn run(args: Args) -> miette::Result<ExitCode> {
    let authorization = match args.token.filter(|token| !token.is_empty()) {
        Some(token) => Authorization::fixed_token(token),
        None => Authorization::api_key(args.api_key),
    };
    let endpoint = Endpoint::new(&args.endpoint, authorization).into_diagnostic()?;
    let transport = HttpTransport::new(endpoint).into_diagnostic()?;
    let api = ask(&transport).await?;
    let pulled = models::pull(&api)?;
    for note in &pulled.notes {
        eprintln!("note: {note}");
    }
    match &args.out {
        Some(file) => {
            std::fs::write(file, &pulled.sdl)
                .into_diagnostic()
                .map_err(|error| miette::miette!("cannot write {}: {error}", file.display()))?;
            eprintln!("{} models written to {}", pulled.models, file.display());
        }
        None => crate::modelgen::print(&pulled.sdl),
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the introspection query.
async fn ask(transport: &dyn Transport) -> miette::Result<Api> {
    let request = HttpRequest {
        body: introspection::request(),
        operation: OperationName::new(introspection::OPERATION),
    };
    let reply = transport.execute(request).await.into_diagnostic()?;
    if reply.status != 200 {
        return Err(miette::miette!(
            "the API answered with status {}; check the endpoint, and --api-key or --token",
            reply.status
        ));
    }
    Api::read(&reply.body)
}

#[cfg(test)]
mod tests;
