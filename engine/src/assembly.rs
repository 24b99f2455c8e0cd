//! Which actors a store consists of, and how they are connected.
//!
//! Owns [`assemble`]. Where they run is `runtime.rs` for a real store, and the simulator's one thread otherwise.

use std::sync::Arc;

use actix::prelude::*;

use landfall_actors::{
    Env, Hub, HubMessage, OutboxActor, OutboxMessage, Port, StorageActor, StorageMessage, Supervisor,
    SupervisorMessage,
};
use landfall_core::Schema;
use landfall_storage::{Reader, Store};

/// The ways to a store's actors.
#[derive(Clone, Debug)]
pub(crate) struct Handles {
    pub(crate) env: Env,
    pub(crate) schema: Arc<Schema>,
    pub(crate) reader: Reader,
    pub(crate) storage: Port<StorageMessage>,
    pub(crate) outbox: Port<OutboxMessage>,
    pub(crate) hub: Port<HubMessage>,
    pub(crate) supervisor: Port<SupervisorMessage>,
}

/// Starts the actors of a store on the current actix arbiter; the storage actor on `storage_thread`, if one is given.
///
/// `queue_changes` says whether local changes are kept for the server.
pub(crate) fn assemble(
    env: Env,
    store: Store,
    queue_changes: bool,
    storage_thread: Option<&ArbiterHandle>,
) -> Handles {
    let (schema, reader) = (store.schema(), store.reader());
    let hub = Port::new(&Hub::new(env.of("Hub", 0)).start(), env.clone());
    let outbox = OutboxActor::new(env.of("OutboxActor", 0), reader.clone(), hub.clone()).start();
    let outbox = Port::new(&outbox, env.clone());
    let storage = StorageActor::new(env.of("StorageActor", 0), store, queue_changes)
        .with_listeners(outbox.clone(), hub.clone());
    let storage = match storage_thread {
        Some(thread) => StorageActor::start_in_arbiter(thread, move |_| storage),
        None => storage.start(),
    };
    let storage = Port::new(&storage, env.clone());
    let supervisor = Supervisor::new(
        env.of("Supervisor", 0),
        Arc::clone(&schema),
        reader.clone(),
        storage.clone(),
        outbox.clone(),
        hub.clone(),
    );
    let supervisor = Port::new(&supervisor.start(), env.clone());
    Handles {
        env,
        schema,
        reader,
        storage,
        outbox,
        hub,
        supervisor,
    }
}
