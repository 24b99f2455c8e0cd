//! Who hears of a commit: observers of the app, the outbox, the hub.
//!
//! Owns [`Listeners`] and [`Changes`]. Invariants: 1. everybody hears of commits in the order in which they were made; 2. an
//! observer hears of every commit that changes a model that it asked for, or is told that it fell behind.

use tokio::sync::mpsc;

use landfall_core::{ModelName, MutationKind, Record, planted};
use landfall_storage::{Applied, ChangeKind, OutboxChange, VisibleChange};

use super::logged::Logged;
use super::{ChangeSet, OBSERVER_BACKLOG_MAX, Observed};
use crate::hub::{HubEvent, HubMessage};
use crate::meter::{Count, Meter, Tally};
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
    /// What the program's log says of it.
    pub(super) logged: Logged,
    /// What is counted with it.
    pub(super) tally: Tally,
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
    observers: Vec<Observer>,
    outbox: Option<Port<OutboxMessage>>,
    hub: Option<Port<HubMessage>>,
}

/// Somebody who hears of the changes of some models.
#[derive(Debug)]
struct Observer {
    models: Vec<ModelName>,
    /// Has room for one message more than there may be change sets, so that it can always be told that it fell behind.
    sender: mpsc::Sender<Observed>,
    /// Whether it was told so, and may not have heard of that yet.
    is_behind: bool,
}

impl Observer {
    /// Passes on what it asked for. Returns whether it is still there.
    fn hear(&mut self, set: &ChangeSet, meter: &Meter) -> bool {
        if self.sender.is_closed() {
            return false;
        }
        if !set.iter().any(|change| self.models.contains(&change.key.model)) {
            return true;
        }
        if self.is_behind {
            // Nothing was sent since, so an empty backlog means that it knows. What it reads of the store after that is
            // newer than every commit that is left out here.
            if self.sender.capacity() < self.sender.max_capacity() {
                return true;
            }
            self.is_behind = false;
        }
        let backlog = self.sender.max_capacity() - self.sender.capacity();
        meter.raise(Count::ObserverBacklogMax, backlog as u64);
        let message = if self.sender.capacity() > 1 {
            Observed::Changes(ChangeSet::clone(set))
        } else {
            self.is_behind = true;
            meter.add(Count::ObserversBehind, 1);
            Observed::FellBehind
        };
        self.sender.try_send(message).is_ok()
    }
}

impl Listeners {
    pub(super) fn connect(&mut self, outbox: Port<OutboxMessage>, hub: Port<HubMessage>) {
        self.outbox = Some(outbox);
        self.hub = Some(hub);
    }

    pub(super) fn observe(&mut self, models: Vec<ModelName>) -> mpsc::Receiver<Observed> {
        let (sender, receiver) = mpsc::channel(OBSERVER_BACKLOG_MAX + 1);
        self.observers.push(Observer {
            models,
            sender,
            is_behind: false,
        });
        receiver
    }

    /// Tells everybody of a commit. Observers come first: they are what the app waits for.
    pub(super) fn hear(&mut self, mut changes: Changes, meter: &Meter) {
        meter.add_tally(&changes.tally);
        changes.logged.say();
        if !changes.visible.is_empty() {
            planted("observers-out-of-order").then(|| changes.visible.reverse());
            let set: ChangeSet = changes.visible.into();
            if planted("observers-told-twice") {
                self.observers.retain_mut(|observer| observer.hear(&set, meter));
            }
            self.observers.retain_mut(|observer| observer.hear(&set, meter));
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
