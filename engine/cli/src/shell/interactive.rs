//! The shell for people: a prompt with history, help and tables.
//!
//! Owns the conversation. With an endpoint it syncs from the beginning, and says what arrives and what goes wrong while
//! somebody types: above the line on a terminal, between the answers elsewhere. What is said so is in
//! `interactive/news.rs`, what is said of changes that were not sent in `interactive/farewell.rs`, how it gets onto the
//! terminal in `interactive/screen.rs`, tables in `interactive/table.rs`.

mod farewell;
mod news;
mod screen;
mod table;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use landfall::{DataStore, Mutation, Stage, SyncError};
use owo_colors::OwoColorize;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use serde_json::Value as Json;
use tokio::sync::mpsc;

use super::session::{Reply, Session};
use super::words;
use news::News;
use screen::Screen;

/// Lines of history that are kept.
const HISTORY_MAX: usize = 1_000;

/// How long the first prompt waits for the first sync; a longer one goes on behind it.
const START_PATIENCE: Duration = Duration::from_secs(5);

/// How long the end waits for changes that are on their way.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(5);

/// How much of that passes before it is said what is waited for.
const FAREWELL_SILENCE: Duration = Duration::from_millis(200);

/// Waiting changes that are looked at before the end.
const WAITING_MAX: usize = 10_000;

/// Where the data of the shell is, and where it goes to.
pub(crate) struct Surroundings {
    /// The endpoint, if there is one.
    pub(crate) url: Option<String>,
    /// The directory, unless it is removed at the end.
    pub(crate) kept_in: Option<PathBuf>,
    /// Whether to sync from the beginning.
    pub(crate) starts: bool,
    /// Errors during sync as they come.
    pub(crate) errors: mpsc::Receiver<SyncError>,
}

/// Runs until `exit`, or the end of input. Answers whether all went well: a command that fails counts where nobody is
/// there to read what is said about it.
pub(crate) async fn run(session: Session, surroundings: Surroundings) -> std::io::Result<bool> {
    let config = rustyline::Config::builder()
        .max_history_size(HISTORY_MAX)
        .map_err(other)?
        .auto_add_history(true)
        .build();
    let mut editor = DefaultEditor::with_config(config).map_err(other)?;
    let history = history_file();
    if let Some(history) = &history {
        // There is none the first time.
        editor.load_history(history).unwrap_or(());
    }
    let news = match &surroundings.url {
        Some(url) => Some(
            News::open(session.store(), url, surroundings.errors)
                .await
                .map_err(other)?,
        ),
        None => None,
    };
    let mut conversation = Conversation {
        screen: Screen::of(&mut editor),
        session,
        news,
        is_syncing: false,
        failed: false,
    };
    conversation.greet();
    farewell::say_refused(conversation.session.store());
    if surroundings.starts {
        conversation.start().await;
    }
    let editor = conversation.converse(editor).await?;
    conversation.say_farewell(surroundings.kept_in).await;
    let failed = conversation.failed;
    if let (Some(history), mut editor) = (&history, editor) {
        // A history that cannot be kept is no reason to fail.
        editor.save_history(history).unwrap_or(());
    }
    // Who types sees each error; a script is told by the exit status.
    Ok(!failed || std::io::stdin().is_terminal())
}

struct Conversation {
    session: Session,
    news: Option<News>,
    screen: Screen,
    /// Whether changes are on their way to the server, as far as was asked for.
    is_syncing: bool,
    /// Whether a command failed.
    failed: bool,
}

impl Conversation {
    fn greet(&self) {
        if !std::io::stdin().is_terminal() {
            return;
        }
        let schema = self.session.store().schema();
        let models: Vec<&str> = schema.models().map(|def| def.name.as_str()).collect();
        screen::print(&format!(
            "Models: {}. Type `help` for what can be typed, `exit` to leave.",
            models.join(", ")
        ));
    }

    /// Starts to sync, and waits a little for it.
    async fn start(&mut self) {
        self.is_syncing = true;
        let started = tokio::time::timeout(START_PATIENCE, start(self.session.store())).await;
        self.tell_news();
        let Some(news) = &mut self.news else { return };
        let line = match started {
            Ok(Ok(true)) => news.in_sync(),
            // What keeps it from syncing was among the news.
            Ok(Ok(false)) => None,
            Ok(Err(error)) => return complain(&error.to_string()),
            Err(_) => Some(format!("syncing with {}; what arrives is shown", news.url())),
        };
        if let Some(line) = line {
            screen::print(&line);
        }
    }

    /// Reads lines and carries them out, until one says that it is enough.
    async fn converse(&mut self, mut editor: DefaultEditor) -> std::io::Result<DefaultEditor> {
        loop {
            let (back, line) = self.read(editor).await?;
            editor = back;
            match line.as_deref().map(str::trim) {
                Ok("help") => screen::print(words::HELP),
                Ok(line) if line.starts_with("help ") => match words::help(line["help ".len()..].trim()) {
                    Ok(help) => screen::print(&help),
                    Err(fault) => {
                        self.failed = true;
                        complain(&fault);
                    }
                },
                // Elsewhere the word clears the screen, so it is asked for twice.
                Ok("clear") => {
                    self.failed = true;
                    complain(
                        "this removes all local data, and changes that wait for the server; type `clear yes`",
                    );
                }
                Ok("clear yes") => {
                    self.carry_out("clear").await;
                }
                Ok(line) => {
                    if !self.carry_out(line).await {
                        return Ok(editor);
                    }
                }
                Err(ReadlineError::Interrupted) => screen::print("`exit` leaves"),
                Err(ReadlineError::Eof) => return Ok(editor),
                Err(_) => return line.map(|_| editor).map_err(other),
            }
            self.tell_news();
        }
    }

