//! Streams that an app listens to, without naming the channels behind them.
//!
//! Owns [`HubEvents`] and the one way in which a channel becomes a stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::sync::mpsc;

use landfall_actors::HubEvent;

/// Lifecycle events, in the order in which they happened.
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
