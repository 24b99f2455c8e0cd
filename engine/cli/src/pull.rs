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
use landfall_netsync::HttpTransport;
use landfall_wire::{HttpRequest, OperationName, Transport};
use miette::IntoDiagnostic;

use crate::credentials::CredentialArgs;
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
    #[command(flatten)]
    credentials: CredentialArgs,
    /// File to write; standard output by default.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) async fn run(args: Args) -> miette::Result<ExitCode> {
    let endpoint = args.credentials.endpoint(&args.endpoint)?;
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
            "the API answered with status {}; check the endpoint, and --api-key, --token or --iam",
            reply.status
        ));
    }
    Api::read(&reply.body)
}

#[cfg(test)]
mod tests;
