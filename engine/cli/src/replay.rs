//! `landfall replay`: plays what a flight recorder wrote.
//!
//! Owns the arguments, the exit codes and the words: 0 if every effect was as recorded, 1 if one differs or the recording
//! cannot be played, 2 if the command was called wrongly. The recording is never written to. What a replay stops at is
//! `replay/stops.rs`.

mod stops;

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args as ClapArgs;
use landfall::flight::{Event, Noted, PRINTS, Recording, RecordingError, SeatName};
use landfall::{Query, record_json};
use landfall_sim::replay::{
    Compared, Edit, Ends, Go, Moment, Played, changed, comparable, input_json, play_comparing, what_if,
};
use serde_json::{Value as Json, json};
use stops::Stops;

use crate::file_kind::Kind;
use crate::log::words;

/// Plays a recorded run again: the same actors, on one thread, in virtual time; each effect is compared.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// The recording.
    file: PathBuf,
    /// List the inputs, each with its number, instead of playing.
    #[arg(long, conflicts_with_all = ["until", "breaks", "break_when", "break_unless", "step", "verbose", "edits"])]
    list: bool,
    /// Stop behind the event of this number; of one that is only expected of another, behind what is played next.
    #[arg(long, value_name = "EVENT")]
    until: Option<u64>,
    /// Stop at a message of the recording, such as `Commit` or `StorageActor.Commit`; may be given several times.
    #[arg(long = "break", value_name = "MESSAGE")]
    breaks: Vec<String>,
    /// Stop when a record of the model satisfies the condition, such as --break-when Note 'text eq "x"'.
    #[arg(long, num_args = 2, value_names = ["MODEL", "CONDITION"])]
    break_when: Vec<String>,
    /// Stop when a record of the model does not satisfy the condition, which should hold for all.
    #[arg(long, num_args = 2, value_names = ["MODEL", "CONDITION"])]
    break_unless: Vec<String>,
    /// Stop behind each event and ask what to do: Enter goes one on, `c` goes on, `g MODEL` shows records, `q` ends.
    #[arg(long)]
    step: bool,
    /// Say what happens.
    #[arg(long, short)]
    verbose: bool,
    /// Edit an input and compare the ends: `drop N`, `delay N MS`, `change N /PATH JSON`; may be given several times.
    #[arg(
        long = "what-if",
        value_name = "EDIT",
        value_parser = edit,
        conflicts_with_all = ["until", "breaks", "break_when", "break_unless", "step", "outside"]
    )]
    edits: Vec<Edit>,
    /// Compare only what reaches the outside: calls, frames, commits and the end. Done by itself if the recording was made by
    /// another version, whose actors word their messages otherwise.
    #[arg(long)]
    outside: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The exit code of clap, for what only the recording shows to be wrong.
const CALLED_WRONGLY: u8 = 2;

fn edit(text: &str) -> Result<Edit, String> {
    text.parse()
        .map_err(|error: landfall_sim::replay::EditError| error.to_string())
}

pub(crate) async fn run(args: Args) -> miette::Result<ExitCode> {
    // A replay is a world of its own, with a runtime of its own; it gets a thread of its own.
    tokio::task::spawn_blocking(move || dispatch(&args))
        .await
        .map_err(|error| miette::miette!("{error}"))?
}

