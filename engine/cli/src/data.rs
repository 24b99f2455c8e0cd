//! `landfall data`: copies of a store, and its records as text.
//!
//! Owns the arguments and the progress bars; the work is the library's.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args as ClapArgs, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use landfall::{DataStore, Error, Extent, Remade, Retention, Statistics, StorageError, TransferProgress};

use crate::opening;
use crate::schema_file;

/// Copies a store, puts a copy back, writes records as text and reads them.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Copies a store that no process has open; an app copies its own store while it is in use.
    Backup {
        #[command(flatten)]
        store: StoreArgs,
        /// Directory of the copy, without a store so far.
        to: PathBuf,
    },
    /// Puts a copy into a directory that has no store so far.
    Restore {
        /// Directory of the copy.
        from: PathBuf,
        /// Directory of the store.
        to: PathBuf,
    },
    /// Writes all records as JSON lines, or those of one model as CSV.
    Export {
        #[command(flatten)]
        store: StoreArgs,
        /// Write the records of this model as CSV.
        #[arg(long, value_name = "MODEL")]
        csv: Option<String>,
        /// The file, which must not exist; standard output if left out.
        to: Option<PathBuf>,
    },
    /// Saves the records of JSON lines, or of a CSV file of one model. They are queued for the server like any change.
    Import {
        #[command(flatten)]
        store: StoreArgs,
        /// Read records of this model from CSV, whose first line names the fields.
        #[arg(long, value_name = "MODEL")]
        csv: Option<String>,
        /// The file.
        from: PathBuf,
    },
    /// Takes away log entries that are not to be kept. Records and changes that wait stay; what happened before the
    /// entries that are left can no longer be looked at.
    Trim {
        #[command(flatten)]
        store: StoreArgs,
        #[command(flatten)]
        keep: KeepArgs,
    },
    /// Gives back to the file system what is free in the store's file, such as after a trim. No process may have it open.
    Compact {
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Makes a damaged store again from its log: records, indexes and what waits for the server. No process may have it open.
    Rebuild {
        /// Directory of the store, or its file.
        store: PathBuf,
        /// If the log itself is damaged, make the store from the entries before the damage and give up what came after
        /// them. The damaged file is kept beside the new one.
        #[arg(long)]
        up_to_damage: bool,
    },
    /// Says how many records, waiting changes and log entries there are.
    Stats {
        #[command(flatten)]
        store: StoreArgs,
    },
}

#[derive(Debug, ClapArgs)]
struct StoreArgs {
    /// The schema of the store: GraphQL SDL or introspection JSON.
    #[arg(long)]
    schema: PathBuf,
    /// Directory of the store.
    #[arg(long)]
    data: PathBuf,
}

/// What the log keeps; each limit that is given takes away what lies beyond it.
#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = true)]
struct KeepArgs {
    /// Keep the entries of the last so many days.
    #[arg(long, value_name = "DAYS")]
    keep_days: Option<u32>,
    /// Keep at most so many of the newest entries.
    #[arg(long, value_name = "ENTRIES")]
    keep_entries: Option<u64>,
    /// Keep the newest entries that fit into so many bytes.
    #[arg(long, value_name = "BYTES")]
    keep_bytes: Option<u64>,
}

impl KeepArgs {
    fn retention(&self) -> Retention {
        let mut retention = Retention::everything();
        if let Some(days) = self.keep_days {
            retention = retention.days(days);
        }
        if let Some(entries) = self.keep_entries {
            retention = retention.entries(entries);
        }
        if let Some(bytes) = self.keep_bytes {
            retention = retention.bytes(bytes);
        }
        retention
    }
}

