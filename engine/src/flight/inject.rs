//! Saying to the actors what the app once said, for replays.
//!
//! Owns [`DataStore::inject`]. What is answered is not listened to: the log and the records show what came of it.

use std::sync::Arc;
use std::time::Duration;

use landfall_actors::flight::{Input, SettingsInput};
use landfall_actors::{
    ErrorHandler, HubMessage, OutboxMessage, Reply, StorageMessage, SupervisorMessage, SyncError,
    SyncSettings,
};
use landfall_storage::Retention;

use crate::datastore::DataStore;
use crate::error::Error;

/// Errors of the past were reported in the past.
struct Silent;

impl ErrorHandler for Silent {
    fn handle(&self, _: SyncError) {}
}

fn settings(input: SettingsInput) -> Box<SyncSettings> {
    let mut settings = SyncSettings::from(input);
    settings.error_handler = Arc::new(Silent);
    Box::new(settings)
}

/// A reply that nobody waits for.
fn unheard<T>() -> Reply<T> {
    Reply::channel().0
}

impl DataStore {
    /// Tells an actor what a recording says that the app told it.
    ///
    /// # Errors
    /// [`Error::Closed`].
    #[doc(hidden)]
    pub fn inject(&self, actor: &str, input: Input) -> Result<(), Error> {
        let handles = &self.inner.handles;
        match actor {
            "StorageActor" => match to_storage(input) {
                Some(message) => handles.storage.tell(message)?,
                None => return Ok(()),
            },
            "OutboxActor" => match input {
                Input::Drained(within) => handles.outbox.tell(OutboxMessage::Drained {
                    within: within.map(Duration::from_millis),
                    reply: unheard(),
                })?,
                Input::Watch => handles.outbox.tell(OutboxMessage::Watch { reply: unheard() })?,
                _ => return Ok(()),
            },
            "Hub" => handles.hub.tell(HubMessage::Listen { reply: unheard() })?,
            _ => match to_supervisor(input) {
                Some(message) => handles.supervisor.tell(message)?,
                None => return Ok(()),
            },
        }
        Ok(())
    }
}

fn to_storage(input: Input) -> Option<StorageMessage> {
    Some(match input {
        Input::Write(ops) => StorageMessage::Write {
            ops: ops.into_iter().map(Into::into).collect(),
            grouped: true,
            reply: unheard(),
        },
        Input::WriteApart(ops) => StorageMessage::Write {
            ops: ops.into_iter().map(Into::into).collect(),
            grouped: false,
            reply: unheard(),
        },
        Input::Undo(entry, ops) => StorageMessage::Undo {
            entry,
            ops: ops.into_iter().map(Into::into).collect(),
            reply: unheard(),
        },
        Input::RetryParked(mutation) => StorageMessage::RetryParked {
            mutation,
            reply: unheard(),
        },
        Input::EditParked(mutation, patch) => StorageMessage::EditParked {
            mutation,
            patch,
            reply: unheard(),
        },
        Input::DiscardParked(mutation) => StorageMessage::DiscardParked {
            mutation,
            reply: unheard(),
        },
        Input::Observe => StorageMessage::Observe {
            models: Vec::new(),
            reply: unheard(),
        },
        Input::Rebuild => StorageMessage::Rebuild { reply: unheard() },
        Input::Compact => StorageMessage::Compact { reply: unheard() },
        Input::Trim => StorageMessage::Trim {
            retention: Retention::everything(),
            reply: unheard(),
        },
        _ => return None,
    })
}

fn to_supervisor(input: Input) -> Option<SupervisorMessage> {
    Some(match input {
        Input::Start(input) => SupervisorMessage::Start {
            settings: settings(input),
            reply: unheard(),
        },
        Input::Reconfigure(input) => SupervisorMessage::Reconfigure {
            settings: settings(input),
            reply: unheard(),
        },
        Input::Stop => SupervisorMessage::Stop { reply: unheard() },
        Input::Clear => SupervisorMessage::Clear { reply: unheard() },
        Input::AwaitReady => SupervisorMessage::AwaitReady { reply: unheard() },
        Input::SyncNow => SupervisorMessage::SyncNow { reply: unheard() },
        Input::PausePush(paused) => SupervisorMessage::PausePush { paused },
        Input::PausePull(paused) => SupervisorMessage::PausePull { paused },
        Input::ForceOffline(offline) => SupervisorMessage::ForceOffline { offline },
        Input::Halt => SupervisorMessage::Halt,
        _ => return None,
    })
}
