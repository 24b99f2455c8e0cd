//! The flight recorder: every outside input of a running store, in a file from which the run can be played again.
//!
//! Owns what is recorded ([`Event`]) and its file ([`Recording`]); `recorder` writes it while a store runs, `landfall-sim`
//! plays it. A store records if [`record`](crate::DataStoreBuilder::record) names a file.
//!
//! Events carry order numbers that are given out where things happen; a number that is missing in the file is an event that
//! the recorder dropped because its writer could not keep up.

mod event;
mod file;
mod inject;
pub(crate) mod recorder;
mod transport;

pub use event::{Event, Noted, SeatName};
pub use file::{Cut, Directed, FLIGHT_VERSION, Head, Recording, RecordingError};
pub use recorder::{RECORDER_QUEUE_BYTES_MAX, RECORDER_QUEUE_MAX, RecorderReport};
#[doc(hidden)]
pub use transport::{frame_print, start_print};

pub use landfall_actors::flight::{
    Answer, Bytes, Commit, Decided, Deck, Failed, FailedKind, Fault, FaultKind, Flight, Fnv, Input, OpInput,
    PRINTS, Prompt, Seat, SettingsInput, print_of, print_of_bytes,
};

use std::hash::Hasher;

use landfall_storage::{Query, Snapshot, StorageError};

/// A fingerprint of every record that the app sees, of all models: equal exactly if the stores hold the same.
///
/// Reads the whole store.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # landfall::inline_schema!("type Post @model { id: ID! @primaryKey title: String! }");
/// use landfall::{DataStore, flight::state_hash};
///
/// let (here, there) = (DataStore::builder(schema()).open().await?, DataStore::builder(schema()).open().await?);
/// here.save(Post::builder().id("p1").title("Reef").build()?).await?;
/// assert_ne!(state_hash(&here.snapshot()?)?, state_hash(&there.snapshot()?)?);
/// there.save(Post::builder().id("p1").title("Reef").build()?).await?;
/// assert_eq!(state_hash(&here.snapshot()?)?, state_hash(&there.snapshot()?)?);
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`StorageError`] for the disk's faults.
pub fn state_hash(snapshot: &Snapshot) -> Result<u64, StorageError> {
    let mut hash = Fnv::default();
    let models: Vec<_> = snapshot.schema().models().map(|def| def.name.clone()).collect();
    for model in models {
        for record in snapshot.query(&Query::all(model.clone()))? {
            hash.write(model.as_bytes());
            hash.write(landfall_actors::record_json(&record).to_string().as_bytes());
        }
    }
    Ok(hash.finish())
}
