//! The npm client of Amplify DataStore as a process that is told what to do by lines of JSON.
//!
//! Owns finding it and the conversation. Its driver is the one of the interop tests, `tests/interop/client.js`; it keeps
//! its rows in memory, by an implementation of IndexedDB in JavaScript, since there is no browser.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::backend::KEY;
use super::rows::{self, item, report};

/// Where the driver is, if not below the working directory.
const DRIVER_VARIABLE: &str = "LANDFALL_NPM_CLIENT";

/// Where it is in the repository.
const DRIVER: &str = "tests/interop";

/// Longest that the client may take for anything, in milliseconds.
const WAIT_MS: u64 = 1_200_000;

/// The folder of the driver; `None` if there is none that can be used, and then the reason is told.
pub(super) fn driver() -> Option<PathBuf> {
    find_driver()
        .map_err(|reason| eprintln!("not measured: the npm client beside Landfall, since {reason}"))
        .ok()
}

fn find_driver() -> Result<PathBuf, String> {
    let folder = std::env::var_os(DRIVER_VARIABLE).map_or_else(|| PathBuf::from(DRIVER), PathBuf::from);
    if !folder.join("node_modules/aws-amplify").is_dir() {
        return Err(format!(
            "{} has no installed client (`npm ci` there installs it; {DRIVER_VARIABLE} names another folder)",
            folder.display()
        ));
    }
    let node = Command::new("node").arg("--version").output();
    match node {
        Ok(output) if output.status.success() => Ok(folder),
        Ok(_) | Err(_) => Err("Node.js does not run".to_owned()),
    }
}

/// A running client; ends when dropped.
pub(super) struct Client {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Client {
    /// Starts a client of that server, or one that has none, with its files in `directory`.
    pub(super) fn start(driver: &Path, directory: &Path, server: Option<SocketAddr>) -> miette::Result<Self> {
        let schema = directory.join("introspection.json");
        let text = landfall_core::schema_to_json(rows::schema()).to_string();
        std::fs::write(&schema, text).map_err(report)?;
        let mut command = Command::new("node");
        command.arg(driver.join("client.js")).arg("--schema").arg(&schema);
        if let Some(server) = server {
            let endpoint = format!("http://{server}/graphql");
            command.args(["--endpoint", &endpoint, "--api-key", KEY]);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(report)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (commands, answers) = pipes.ok_or_else(|| miette::miette!("the client has no pipes"))?;
        Ok(Self {
            child,
            commands,
            answers: BufReader::new(answers),
        })
    }

    /// Sends a command and answers with what came back.
    fn ask(&mut self, command: &Json) -> miette::Result<Json> {
        writeln!(self.commands, "{command}").map_err(report)?;
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(report)?;
        let mut answer: Json = serde_json::from_str(&line).map_err(|error| {
            miette::miette!("the npm client answers `{}` to {command}: {error}", line.trim())
        })?;
        match answer.get("err") {
            None => Ok(answer["ok"].take()),
            Some(error) => Err(miette::miette!("the npm client answers {error} to {command}")),
        }
    }

    fn wait_hub(&mut self, event: &str, data: &Json) -> miette::Result<()> {
        self.ask(&json!({"op": "waitHub", "event": event, "data": data, "ms": WAIT_MS}))?;
        Ok(())
    }

    fn begin(&mut self, rows: usize) -> miette::Result<()> {
        let limits = json!({"op": "configure", "syncPageSize": 1_000, "maxRecordsToSync": rows + 1});
        self.ask(&limits)?;
        self.ask(&json!({"op": "start"}))?;
        self.wait_hub("ready", &Json::Null)
    }

    /// How long a first sync takes.
    pub(super) fn base_sync(mut self, rows: usize) -> miette::Result<Duration> {
        let begun = Instant::now();
        self.begin(rows)?;
        let elapsed = begun.elapsed();
        let count = self.ask(&json!({"op": "count", "model": "Item"}))?;
        if count == rows {
            Ok(elapsed)
        } else {
            Err(miette::miette!("{count} of {rows} rows came to the npm client"))
        }
    }

    /// How long creates that were saved offline take to be applied by the server.
    pub(super) fn drain(mut self, creates: usize) -> miette::Result<Duration> {
        self.begin(2 * creates)?;
        self.ask(&json!({"op": "online", "value": false}))?;
        for number in 0..creates {
            self.ask(&json!({"op": "save", "model": "Item", "fields": fields(number)}))?;
        }
        self.ask(&json!({"op": "hub"}))?;
        let begun = Instant::now();
        self.ask(&json!({"op": "online", "value": true}))?;
        self.wait_hub("outboxStatus", &json!({"isEmpty": true}))?;
        Ok(begun.elapsed())
    }

    /// How long saves of items of those numbers take, so many at once.
    pub(super) fn saves(&mut self, numbers: Range<usize>, at_once: usize) -> miette::Result<Duration> {
        let rows: Vec<Json> = numbers.map(fields).collect();
        let saves =
            json!({"op": "measure", "what": "saves", "model": "Item", "rows": rows, "atOnce": at_once});
        Ok(self.measure(&saves)?.0)
    }

    /// How long so many reads by identifier take.
    pub(super) fn gets(&mut self, times: usize) -> miette::Result<Duration> {
        let gets = json!({"op": "measure", "what": "gets", "model": "Item", "times": times});
        Ok(self.measure(&gets)?.0)
    }

    /// How long a query takes that is made so many times, and how many items it finds; `query` has the keys of a query
    /// in the shell's protocol.
    pub(super) fn queries(&mut self, query: &Json, times: usize) -> miette::Result<(Duration, usize)> {
        let mut command = json!({"op": "measure", "what": "queries", "model": "Item", "times": times});
        for (key, value) in query.as_object().into_iter().flatten() {
            command[key] = value.clone();
        }
        self.measure(&command)
    }

    fn measure(&mut self, command: &Json) -> miette::Result<(Duration, usize)> {
        let answer = self.ask(command)?;
        match (answer["ms"].as_f64(), answer["count"].as_u64()) {
            (Some(ms), Some(count)) => {
                let count = usize::try_from(count).map_err(report)?;
                Ok((Duration::from_secs_f64(ms / 1e3), count))
            }
            _ => Err(miette::miette!(
                "the npm client answers {answer} to a measurement"
            )),
        }
    }
}

/// The fields of the item of that number; the client gives it an identifier of its own.
fn fields(number: usize) -> Json {
    let item = item(number);
    json!({
        "name": item.name, "category": item.category, "rating": item.rating, "score": item.score,
        "active": item.active, "note": item.note,
    })
}

impl Drop for Client {
    fn drop(&mut self) {
        // One that has ended already is as good.
        self.child.kill().unwrap_or(());
        let _ = self.child.wait();
    }
}
