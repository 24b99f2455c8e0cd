//! `landfall serve token`: a token of a user who exists on this machine only.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args as ClapArgs;
use landfall_backend::{DevIssuer, TokenRequest};
use miette::IntoDiagnostic as _;

use super::{given, secret};

/// Prints a token that `landfall serve --dev-tokens` takes for one of a user pool, and nothing else.
#[derive(Debug, ClapArgs)]
pub(crate) struct TokenArgs {
    /// Name of the user.
    #[arg(long, value_name = "NAME", value_parser = given::name)]
    user: String,
    /// Groups of the user, with commas between.
    #[arg(long, value_name = "GROUPS", value_delimiter = ',', value_parser = given::listed_name)]
    groups: Vec<String>,
    /// Identifier of the user (`sub`); the name if left out.
    #[arg(long, value_name = "ID", value_parser = given::name)]
    sub: Option<String>,
    /// How long the token is good.
    #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=525_600))]
    minutes: u32,
    #[command(flatten)]
    secret: secret::SecretArgs,
}

pub(super) fn run(args: &TokenArgs) -> miette::Result<ExitCode> {
    let issuer = DevIssuer::new(&args.secret.read_or_make()?).into_diagnostic()?;
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let token = issuer.issue(&TokenRequest {
        user: args.user.clone(),
        sub: args.sub.clone(),
        groups: args.groups.clone(),
        now_ms: i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX),
        lifetime_s: args.minutes * 60,
    });
    println!("{token}");
    Ok(ExitCode::SUCCESS)
}
