//! `landfall sim exhaust`: every order of a small world.

use std::process::ExitCode;
use std::time::Instant;

use clap::Args as ClapArgs;
use landfall_sim::{EXIT_INVARIANT, Scope, exhaust};

use super::batch::bar;

/// How small the world is.
#[derive(Debug, ClapArgs)]
pub(crate) struct ExhaustArgs {
    /// Changes of each of the two clients.
    #[arg(long, default_value_t = 2)]
    changes: u8,
    /// Requests and replies that are lost.
    #[arg(long, default_value_t = 1)]
    losses: u8,
    /// Messages that come twice.
    #[arg(long, default_value_t = 1)]
    doubles: u8,
    /// Crashes.
    #[arg(long, default_value_t = 1)]
    crashes: u8,
}

/// Tries everything, with a server that merges and with one that refuses.
pub(super) fn exhausted(args: &ExhaustArgs) -> miette::Result<ExitCode> {
    for automerge in [true, false] {
        let start = Instant::now();
        let scope = Scope {
            changes: args.changes,
            losses: args.losses,
            doubles: args.doubles,
            crashes: args.crashes,
            automerge,
        };
        let server = if automerge {
            "automerge"
        } else {
            "optimistic concurrency"
        };
        let progress = bar(None, "states");
        let explored = exhaust(scope, &mut |states| {
            progress.set_message(format!("{states} states"));
            progress.tick();
        });
        progress.finish_and_clear();
        match explored {
            Ok(explored) => println!(
                "{server}: {} states, {} steps, {} ends, all as they must be ({:.0} s)",
                explored.states,
                explored.steps,
                explored.ends,
                start.elapsed().as_secs_f64()
            ),
            Err(found) => {
                println!("{server}: {found}");
                return Ok(ExitCode::from(EXIT_INVARIANT));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
