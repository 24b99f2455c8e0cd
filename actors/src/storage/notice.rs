//! Who hears of a commit: observers of the app, the outbox, the hub.
//!
//! Owns [`Listeners`] and [`Changes`]. Invariant: everybody hears of commits in the order in which they were made.

use tokio::sync::mpsc;

use landfall_core::{MutationKind, Record, planted};
use landfall_storage::{Applied, ChangeKind, OutboxChange, VisibleChange};

use super::{ChangeSet, OBSERVER_BACKLOG_MAX};
use crate::hub::{HubEvent, HubMessage};
use crate::outbox::OutboxMessage;
use crate::port::Port;

/// Everything that one commit changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) visible: Vec<VisibleChange>,
    pub(super) outbox: Vec<OutboxChange>,
    pub(super) events: Vec<HubEvent>,
    /// What the last of these events says of the outbox.
    pub(super) told_empty: Option<bool>,
    pub(super) cleared: bool,
}

/// What one entry changed, of what there is to tell.
pub(super) struct Told<'a> {
    pub(super) visible: Option<&'a VisibleChange>,
    pub(super) outbox: &'a [OutboxChange],
}

impl Changes {
    pub(super) fn take(&mut self, applied: Applied) -> Told<'_> {
        let (visible, outbox) = (self.visible.len(), self.outbox.len());
        let missed = [
            (planted("observers-miss-deletes"), ChangeKind::Delete),
            (planted("observers-miss-inserts"), ChangeKind::Insert),
            (planted("observers-miss-updates"), ChangeKind::Update),
        ];
        let told = |change: &VisibleChange| !missed.contains(&(true, change.kind));
        self.visible.extend(applied.visible.filter(told));
        self.outbox.extend(applied.outbox);
        Told {
            visible: self.visible.get(visible),
            outbox: self.outbox.get(outbox..).unwrap_or_default(),
        }
    }

    pub(super) fn enqueued(&mut self, kind: MutationKind, record: Record) {
        self.events
            .push(HubEvent::OutboxMutationEnqueued { kind, record });
        self.outbox_status(false);
    }

    /// Has the app told whether changes wait.
    pub(super) fn outbox_status(&mut self, is_empty: bool) {
        self.told_empty = Some(is_empty);
        self.events.push(HubEvent::OutboxStatus { is_empty });
    }
}

/// Who hears of commits.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    observers: Vec<mpsc::Sender<ChangeSet>>,
    outbox: Option<Port<OutboxMessage>>,
    hub: Option<Port<HubMessage>>,
}

impl Listeners {
    pub(super) fn connect(&mut self, outbox: Port<OutboxMessage>, hub: Port<HubMessage>) {
        self.outbox = Some(outbox);
        self.hub = Some(hub);
    }

    pub(super) fn observe(&mut self) -> mpsc::Receiver<ChangeSet> {
        let (sender, receiver) = mpsc::channel(OBSERVER_BACKLOG_MAX);
        self.observers.push(sender);
        receiver
    }

    /// Tells everybody of a commit. Observers come first: they are what the app waits for.
    pub(super) fn hear(&mut self, mut changes: Changes) {
        if !changes.visible.is_empty() {
            planted("observers-out-of-order").then(|| changes.visible.reverse());
            let set: ChangeSet = changes.visible.into();
            if planted("observers-told-twice") {
                self.observers
                    .iter()
                    .for_each(|observer| drop(observer.try_send(ChangeSet::clone(&set))));
            }
            // An observer whose backlog is full has its channel closed, which tells it to start anew.
            self.observers
                .retain(|observer| observer.try_send(ChangeSet::clone(&set)).is_ok());
        }
        if changes.cleared {
            // Dropping the senders ends the streams: what they observed is gone.
            self.observers.clear();
        }
        if let Some(hub) = &self.hub
            && !changes.events.is_empty()
        {
            hub.tell(HubMessage::PublishAll(changes.events)).unwrap_or(());
        }
        if let Some(outbox) = &self.outbox
            && (changes.cleared || !changes.outbox.is_empty())
        {
            let notice = if changes.cleared {
                OutboxMessage::Cleared
            } else {
                OutboxMessage::Committed {
                    changes: changes.outbox,
                    told_empty: changes.told_empty,
                }
            };
            outbox.tell(notice).unwrap_or(());
        }
    }
}
