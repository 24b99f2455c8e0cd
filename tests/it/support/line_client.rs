//! A process that speaks the shell's line protocol: a Landfall shell, or the npm client behind its driver.
//!
//! Owns the conversation: one JSON command, one JSON answer. Tests drive both kinds with the same code.

use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use serde_json::{Value, json};

use super::landfall::landfall;
use super::process::Process;

/// Beyond what a command itself may wait: the slowest start of a process on a machine that runs all tests at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// What commands that wait do by default, in milliseconds; part of the protocol.
const WAIT_MS_DEFAULT: u64 = 10_000;

/// One end of a conversation in the line protocol.
pub(crate) struct LineClient {
    name: String,
    process: Process,
}

impl LineClient {
    /// Starts a Landfall shell with further `args`.
    pub(crate) fn landfall(name: &str, schema: &Path, args: &[&str]) -> Self {
        let mut command = landfall();
        command
            .args(["shell", "--json", "--schema"])
            .arg(schema)
            .args(args);
        Self::spawn(name, &mut command)
    }

    /// Starts the npm client with further `args`; `driver` is its folder, `schema` model-introspection JSON.
    pub(crate) fn npm(name: &str, driver: &Path, schema: &Path, args: &[&str]) -> Self {
        let mut command = Command::new("node");
        command
            .arg(driver.join("client.js"))
            .arg("--schema")
            .arg(schema)
            .args(args);
        Self::spawn(name, &mut command)
    }

    /// Starts whatever the command says, which speaks the protocol.
    pub(crate) fn spawn(name: &str, command: &mut Command) -> Self {
        Self {
            name: name.to_owned(),
            process: Process::spawn(name, command),
        }
    }

    /// The process's number, as the system knows it.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends a command and answers with its value.
    ///
    /// # Errors
    /// The command's own error, or what went wrong with the conversation.
    pub(crate) fn send(&mut self, command: &Value) -> Result<Value, String> {
        let wait_ms = command
            .get("ms")
            .and_then(Value::as_u64)
            .unwrap_or(WAIT_MS_DEFAULT);
        self.process.write_line(&command.to_string())?;
        let line = self
            .process
            .read_line(PATIENCE + Duration::from_millis(wait_ms))?;
        answer(&line)
    }

    /// Sends a line, command or not, and answers with the answer's value.
    ///
    /// # Errors
    /// As for [`Self::send`].
    pub(crate) fn send_line(&mut self, line: &str) -> Result<Value, String> {
        self.process.write_line(line)?;
        answer(&self.process.read_line(PATIENCE)?)
    }

    /// Sends a command that must succeed and answers with its value.
    ///
    /// # Panics
    /// If it fails.
    pub(crate) fn ok(&mut self, command: &Value) -> Value {
        self.send(command)
            .unwrap_or_else(|error| panic!("{}: {command}: {error}", self.name))
    }

    /// Sends a command and leaves its answer unread, for a process that is about to be killed or has to wait for what the
    /// test does meanwhile; then [`take_answer`](Self::take_answer) must be called before the next command.
    ///
    /// # Panics
    /// If the process takes no more input.
    pub(crate) fn post(&mut self, command: &Value) {
        self.process
            .write_line(&command.to_string())
            .unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// The answer to a command that was [posted](Self::post).
    ///
    /// # Panics
    /// If the command failed, or no answer comes.
    pub(crate) fn take_answer(&mut self) -> Value {
        self.process
            .read_line(PATIENCE)
            .and_then(|line| answer(&line))
            .unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// Saves a new record and answers with it.
    pub(crate) fn save(&mut self, model: &str, fields: &Value) -> Value {
        self.ok(&json!({"op": "save", "model": model, "fields": fields}))
    }

    /// Changes fields of a record and answers with it.
    pub(crate) fn update(&mut self, model: &str, id: &Value, fields: &Value) -> Value {
        self.ok(&json!({"op": "update", "model": model, "id": id, "fields": fields}))
    }

    /// Deletes a record.
    pub(crate) fn delete(&mut self, model: &str, id: &Value) {
        self.ok(&json!({"op": "delete", "model": model, "id": id}));
    }

    /// Waits until a record has these fields and answers with it.
    pub(crate) fn wait_for(&mut self, model: &str, id: &Value, fields: &Value) -> Value {
        self.ok(&json!({"op": "waitFor", "model": model, "id": id, "fields": fields}))
    }

    /// Waits until a record is no longer there.
    pub(crate) fn wait_gone(&mut self, model: &str, id: &Value) {
        self.ok(&json!({"op": "waitFor", "model": model, "id": id, "gone": true}));
    }

    /// Waits for the next Hub event of this name and answers with its data.
    pub(crate) fn wait_hub(&mut self, event: &str) -> Value {
        self.ok(&json!({"op": "waitHub", "event": event}))["data"].take()
    }

    /// Waits for the next Hub event of this name and data.
    pub(crate) fn wait_hub_with(&mut self, event: &str, data: &Value) {
        self.ok(&json!({"op": "waitHub", "event": event, "data": data}));
    }

    /// Takes every Hub event so far: the next wait is for what happens from here on.
    pub(crate) fn forget_hub(&mut self) {
        self.ok(&json!({"op": "hub"}));
    }

    /// Cuts the network and waits until the store has noticed.
    pub(crate) fn go_offline(&mut self) {
        self.set_online(false);
    }

    /// Restores the network and waits until the store has noticed.
    pub(crate) fn go_online(&mut self) {
        self.set_online(true);
    }

    fn set_online(&mut self, online: bool) {
        self.ok(&json!({"op": "online", "value": online}));
        self.wait_hub_with("networkStatus", &json!({"active": online}));
    }

    /// Ends the process at once, as a crash would.
    pub(crate) fn kill_9(mut self) {
        self.process.kill_9();
    }

    /// Ends the conversation and answers with the exit status.
    ///
    /// # Panics
    /// If the process does not end.
    pub(crate) fn exit(mut self) -> ExitStatus {
        let ended = self
            .process
            .write_line(r#"{"op":"exit"}"#)
            .and_then(|()| self.process.wait_for_end(PATIENCE));
        ended.unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

/// The value or the error in an answer.
fn answer(line: &str) -> Result<Value, String> {
    let mut parsed: Value =
        serde_json::from_str(line).map_err(|error| format!("not an answer: {error}: {line}"))?;
    match (
        parsed.get_mut("ok").map(Value::take),
        parsed.get("err").and_then(Value::as_str),
    ) {
        (Some(value), None) => Ok(value),
        (None, Some(error)) => Err(error.to_owned()),
        _ => Err(format!("not an answer, which has either `ok` or `err`: {line}")),
    }
}

#[test]
fn answers_are_values_or_errors_and_nothing_else() {
    assert_eq!(answer(r#"{"ok":null}"#), Ok(Value::Null));
    assert_eq!(answer(r#"{"err":"no"}"#), Err("no".to_owned()));
    for strange in ["", "[]", r#"{"ok":1,"err":"no"}"#, r#"{"yes":1}"#] {
        assert!(answer(strange).expect_err(strange).starts_with("not an answer"));
    }
}
