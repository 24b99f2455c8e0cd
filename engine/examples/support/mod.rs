//! What the examples share: a backend on loopback, and waiting for something to become true.
//!
//! In an app the backend is an AppSync API, and nobody waits: a program reacts to what it observes.

use std::sync::Arc;
use std::time::Duration;

use landfall::{DataStore, Model, Schema, TypedPredicate};
use landfall_backend::{Backend, BackendConfig, ConflictStrategy, ServerHandle, os_entropy};
use landfall_storage::kv::KvStore;

/// What examples end with.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The key that stores and backend share.
pub(crate) const API_KEY: &str = "da2-example";

/// How long an example waits for anything before it gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts a backend on a free port. Clashing versions come back to the stores, so that their handlers decide.
pub(crate) async fn backend(schema: &Arc<Schema>) -> Outcome<ServerHandle> {
    let config = BackendConfig {
        conflict: ConflictStrategy::OptimisticConcurrency,
        ..BackendConfig::with_api_key(API_KEY)
    };
    let backend = Backend::new(Arc::clone(schema), config, KvStore::in_memory()?, os_entropy())?;
    let any_port = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    Ok(landfall_backend::serve(any_port, Arc::new(backend)).await?)
}

/// Waits until something holds, asking again after each change of a model.
pub(crate) async fn until<M: Model>(
    store: &DataStore,
    what: &str,
    holds: impl Fn() -> Outcome<bool>,
) -> Outcome {
    let waited = tokio::time::timeout(PATIENCE, async {
        let mut changes = store.observe(TypedPredicate::<M>::all()).await?;
        while !holds()? {
            changes.next().await.ok_or("the store was closed")??;
        }
        Ok(())
    });
    waited
        .await
        .unwrap_or_else(|_| Err(format!("{what} did not happen in {} s", PATIENCE.as_secs()).into()))
}

/// Waits until nothing waits for the server any more.
pub(crate) async fn sent(store: &DataStore) -> Outcome {
    let outbox = store.outbox();
    tokio::time::timeout(PATIENCE, outbox.drained())
        .await
        .map_err(|_| "the outbox did not become empty")??;
    Ok(())
}
