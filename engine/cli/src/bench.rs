//! `landfall bench`: how fast the store, the backend and sync are, each figure beside its floor.
//!
//! Owns the list of figures and how they are printed. A floor is what the machine can do with the same rows and
//! without Landfall, measured in the same run, so that the ratio holds on a noisy machine. Ratios and targets are such that
//! larger is better.

mod backend;
mod curves;
mod figure;
mod floor;
mod hold;
mod local;
mod npm;
mod observer;
mod past;
mod recording;
mod report;
mod rows;
mod scans;
mod size;
mod sync;
mod writes;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args as ClapArgs, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use figure::Figure;
use rows::Scale;

/// Measures the store, the backend, or sync. Takes minutes; `--quick` takes seconds and says less.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// What is measured.
    #[arg(value_enum, default_value = "store")]
    subject: Subject,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Fewer rows: a check that everything runs, not a measurement.
    #[arg(long)]
    quick: bool,
    /// End with exit status 1 if a figure misses its target, and 0 if all meet theirs.
    #[arg(long)]
    check: bool,
    /// Directory to measure in; by default a temporary one beside the working directory.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Only figures whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Also measure the store beside SQLite at 1,000, 100,000 and 1,000,000 records, and write figures and plots to this
    /// HTML file, which needs nothing else to be looked at. Takes some minutes more.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Open the store, or serve the tables, in this directory, print what memory that takes, and wait to be killed; used
    /// by `bench` itself.
    #[arg(long, hide = true, value_name = "DIR")]
    hold: Option<PathBuf>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Subject {
    /// The embedded store.
    Store,
    /// The embedded store beside SQLite, with a thousand to a million records, and beside the npm client if it is
    /// installed.
    Local,
    /// The served backend, over loopback.
    Backend,
    /// A store that syncs with the served backend, over loopback; beside the npm client if it is installed.
    Sync,
}

/// A group of figures that are measured together.
struct Group {
    subject: Subject,
    names: &'static [&'static str],
    measure: fn(&std::path::Path, &Scale) -> miette::Result<Vec<Figure>>,
}

const GROUPS: [Group; 19] = [
    Group {
        subject: Subject::Backend,
        names: &backend::CALLS,
        measure: backend::calls,
    },
    Group {
        subject: Subject::Backend,
        names: &backend::FAN_OUT,
        measure: backend::fan_out,
    },
    Group {
        subject: Subject::Backend,
        names: &backend::SIZE,
        measure: backend::size,
    },
    Group {
        subject: Subject::Store,
        names: &["durable saves, one after another"],
        measure: writes::sequential,
    },
    Group {
        subject: Subject::Store,
        names: &["durable saves, 64 concurrent savers"],
        measure: writes::concurrent,
    },
    Group {
        subject: Subject::Store,
        names: &observer::NAMES,
        measure: observer::commit_to_observer,
    },
    Group {
        subject: Subject::Store,
        names: &["get by id, typed"],
        measure: scans::get,
    },
    Group {
        subject: Subject::Store,
        names: &["predicate scan", "indexed predicate", "sort + limit 10"],
        measure: scans::scans,
    },
    Group {
        subject: Subject::Store,
        names: &["durable saves, recorded", "durable saves, 64 savers, recorded"],
        measure: recording::recording,
    },
    Group {
        subject: Subject::Store,
        names: &["replay of the log"],
        measure: writes::replay,
    },
    Group {
        subject: Subject::Store,
        names: &[
            "reopen after a kill",
            "memory with all rows open",
            "cost per save in a full store",
            "cost per save in a full store, 64 to a commit",
        ],
        measure: size::size,
    },
    Group {
        subject: Subject::Store,
        names: &[
            "open the log of a store",
            "query as of the slowest entry",
            "why a record is what it is",
        ],
        measure: past::past,
    },
    Group {
        subject: Subject::Local,
        names: &local::BESIDE_SQLITE,
        measure: local::beside_sqlite,
    },
    Group {
        subject: Subject::Local,
        names: &local::BESIDE_NPM,
        measure: local::beside_npm,
    },
    Group {
        subject: Subject::Sync,
        names: &sync::BASE_SYNC,
        measure: sync::first_sync,
    },
    Group {
        subject: Subject::Sync,
        names: &sync::DRAIN,
        measure: sync::drains,
    },
    Group {
        subject: Subject::Sync,
        names: &observer::NAMES,
        measure: observer::commit_to_observer,
    },
    Group {
        subject: Subject::Sync,
        names: &sync::RECORDED,
        measure: sync::recorded,
    },
    Group {
        subject: Subject::Sync,
        names: &sync::BESIDE_NPM,
        measure: sync::beside_npm,
    },
];