fn dispatch(args: &Args) -> miette::Result<ExitCode> {
    let recording = Recording::open(&args.file).map_err(|error| match (Kind::of(&args.file), &error) {
        // The directory of a store cannot be read as a file.
        (kind @ (Kind::Log | Kind::Store), RecordingError::Foreign | RecordingError::Io(_)) => {
            kind.read_otherwise(&args.file)
        }
        _ => miette::miette!("{}: {error}", args.file.display()),
    })?;
    if args.list {
        list(&recording, args.json);
        return Ok(ExitCode::SUCCESS);
    }
    if !args.edits.is_empty() {
        return compare(&recording, args);
    }
    let stops = match Stops::of(args, &recording) {
        Ok(stops) => stops,
        Err(wrong) => {
            eprintln!("error: {wrong}");
            return Ok(ExitCode::from(CALLED_WRONGLY));
        }
    };
    let (mut stopped, mut failed) = (None, None);
    let mut stepping = args.step;
    let compared = if args.outside {
        Compared::Outside
    } else {
        comparable(&recording)
    };
    let played = play_comparing(&recording, compared, &mut |moment| {
        let why = match stops.reason(moment) {
            Ok(why) => why,
            Err(error) => {
                failed = Some(error);
                return Go::Stop;
            }
        };
        if args.verbose || stepping || why.is_some() {
            say(&line_of(moment.noted, moment.seat));
        }
        if stepping && ask(moment, &mut stepping) == Go::Stop {
            return Go::Stop;
        }
        if why.is_some() {
            stopped = why;
            return Go::Stop;
        }
        Go::On
    })
    .map_err(|error| miette::miette!("{error}"))?;
    if let Some(error) = failed {
        return Err(miette::miette!("a condition cannot be looked at: {error}"));
    }
    report(&recording, &played, (stopped.as_deref(), compared), args.json);
    Ok(if played.difference.is_none() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Asks what to do next. The end of the input ends the replay.
fn ask(moment: &Moment<'_>, stepping: &mut bool) -> Go {
    loop {
        let mut typed = String::new();
        match std::io::stdin().lock().read_line(&mut typed) {
            Ok(0) | Err(_) => return Go::Stop,
            Ok(_) => {}
        }
        match typed.trim().split_once(' ').unwrap_or((typed.trim(), "")) {
            ("" | "n", _) => return Go::On,
            ("c", _) => {
                *stepping = false;
                return Go::On;
            }
            ("q", _) => return Go::Stop,
            ("g", model) => match moment.store.records().query(&Query::all(model.trim())) {
                Ok(records) => records
                    .iter()
                    .for_each(|record| say(&record_json(record).to_string())),
                Err(error) => say(&error.to_string()),
            },
            _ => say("Enter: one on; c: go on; g MODEL: show its records; q: end"),
        }
    }
}

fn line_of(noted: &Noted, seat: &SeatName) -> String {
    let said = match &noted.event {
        Event::Committed(_) => None,
        event => input_json(event),
    };
    let said = said.map_or_else(String::new, |said| format!("  {}", words::cut(&said.to_string())));
    format!(
        "{:>6} {:>8} ms  {}.{}{said}",
        noted.order,
        noted.at_ms,
        seat.actor,
        noted.event.name()
    )
}

fn list(recording: &Recording, as_json: bool) {
    let names: std::collections::BTreeMap<u32, &SeatName> = recording
        .events
        .iter()
        .filter_map(|noted| match &noted.event {
            Event::Seated { name, .. } => Some((noted.seat, name)),
            _ => None,
        })
        .collect();
    for noted in recording.events.iter().filter(|noted| noted.event.is_input()) {
        let Some(seat) = names.get(&noted.seat) else {
            continue;
        };
        if as_json {
            let input = input_json(&noted.event);
            say(&json!({
                "event": noted.order, "atMs": noted.at_ms, "actor": seat.actor, "name": noted.event.name(), "input": input,
            })
            .to_string());
        } else {
            say(&line_of(noted, seat));
        }
    }
    tell_damage(recording);
}

/// Says what is missing of the recording, on standard error.
fn tell_damage(recording: &Recording) {
    if let Some(cut) = &recording.cut {
        eprintln!(
            "the recording is damaged at byte {} ({}); {} events before it can be played",
            cut.at,
            cut.why,
            recording.events.len()
        );
    }
    if let Some((from, count)) = recording.gap() {
        eprintln!(
            "the recorder dropped {} events because it could not keep up; the first {count} at event {from}, where a replay ends",
            recording.dropped()
        );
    }
    if recording.cut.is_none() && !recording.is_closed() {
        eprintln!(
            "the recording does not tell how the run ended: the program was ended before the store was closed, or the recorder \
             stopped, at its bound or because of its disk"
        );
    }
}

fn report(
    recording: &Recording,
    played: &Played,
    (stopped, compared): (Option<&str>, Compared),
    as_json: bool,
) {
    tell_damage(recording);
    if comparable(recording) == Compared::Outside {
        let age = if recording.head.prints < PRINTS {
            "an older"
        } else {
            "a newer"
        };
        eprintln!(
            "the recording was made by {age} version of Landfall, whose actors word their messages otherwise: what reached the \
             outside is compared, which is calls, frames, commits and the end"
        );
    }
    let (head, check) = played.head;
    if as_json {
        let difference = played.difference.as_ref().map(|difference| {
            json!({
                "event": difference.order, "actor": difference.seat.actor,
                "recorded": difference.recorded, "now": difference.now,
            })
        });
        say(&json!({
            "events": played.events, "last": played.last, "entry": head.0, "check": format!("{check:08x}"),
            "state": format!("{:016x}", played.state), "reachedEnd": played.reached_end,
            "stopped": stopped, "difference": difference, "compared": match compared {
                Compared::Everything => "everything",
                Compared::Outside => "outside",
            },
        })
        .to_string());
        return;
    }
    if let Some(difference) = &played.difference {
        say(&format!("differs at {difference}"));
    }
    if let Some(why) = stopped {
        say(&format!("stopped: {why}"));
    }
    say(&format!(
        "{} events played, up to event {}: entry {head}, check {check:08x}, state {:016x}",
        played.events, played.last, played.state
    ));
    if played.reached_end && played.difference.is_none() {
        say(match compared {
            Compared::Everything => "every effect was as recorded, and so is the end",
            Compared::Outside => "every call, frame and commit was as recorded, and so is the end",
        });
    }
}

fn compare(recording: &Recording, args: &Args) -> miette::Result<ExitCode> {
    let ends = what_if(recording, &args.edits).map_err(|error| miette::miette!("{error}"))?;
    tell_damage(recording);
    if args.verbose {
        tell_both(&ends);
    }
    if ends.drift > 0 {
        // What differs with edits would differ without them as well.
        if args.json {
            say(&json!({ "differ": null, "unanswered": ends.unanswered, "drift": ends.drift }).to_string());
        } else {
            say(&format!(
                "nothing can be said of this edit: {} records end differently even without it, because such a run keeps the times \
                 of inputs and not every order; -v shows what happens",
                ends.drift
            ));
        }
        return Ok(ExitCode::FAILURE);
    }
    let keys: Vec<_> = changed(&ends.without, &ends.with).collect();
    if args.json {
        let records: Vec<Json> = keys
            .iter()
            .map(|key| {
                json!({
                    "model": key.model, "id": key.id.to_string(),
                    "without": ends.without.get(*key), "with": ends.with.get(*key),
                })
            })
            .collect();
        say(&json!({ "differ": records, "unanswered": ends.unanswered, "drift": ends.drift }).to_string());
        return Ok(ExitCode::SUCCESS);
    }
    for key in &keys {
        let shown = |record: Option<&Json>| record.map_or_else(|| "not there".to_owned(), Json::to_string);
        say(&format!("{key}"));
        say(&format!("  as it was: {}", shown(ends.without.get(*key))));
        say(&format!("  what if:   {}", shown(ends.with.get(*key))));
    }
    say(&format!(
        "{} records end differently; {} requests have no recorded answer and found the server unreachable",
        keys.len(),
        ends.unanswered
    ));
    Ok(ExitCode::SUCCESS)
}

/// Shows on standard error what happens in both runs, from where they part.
fn tell_both(ends: &Ends) {
    let (without, with) = &ends.told;
    let same = without.iter().zip(with).take_while(|(one, other)| one == other);
    let same = same.count();
    eprintln!("the first {same} steps are the same");
    for (name, told) in [("as it was", without), ("what if", with)] {
        eprintln!("{name}:");
        for told in told.iter().skip(same) {
            eprintln!("{:>8} ms  {}.{}", told.at_ms, told.actor, told.what);
        }
    }
}

/// Prints a line. A closed pipe is the reader's choice.
fn say(text: &str) {
    writeln!(anstream::stdout(), "{text}").unwrap_or(());
}
