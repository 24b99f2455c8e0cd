//! Streams that an app listens to, without naming the channels behind them.
//!
//! Owns [`HubEvents`] and the one way in which a channel becomes a stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::sync::mpsc;

use landfall_actors::HubEvent;

/// Lifecycle events, in the order in which they happened.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # landfall::inline_schema!("type Post @model { title: String! }");
/// # let store = landfall::DataStore::builder(schema()).open().await?;
/// let mut events = store.hub().await?;
/// store.start().await?;
/// store.save(Post::builder().title("Reef").build()?).await?;
/// # let mut names = Vec::new();
/// while let Some(event) = events.next().await {
///     println!("{} {}", event.name(), event.data());
/// #   names.push(event.name());
///     if event.name() == "outboxMutationEnqueued" {
///         break;
///     }
/// }
/// # assert_eq!(names[0], "localReady");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct HubEvents {
    receiver: mpsc::Receiver<HubEvent>,
}

impl HubEvents {
    pub(crate) fn new(receiver: mpsc::Receiver<HubEvent>) -> Self {
        Self { receiver }
    }

    /// Waits for the next event; `None` once the store is closed.
    pub async fn next(&mut self) -> Option<HubEvent> {
        self.receiver.recv().await
    }

    /// The next event, if there is one already.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let mut events = store.hub().await?;
    /// assert!(events.try_next().is_none());
    /// # Ok(()) }
    /// ```
    pub fn try_next(&mut self) -> Option<HubEvent> {
        self.receiver.try_recv().ok()
    }
}

impl Stream for HubEvents {
    type Item = HubEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<HubEvent>> {
        self.receiver.poll_recv(context)
    }
}
