//! What an app can rely on when it calls a local store: through the public interface alone, in memory or on disk.
//!
//! Owns the models that the tests share. Sync is tested elsewhere, but for which way it goes (`directions.rs`).

#![allow(clippy::unwrap_used)] // A test that cannot go on has failed, and the line says where.

mod bad_input;
mod computed;
mod damaged;
mod deleting;
mod directions;
mod failing_reads;
mod model;
mod moving;
mod observing;
mod reading;
mod recording;
mod required;
mod settings;
mod transactions;
mod watching;

use std::sync::Arc;

use landfall::{DataStore, Schema};

landfall::inline_schema!(
    "enum Status { DRAFT ACTIVE ARCHIVED }
     type Blog @model { name: String! stars: Int posts: [Post] @hasMany }
     type Post @model {
       title: String!
       rating: Int
       status: Status
       blog: Blog @belongsTo
       tags: [Tag] @manyToMany(relationName: \"PostTags\")
     }
     type Tag @model { label: String! posts: [Post] @manyToMany(relationName: \"PostTags\") }
     type Account @model { id: ID! @primaryKey owner: String cents: Int! }"
);

/// A store in memory.
async fn in_memory() -> DataStore {
    open(schema()).await
}

async fn open(schema: &Arc<Schema>) -> DataStore {
    DataStore::builder(schema)
        .open()
        .await
        .expect("memory is always there")
}

/// An account that is not saved yet.
fn account(id: &str, cents: i32) -> Account {
    Account::builder().id(id).cents(cents).build().expect("complete")
}

/// Settings of random tests: the seed is fixed, and a failure prints it.
fn proptest_config(cases: u32) -> proptest::prelude::ProptestConfig {
    proptest::prelude::ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(0x1a2d_fa11),
        ..proptest::prelude::ProptestConfig::default()
    }
}

/// Runs a test on a runtime of its own.
fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the system gives a thread its event queue")
        .block_on(test)
}
