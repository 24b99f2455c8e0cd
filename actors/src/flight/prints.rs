//! What each kind of message prints, kept in `prints.txt`: whoever changes it has to raise [`PRINTS`].
//!
//! Prints are made of `Debug` output, so a field that gets another name makes every recording differ. A recording says of
//! which generation its prints are, and a replay compares those of its own generation alone; that is only true if the
//! generation is raised whenever a print changes, which this file sees to.

use std::cell::RefCell;
use std::fmt::Write as _;

use landfall_core::{
    Decision, FieldMap, ModelName, MutationKind, Origin, Refusal, RemoteRecord, Seq, SyncMetadata, Topic,
};

use super::PRINTS;
use crate::hub::{HubEvent, HubMessage};
use crate::mutation::testing::{deleted, mutation, remote};
use crate::outbox::OutboxMessage;
use crate::port::{Message, Reply};
use crate::reachability::{Outcome, ReachabilityMessage};
use crate::storage::{Epoch, RemoteBatch, Settlement, StorageMessage};
use crate::supervisor::SupervisorMessage;

thread_local! {
    /// The text of the last print that was made of one.
    static PRINTED: RefCell<String> = RefCell::default();
}

/// Notes what a print is made of.
pub(super) fn note(text: &str) {
    PRINTED.with_borrow_mut(|printed| printed.push_str(text));
}

const FIXTURE: &str = include_str!("prints.txt");

/// The name, the print, and what it is made of, for each message.
fn lines<M: Message>(messages: Vec<M>, lines: &mut String) {
    for message in messages {
        PRINTED.take();
        let print = message.print();
        let text = PRINTED.take();
        let made_of = if text.is_empty() {
            String::new()
        } else {
            format!(" {text}")
        };
        writeln!(lines, "{}.{} {print:016x}{made_of}", M::ACTOR, message.name()).expect("there is memory");
    }
}

fn reply<T>() -> Reply<T> {
    Reply::channel().0
}

fn settle(settlement: Settlement) -> StorageMessage {
    // What is added to it needs a line here as well.
    match &settlement {
        Settlement::Acknowledged(_)
        | Settlement::Conflict { .. }
        | Settlement::Refused { .. }
        | Settlement::NotApplied
        | Settlement::Unknown => {}
    }
    StorageMessage::Settle {
        epoch: Epoch(1),
        mutation: Seq(2),
        settlement,
        covered: true,
        reply: reply(),
    }
}

fn of_storage() -> Vec<StorageMessage> {
    let retry = Decision::Retry {
        kind: MutationKind::Update,
        patch: FieldMap::from([("title".into(), "mine".into())]),
    };
    let refusal = Refusal {
        error_type: Some("Unauthorized".into()),
        message: "no".into(),
    };
    let mut batch = RemoteBatch::new(Origin::Subscription, ModelName::from("Todo"));
    batch.records = vec![remote(3, "theirs")];
    let conflict = |decision| Settlement::Conflict {
        remote: remote(3, "theirs"),
        decision,
    };
    vec![
        StorageMessage::MarkSent {
            epoch: Epoch(1),
            mutations: vec![Seq(2), Seq(3)],
            reply: reply(),
        },
        settle(Settlement::Acknowledged(remote(2, "mine"))),
        settle(Settlement::Acknowledged(deleted(2))),
        settle(conflict(Decision::AcceptRemote)),
        settle(conflict(retry)),
        settle(Settlement::Refused {
            refusal,
            remote: Some(remote(3, "theirs")),
        }),
        settle(Settlement::NotApplied),
        settle(Settlement::Unknown),
        StorageMessage::ApplyRemote {
            epoch: Epoch(1),
            batch,
            reply: reply(),
        },
        StorageMessage::RetryMismatched {
            epoch: Epoch(1),
            mutations: vec![Seq(2)],
            reply: reply(),
        },
        StorageMessage::BeginEpoch {
            epoch: Epoch(1),
            reply: reply(),
        },
    ]
}

