//! `landfall modelgen`: Rust models, or model-introspection JSON, for a schema.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args as ClapArgs;

use crate::schema_file;

/// Prints to standard output; nothing is written elsewhere.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// GraphQL SDL with Amplify's directives, or model-introspection JSON.
    schema: PathBuf,
    /// Print model-introspection JSON instead of Rust.
    #[arg(long)]
    introspection: bool,
}

pub(crate) fn run(args: &Args) -> miette::Result<ExitCode> {
    let schema = schema_file::read(&args.schema)?;
    let text = if args.introspection {
        format!("{:#}\n", landfall_core::schema_to_json(&schema))
    } else {
        landfall_codegen::generate(&schema, &landfall_codegen::GenerateOptions::default())
    };
    print(&text);
    Ok(ExitCode::SUCCESS)
}

/// A reader that closes the pipe early, such as `head`, is no failure.
pub(crate) fn print(text: &str) {
    use std::io::Write;
    std::io::stdout().write_all(text.as_bytes()).unwrap_or(());
}