pub(crate) async fn run(args: Args) -> miette::Result<ExitCode> {
    match args.action {
        Action::Backup { store, to } => {
            let store = open_existing(&store).await?;
            let bar = bar();
            let rows = store
                .backup(&to, |at| show(&bar, at.done, at.total))
                .map_err(report)?;
            bar.finish_and_clear();
            store.close().await;
            println!("{rows} rows of all tables copied to {}", to.display());
        }
        Action::Restore { from, to } => {
            restore(&from, &to)?;
        }
        Action::Export { store, csv, to } => {
            let store = open_existing(&store).await?;
            let records = export(&store, csv.as_deref(), to.as_deref())?;
            store.close().await;
            eprintln!("{records} records written");
        }
        Action::Import { store, csv, from } => {
            let store = open(&store).await?;
            let imported = import(&store, csv.as_deref(), &from).await;
            store.close().await;
            println!("{} records saved", imported?);
        }
        Action::Trim { store, keep } => {
            let store = open_existing(&store).await?;
            let trimmed = store.trim(keep.retention()).await;
            store.close().await;
            let trimmed = trimmed.map_err(report)?;
            println!(
                "{} entries taken away; the log starts at {}",
                trimmed.entries, trimmed.start
            );
        }
        Action::Compact { store } => {
            let store = open_existing(&store).await?;
            let compacted = store.compact().await;
            store.close().await;
            let compacted = compacted.map_err(report)?;
            println!("{} bytes, before {}", compacted.after, compacted.before);
        }
        Action::Rebuild { store, up_to_damage } => {
            let extent = if up_to_damage {
                Extent::UpToDamage
            } else {
                Extent::Everything
            };
            tell_rebuilt(&landfall::rebuild(&store, extent).map_err(cannot_rebuild)?);
        }
        Action::Stats { store } => {
            let store = open_existing(&store).await?;
            let statistics = store.statistics().map_err(report)?;
            store.close().await;
            tell_statistics(&statistics);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn tell_statistics(statistics: &Statistics) {
    for (model, records) in &statistics.records {
        println!("{records:>12} records of {model}");
    }
    println!("{:>12} changes that wait for the server", statistics.pending);
    println!(
        "{:>12} log entries, {} to {}",
        statistics.log_entries, statistics.log_start, statistics.log_newest
    );
    println!("{:>12} bytes of records", statistics.record_bytes);
    println!("{:>12} bytes of log", statistics.log_bytes);
    println!("{:>12} bytes of indexes", statistics.index_bytes);
}

fn restore(from: &Path, to: &Path) -> miette::Result<()> {
    if !from.join(landfall_storage::FILE_NAME).is_file() {
        return Err(miette::miette!(
            "there is no copy of a store in {}; nothing was made",
            from.display()
        ));
    }
    let bar = bar();
    let bytes = landfall::restore(from, to, |at| show(&bar, at.done, at.total)).map_err(report)?;
    bar.finish_and_clear();
    println!("{bytes} bytes copied to {}", to.display());
    Ok(())
}

fn tell_rebuilt(made: &Remade) {
    println!(
        "made again from {} log entries up to {}: {} records, {} changes that wait for the server",
        made.entries, made.newest, made.records, made.pending
    );
    if let Some(lost) = &made.lost {
        println!("what came after {} is lost: {lost}", made.newest);
    }
    if let Some(kept) = &made.kept {
        println!("the damaged file is kept as {}", kept.display());
        if made.kept_until_opened {
            println!("it still holds what was cleared, so the next opening of the store removes it");
        }
    }
}

fn cannot_rebuild(error: Error) -> miette::Report {
    match &error {
        // Of what has no entry left the log commands can show nothing either.
        Error::Storage(storage) => match &**storage {
            StorageError::LogDamaged {
                path: Some(path),
                sound: Some(_),
                ..
            } => miette::miette!(
                help = format!(
                    "the records themselves may be whole: `landfall data export` writes those that can be read, and \
                     `landfall log {} verify` says how far the log can be looked at",
                    path.display()
                ),
                "{error}"
            ),
            _ => report(error),
        },
        _ => report(error),
    }
}

fn export(store: &DataStore, csv: Option<&str>, to: Option<&Path>) -> miette::Result<u64> {
    let mut file: Box<dyn Write> = match to {
        Some(path) => Box::new(BufWriter::new(File::create_new(path).map_err(|error| {
            if error.kind() == std::io::ErrorKind::AlreadyExists {
                miette::miette!(
                    "{} exists, and is not written over; name another file",
                    path.display()
                )
            } else {
                miette::miette!("cannot write {}: {error}", path.display())
            }
        })?)),
        None => Box::new(std::io::stdout().lock()),
    };
    let bar = ProgressBar::new_spinner();
    let progress = |at: TransferProgress| bar.set_message(format!("{} records", at.records));
    let records = match csv {
        Some(model) => store.export_csv(model, &mut file, progress),
        None => store.export_json_lines(&mut file, progress),
    };
    bar.finish_and_clear();
    records.map_err(report)
}

async fn import(store: &DataStore, csv: Option<&str>, from: &Path) -> miette::Result<u64> {
    let file =
        File::open(from).map_err(|error| miette::miette!("cannot read {}: {error}", from.display()))?;
    let bar = ProgressBar::new_spinner();
    let progress = |at: TransferProgress| bar.set_message(format!("{} records", at.records));
    let records = match csv {
        Some(model) => store.import_csv(model, BufReader::new(file), progress).await,
        None => store.import_json_lines(BufReader::new(file), progress).await,
    };
    bar.finish_and_clear();
    records.map_err(report)
}

/// Opens a store that is there already: one that is made by mistake would be empty, and a copy of it as well.
async fn open_existing(args: &StoreArgs) -> miette::Result<DataStore> {
    must_exist(&args.data)?;
    open(args).await
}

/// Refuses a directory without a store, which is a typing error where one is to be read.
///
/// # Errors
/// If there is none.
pub(crate) fn must_exist(directory: &Path) -> miette::Result<()> {
    if directory.join(landfall_storage::FILE_NAME).is_file() {
        return Ok(());
    }
    let directory = directory.display();
    Err(miette::miette!(
        "there is no store in {directory} (--data); nothing was made or changed"
    ))
}

async fn open(args: &StoreArgs) -> miette::Result<DataStore> {
    let schema = Arc::new(schema_file::read(&args.schema)?);
    let builder = DataStore::builder(&schema).directory(&args.data);
    opening::open(builder, &args.data, &schema).await
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len}, {eta} left");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn show(bar: &ProgressBar, done: u64, total: u64) {
    bar.set_length(total);
    bar.set_position(done);
}

fn report(error: impl std::fmt::Display) -> miette::Report {
    miette::miette!("{error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn records_go_out_and_come_in_and_copies_are_made() {
        let home = tempfile::tempdir().expect("a directory");
        let at = |name: &str| home.path().join(name);
        std::fs::write(at("s.graphql"), "type Site @model { name: String! depth: Float }").expect("written");
        std::fs::write(at("in.csv"), "name,depth\nreef,12.5\nbay,\n").expect("written");
        let store = |data: &str| StoreArgs {
            schema: at("s.graphql"),
            data: at(data),
        };
        let actions = [
            Action::Import {
                store: store("one"),
                csv: Some("Site".to_owned()),
                from: at("in.csv"),
            },
            Action::Export {
                store: store("one"),
                csv: None,
                to: Some(at("out.jsonl")),
            },
            Action::Import {
                store: store("two"),
                csv: None,
                from: at("out.jsonl"),
            },
            Action::Backup {
                store: store("two"),
                to: at("copy"),
            },
            Action::Restore {
                from: at("copy"),
                to: at("three"),
            },
            Action::Stats {
                store: store("three"),
            },
        ];
        for action in actions {
            run(Args { action }).await.expect("it works");
        }
        let three = open(&store("three")).await.expect("it was restored");
        let count = three.records().count("Site", &landfall::Predicate::All);
        assert_eq!(count.expect("readable"), 2);
        three.close().await;
        let made_by_mistake = Action::Stats { store: store("typo") };
        run(Args {
            action: made_by_mistake,
        })
        .await
        .expect_err("there is no store");
        assert!(!at("typo").exists(), "nothing is made");
        let again = Action::Export {
            store: store("one"),
            csv: None,
            to: Some(at("out.jsonl")),
        };
        assert!(
            run(Args { action: again }).await.is_err(),
            "a file that exists is not written over"
        );
    }
}