fn of_outbox() -> Vec<OutboxMessage> {
    let topic = Topic {
        model: ModelName::from("Todo"),
        kind: MutationKind::Create,
    };
    let put = landfall_storage::OutboxChange::Put(mutation(2, MutationKind::Create, "Todo/a"));
    vec![
        OutboxMessage::Take {
            max: 4,
            held_up: [topic].into(),
            reply: reply(),
        },
        OutboxMessage::GiveBack(vec![Seq(2), Seq(3)]),
        OutboxMessage::Told { is_empty: true },
        OutboxMessage::Committed {
            changes: vec![put],
            told_empty: Some(false),
        },
    ]
}

fn of_the_rest(all: &mut String) {
    let status = || HubEvent::OutboxStatus { is_empty: true };
    lines(
        vec![
            HubMessage::Publish(status()),
            HubMessage::PublishAll(vec![HubEvent::SyncQueriesReady, status()]),
        ],
        all,
    );
    let outcomes = [Outcome::Reached, Outcome::Unreachable];
    let mut probes: Vec<_> = outcomes
        .map(|outcome| ReachabilityMessage::Probed { turn: 1, outcome })
        .into();
    probes.push(ReachabilityMessage::ForceOffline { offline: true });
    lines(probes, all);
    let epoch = Epoch(1);
    lines(
        vec![
            SupervisorMessage::NetworkChanged { epoch, online: true },
            SupervisorMessage::SubscriptionsEstablished { epoch },
            SupervisorMessage::GapFound { epoch },
            SupervisorMessage::SubscriptionsLost { epoch },
            SupervisorMessage::BufferDrained { epoch },
            SupervisorMessage::SyncFinished { epoch },
        ],
        all,
    );
}

/// One message of each kind that has a print, as `prints.txt` has them.
fn all() -> String {
    let mut all = format!("generation {PRINTS}\n");
    lines(of_storage(), &mut all);
    lines(of_outbox(), &mut all);
    lines(crate::mutation::testing::samples(), &mut all);
    lines(crate::subscription::testing::samples(), &mut all);
    of_the_rest(&mut all);
    all
}

/// The first line that differs, as it was and as it is.
fn difference<'t>(kept: &'t str, now: &'t str) -> Option<(&'t str, &'t str)> {
    let longer = kept.lines().count().max(now.lines().count());
    let padded = |text: &'t str| text.lines().chain(std::iter::repeat("(no line)")).take(longer);
    padded(kept).zip(padded(now)).find(|(kept, now)| kept != now)
}

#[test]
fn prints_change_only_with_their_generation() {
    let now = all();
    let generation = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    let raised = generation(FIXTURE) != generation(&now);
    if std::env::var_os("LANDFALL_WRITE_FIXTURES").is_some() && raised {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/flight/prints.txt");
        return std::fs::write(path, now).expect("the source can be written");
    }
    assert!(
        !raised,
        "PRINTS was raised: write what is printed now with LANDFALL_WRITE_FIXTURES=1, and read the difference"
    );
    if let Some((kept, now)) = difference(FIXTURE, &now) {
        panic!(
            "a message prints otherwise than generation {PRINTS} does, so that recordings of before would differ for \
             nothing. Raise PRINTS in actors/src/flight.rs by one, then write actors/src/flight/prints.txt anew with \
             LANDFALL_WRITE_FIXTURES=1.\nwas: {kept}\nnow: {now}"
        );
    }
}

/// What prints do not have to tell, since the log does.
#[test]
fn a_print_tells_versions_apart() {
    let of = |version| {
        let older: RemoteRecord = remote(1, "mine");
        let sync = SyncMetadata {
            version: landfall_core::RecordVersion(version),
            ..older.sync
        };
        settle(Settlement::Acknowledged(RemoteRecord { sync, ..older })).print()
    };
    assert_ne!(of(2), of(3));
    assert_eq!(of(2), of(2));
}