    /// Reads a line; what happens meanwhile is said beside it.
    async fn read(
        &mut self,
        mut editor: DefaultEditor,
    ) -> std::io::Result<(DefaultEditor, Result<String, ReadlineError>)> {
        // Reading blocks, so it has a thread of its own while the store goes on.
        let mut reading = tokio::task::spawn_blocking(move || {
            let line = editor.readline("landfall> ");
            (editor, line)
        });
        loop {
            tokio::select! {
                biased;
                read = &mut reading => return read.map_err(other),
                () = self.screen.freed(), if !self.screen.is_free() => {}
                text = next(&mut self.news), if self.screen.is_free() => self.screen.print_beside(&text),
                never = self.session.listen() => match never {},
            }
        }
    }

    /// Carries out one line. Returns whether to go on.
    async fn carry_out(&mut self, line: &str) -> bool {
        let command = match words::command(line, self.session.store().schema()) {
            Ok(None) => return true,
            Ok(Some(command)) => command,
            Err(fault) => {
                self.failed = true;
                complain(&fault);
                return true;
            }
        };
        match self.session.carry_out(&command).await {
            Ok(Reply::Exit) => return false,
            Ok(Reply::Answer(answer)) => {
                match (&answer, command["op"].as_str()) {
                    (Json::Null, Some("get" | "delete")) => {
                        let model = command["model"].as_str().unwrap_or_default();
                        screen::print(&format!("there is no {model} {}", plain(&command["id"])));
                    }
                    // One below the other, as there are more than a screen is wide.
                    (_, Some("metrics")) if command["all"] == true => screen::print(&table::tall(&answer)),
                    (_, Some("metrics")) => {
                        screen::print(&table::answer(&answer, &[]));
                        screen::print("`metrics all` shows all of them");
                    }
                    _ => {
                        let schema = self.session.store().schema();
                        let def = command["model"].as_str().and_then(|model| schema.model(model));
                        let keys = def.into_iter().flat_map(|def| &def.key.fields);
                        // Of what waits the identifier has this name, whatever the model.
                        let keys: Vec<&str> =
                            keys.map(landfall_core::FieldName::as_str).chain(["id"]).collect();
                        screen::print(&table::answer(&answer, &keys));
                    }
                }
                if command["op"] == "errors" && answer == serde_json::json!([]) {
                    // What was told to an earlier run is not told again, but it may still matter.
                    farewell::say_refused(self.session.store());
                }
            }
            Err(fault) => {
                self.failed = true;
                complain(&fault);
            }
        }
        match command["op"].as_str() {
            Some("start") => self.is_syncing = true,
            Some("stop") => self.is_syncing = false,
            Some("clear") => {
                self.is_syncing = false;
                if let Some(news) = &mut self.news
                    && let Err(error) = news.observe().await
                {
                    complain(&error.to_string());
                }
            }
            _ => {}
        }
        true
    }

    /// Says what has happened since the last time.
    fn tell_news(&mut self) {
        for line in self.news.iter_mut().flat_map(News::take) {
            screen::print(&line);
        }
    }

    /// Lets changes arrive that are on their way, and says what becomes of the others.
    async fn say_farewell(&mut self, kept_in: Option<PathBuf>) {
        if self.news.is_none() {
            return;
        }
        if self.is_syncing {
            let store = self.session.store();
            let mut arrival = std::pin::pin!(arrival(store));
            if tokio::time::timeout(FAREWELL_SILENCE, &mut arrival)
                .await
                .is_err()
            {
                if let Some(line) = farewell::sending(store, kept_in.is_some()) {
                    screen::print(&line);
                }
                // Whatever does not arrive in time is named below.
                let _ = tokio::time::timeout(FAREWELL_PATIENCE, arrival).await;
            }
        }
        self.tell_news();
        for line in farewell::lines(self.session.store(), kept_in.as_deref()) {
            screen::print(&line);
        }
    }
}

/// Starts a store and waits until it is in sync; `false` if it cannot be now.
async fn start(store: &DataStore) -> Result<bool, landfall::Error> {
    store.start().await?;
    store.ready().await
}

/// Waits until no change is on its way to the server. One that was refused waits for a person, and is not.
async fn arrival(store: &DataStore) -> Result<(), landfall::Error> {
    if !store.ready().await? {
        return Ok(());
    }
    let mut watch = store.outbox().watch().await?;
    let is_under_way = |mutation: &Mutation| !matches!(mutation.stage, Stage::Parked(_));
    while let Some(waiting) = watch.next(WAITING_MAX).await {
        if !waiting?.iter().any(is_under_way) {
            break;
        }
    }
    Ok(())
}

async fn next(news: &mut Option<News>) -> String {
    match news {
        Some(news) => news.next().await,
        None => std::future::pending().await,
    }
}

/// An identifier as it is typed.
fn plain(id: &Json) -> String {
    let text = id.as_str().map_or_else(|| id.to_string(), ToOwned::to_owned);
    screen::harmless(&text).into_owned()
}

fn complain(fault: &str) {
    let mut err = anstream::stderr();
    // Nobody is left to tell if standard error is closed.
    writeln!(err, "{} {}", "error:".red().bold(), screen::harmless(fault)).unwrap_or(());
}

fn history_file() -> Option<PathBuf> {
    std::env::var_os("HOME").map(|home| std::path::Path::new(&home).join(".landfall_history"))
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> std::io::Error {
    std::io::Error::other(error)
}