pub(crate) async fn run(args: Args) -> miette::Result<ExitCode> {
    if let Some(directory) = &args.hold {
        return match args.subject {
            Subject::Store | Subject::Local | Subject::Sync => hold::run(directory).await,
            Subject::Backend => backend::hold(directory).await,
        };
    }
    // Measuring blocks; the store has threads of its own.
    tokio::task::spawn_blocking(move || measure(&args))
        .await
        .map_err(|error| miette::miette!("{error}"))?
}

/// The exit code of clap, for what only the list of figures shows to be wrong.
const CALLED_WRONGLY: u8 = 2;

fn measure(args: &Args) -> miette::Result<ExitCode> {
    let scale = if args.quick { Scale::QUICK } else { Scale::FULL };
    let parent = args.directory.clone().unwrap_or_else(|| PathBuf::from("."));
    let work = tempfile::Builder::new()
        .prefix("landfall-bench-")
        .tempdir_in(&parent)
        .map_err(|error| miette::miette!("cannot make a directory in {}: {error}", parent.display()))?;
    let wanted = |name: &&str| args.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let of_subject = || GROUPS.iter().filter(|group| group.subject == args.subject);
    let groups: Vec<&Group> = of_subject()
        .filter(|group| group.names.iter().any(wanted))
        .collect();
    if let (true, Some(only)) = (groups.is_empty(), &args.only) {
        let names: Vec<&str> = of_subject().flat_map(|group| group.names).copied().collect();
        eprintln!(
            "error: no figure has {only:?} in its name; the figures are: {}",
            names.join("; ")
        );
        return Ok(ExitCode::from(CALLED_WRONGLY));
    }
    let progress = ProgressBar::new(groups.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos}/{len} {msg}") {
        progress.set_style(style);
    }
    progress.enable_steady_tick(std::time::Duration::from_millis(100));
    let mut figures = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        progress.set_message(group.names.join(", "));
        let directory = work.path().join(index.to_string());
        std::fs::create_dir_all(&directory).map_err(|error| miette::miette!("{error}"))?;
        figures.extend((group.measure)(&directory, &scale)?);
        std::fs::remove_dir_all(&directory).map_err(|error| miette::miette!("{error}"))?;
        progress.inc(1);
    }
    if let Some(path) = &args.report {
        let curves = match args.subject {
            Subject::Store => curves::measure(work.path(), args.quick, Some(&progress))?,
            Subject::Local | Subject::Backend | Subject::Sync => Vec::new(),
        };
        std::fs::write(path, report::html(&figures, &curves, args.quick))
            .map_err(|error| miette::miette!("cannot write {}: {error}", path.display()))?;
    }
    progress.finish_and_clear();
    let missed = figure::missed(&figures);
    if args.json {
        println!("{}", figure::json(&figures));
    } else {
        println!("{}", figure::table(&figures));
        if args.quick {
            println!("Measured with few rows; run without --quick for figures that mean something.");
        } else if !missed.is_empty() {
            println!(
                "{} of {} figures are below their target.",
                missed.len(),
                figures.len()
            );
        }
    }
    if !args.check || missed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("below target: {}", missed.join("; "));
    Ok(ExitCode::FAILURE)
}
