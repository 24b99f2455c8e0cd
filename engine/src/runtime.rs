//! The threads of a real store: one for the actors, one for the storage actor.
//!
//! Owns [`Runtime`]. The app's own async runtime is never used: a store works from any, or from none.
#![allow(clippy::disallowed_methods, reason = "the threads of a store are made here")]

use std::sync::Arc;
use std::thread::JoinHandle;

use actix::prelude::*;
use tokio::sync::oneshot;

use landfall_actors::Env;
use landfall_storage::{Migrations, Retention, Store, StoreOptions};

use crate::assembly::{Handles, assemble};
use crate::error::Error;
use crate::flight::recorder::Recorder;
use crate::trimming::Trimming;

/// The threads of a store; ends with it.
#[derive(Debug)]
pub(crate) struct Runtime {
    system: System,
    thread: Option<JoinHandle<()>>,
    trimming: Option<Trimming>,
}

impl Runtime {
    /// Opens a store on threads of its own.
    pub(crate) async fn open(
        env: Env,
        options: StoreOptions,
        migrations: Migrations,
        queue_changes: bool,
        recorder: Option<Arc<Recorder>>,
    ) -> Result<(Self, Handles), Error> {
        let (sender, receiver) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("landfall".to_owned())
            .spawn(move || {
                run(
                    env,
                    options,
                    migrations,
                    queue_changes,
                    recorder.as_deref(),
                    sender,
                );
            })
            .map_err(|error| landfall_storage::StorageError::Io {
                cause: error.to_string(),
            })?;
        let (system, handles) = receiver.await.map_err(|_| Error::Closed)??;
        Ok((
            Self {
                system,
                thread: Some(thread),
                trimming: None,
            },
            handles,
        ))
    }

    /// Has the log trimmed by its policy while the store is in use.
    pub(crate) fn trim_meanwhile(&mut self, handles: &Handles, retention: Retention) {
        self.trimming = Trimming::begin(handles, retention);
    }

    /// Ends the threads and waits until the files are closed.
    pub(crate) async fn close(mut self) {
        let trimming = self.trimming.take();
        if let Some(trimming) = &trimming {
            trimming.end();
        }
        self.system.stop();
        let Some(thread) = self.thread.take() else { return };
        let (sender, receiver) = oneshot::channel();
        // Joining blocks, so a thread of its own does it: the caller's executor may have only one.
        let joining = std::thread::Builder::new()
            .name("landfall-close".to_owned())
            .spawn(move || {
                // A thread that panicked is gone as well, and its files with it.
                thread.join().unwrap_or(());
                if let Some(trimming) = trimming {
                    trimming.join();
                }
                sender.send(()).unwrap_or(());
            });
        if joining.is_ok() {
            receiver.await.unwrap_or(());
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(trimming) = &self.trimming {
            trimming.end();
        }
        self.system.stop();
    }
}

type Opened = Result<(System, Handles), Error>;

fn run(
    env: Env,
    options: StoreOptions,
    migrations: Migrations,
    queue_changes: bool,
    recorder: Option<&Recorder>,
    opened: oneshot::Sender<Opened>,
) {
    let runner = System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("the system gives a thread its event queue")
    });
    let storage_thread = runner.block_on(async {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the runtime of the real world; a simulation does without it"
        )]
        let storage_thread = Arbiter::new();
        // Opening may take long after a crash, and belongs to the thread that will write.
        let (sender, receiver) = oneshot::channel();
        storage_thread.spawn_fn(move || drop(sender.send(Store::open_migrating(options, &migrations))));
        let answer = match receiver.await {
            Ok(Ok(store)) => {
                if let Some(recorder) = recorder {
                    recorder.begin(&store.reader());
                }
                let handles = assemble(env, store, queue_changes, Some(&storage_thread.handle()));
                Ok((System::current(), handles))
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Error::Closed),
        };
        if answer.is_err() {
            System::current().stop();
        }
        opened.send(answer).unwrap_or(());
        storage_thread
    });
    // The arbiters that the system knows are stopped with it; the storage thread's files are closed when it is joined.
    runner.run().unwrap_or(());
    storage_thread.stop();
    storage_thread.join().unwrap_or(());
}
