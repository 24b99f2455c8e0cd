//! Bringing faults about.
//!
//! Owns [`Faults`]. Each fault waits for its time in a task of its own; one that lasts is taken back when its time is over.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use landfall_backend::FieldError;

use crate::client::SimClient;
use crate::clock::pass;
use crate::disk::{Fault as DiskFault, FaultKind};
use crate::network::{Link, Trouble};
use crate::plan::{Fault, FaultStep, Plan};
use crate::world::World;

/// What a client can be doing when a fault meets it.
pub const PHASES: [&str; 5] = ["off", "stopped", "idle", "waiting", "sending"];

/// How often something happened, by identifier and by what the client was doing.
type ByPhase = BTreeMap<&'static str, BTreeMap<&'static str, u64>>;

/// Faults so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    counts: Rc<RefCell<BTreeMap<&'static str, u64>>>,
    phases: Rc<RefCell<ByPhase>>,
    over: Rc<Cell<bool>>,
}

impl Faults {
    /// No fault begins from here on.
    pub(crate) fn end(&self) {
        self.over.set(true);
    }

    pub(crate) fn phases(&self) -> ByPhase {
        self.phases.borrow().clone()
    }

    fn met(&self, id: &'static str, phase: &'static str) {
        *self
            .phases
            .borrow_mut()
            .entry(id)
            .or_default()
            .entry(phase)
            .or_default() += 1;
    }

    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.borrow().clone()
    }
}

/// Has every fault of a plan happen at its time.
pub(super) fn all(world: &World, plan: &Plan, faults: &Faults) {
    for step in &plan.faults {
        actix::spawn(at(world.clone(), step.clone(), faults.clone()));
    }
}

/// Brings a fault about at its time.
async fn at(world: World, step: FaultStep, faults: Faults) {
    pass(step.at_ms.saturating_sub(world.now_ms())).await;
    if faults.over.get() {
        return;
    }
    let id = step.fault.id();
    *faults.counts.borrow_mut().entry(id).or_default() += 1;
    let who = step
        .fault
        .client()
        .map_or("all", |client| world.clients[client].name());
    world.note("fault", &format!("{id} {} {who}", step.fault.name()));
    for (index, client) in world.clients.iter().enumerate() {
        if step.fault.client().is_none_or(|met| met == index) {
            faults.met(id, phase(client));
        }
    }
    match step.fault.client() {
        Some(client) => of_client(&world, client, step.fault).await,
        None => of_all(&world, step.fault).await,
    }
}

/// What a client is doing.
fn phase(client: &SimClient) -> &'static str {
    let Some(store) = client.running() else {
        return "off";
    };
    if !client.syncs() {
        return "stopped";
    }
    // A disk that cannot be read now says nothing; then nothing is known to wait.
    let pending = store.outbox().list(usize::MAX).unwrap_or_default();
    let sends = pending
        .iter()
        .any(|mutation| mutation.stage == landfall::Stage::InFlight);
    match (pending.is_empty(), sends) {
        (true, _) => "idle",
        (false, true) => "sending",
        (false, false) => "waiting",
    }
}

async fn of_all(world: &World, fault: Fault) {
    let backend = world.network.backend();
    match fault {
        Fault::Swizzle { clients, step_ms, ms } => {
            for client in clients {
                let link = world.clients.get(client).map(SimClient::link);
                if let Some(link) = link {
                    actix::spawn(cut(link, ms));
                    pass(step_ms).await;
                }
            }
        }
        Fault::Storm {} => {
            for client in &world.clients {
                client.link().break_sockets();
            }
        }
        Fault::ServerRestart {} => {
            for client in &world.clients {
                client.link().kill_sockets();
            }
        }
        Fault::JournalFails { times } => backend.faults().fail_fields(times, FieldError::DeltaSyncWrite),
        Fault::MaxConflicts { times } => backend.faults().fail_fields(times, FieldError::MaxConflicts),
        Fault::MessagesDropped { times } => {
            world.lost_in_silence.set(true);
            backend.faults().drop_messages(times);
        }
        Fault::FanOutPaused { ms } => {
            backend.faults().pause_fan_out();
            pass(ms).await;
            backend.resume_fan_out();
        }
        _ => unreachable!("a fault of one client is brought about there"),
    }
}

async fn of_client(world: &World, index: usize, fault: Fault) {
    let client = world.clients[index].clone();
    let link = client.link();
    match fault {
        Fault::Partition { ms, .. } => cut(link, ms).await,
        Fault::RepliesLost { ms, .. } => put(&link, Trouble::RepliesLost(1_000), ms).await,
        Fault::RequestsLost { ms, .. } => put(&link, Trouble::RequestsLost(1_000), ms).await,
        Fault::Loss { ms, per_mille, .. } => {
            let replies = put(&link, Trouble::RepliesLost(per_mille), ms);
            futures_util::future::join(replies, put(&link, Trouble::RequestsLost(per_mille), ms)).await;
        }
        Fault::Bursts { times, ms, .. } => {
            for _ in 0..times {
                put(&link, Trouble::RequestsLost(1_000), ms).await;
                pass(ms).await;
            }
        }
        Fault::FramesDoubled { ms, per_mille, .. } => put(&link, Trouble::FramesDoubled(per_mille), ms).await,
        Fault::FramesReordered { ms, per_mille, .. } => {
            put(&link, Trouble::FramesReordered(per_mille), ms).await;
        }
        Fault::Slow { ms, delay_ms, .. } => put(&link, Trouble::Slow(delay_ms), ms).await,
        Fault::Narrow {
            ms, bytes_per_second, ..
        } => put(&link, Trouble::Narrow(bytes_per_second), ms).await,
        Fault::HalfOpen { .. } => link.kill_sockets(),
        Fault::FramesLost { ms, .. } => {
            put(&link, Trouble::FramesLost, ms).await;
            // Whoever lost messages in silence hears of it at last, as when a proxy gives up.
            link.break_sockets();
        }
        Fault::SocketsBroken { .. } => link.break_sockets(),
        Fault::ReplyLostOnce { .. } => link.lose_next_reply(),
        Fault::Garbled { ms, per_mille, .. } => put(&link, Trouble::Garbled(per_mille), ms).await,
        Fault::ConnectRefused { ms, .. } => put(&link, Trouble::ConnectRefused, ms).await,
        Fault::Hangs { ms, .. } => put(&link, Trouble::Hangs, ms).await,
        Fault::CaptivePortal { ms, .. } => put(&link, Trouble::CaptivePortal, ms).await,
        Fault::OfflineSignal { ms, .. } => offline(&client, ms).await,
        Fault::FailsBefore {
            ms,
            status,
            per_mille,
            ..
        } => refused(&link, status, per_mille, None, ms).await,
        Fault::FailsAfter { ms, per_mille, .. } => put(&link, Trouble::FailsAfter(per_mille), ms).await,
        Fault::Throttled {
            ms, retry_after_ms, ..
        } => {
            let wait = (retry_after_ms > 0).then_some(retry_after_ms);
            refused(&link, 429, 1_000, wait, ms).await;
        }
        Fault::Unauthorized { ms, .. } => refused(&link, 401, 1_000, None, ms).await,
        other => of_process(world, index, &client, other).await,
    }
}

async fn of_process(world: &World, index: usize, client: &SimClient, fault: Fault) {
    let disk = client.disk();
    let fail = |kind, times| {
        let at = if kind == FaultKind::Read {
            disk.reads()
        } else {
            disk.ops()
        };
        disk.fail(DiskFault {
            at: at..at + times,
            kind,
        });
    };
    let findings = world.findings();
    match fault {
        Fault::Crash { off_ms, .. } => {
            note_cut(world, client);
            client.crash(off_ms).await;
        }
        Fault::CrashAtOperation {
            operations,
            off_ms,
            again,
            ..
        } => {
            note_cut(world, client);
            world.after_cuts[index].set((off_ms, again));
            disk.cut_power_after(operations);
        }
        Fault::WriteFails { times, halved, .. } => {
            findings.seen("commit failed");
            fail(
                if halved {
                    FaultKind::Halved
                } else {
                    FaultKind::Refused
                },
                times,
            );
        }
        Fault::SyncFails { times, forgotten, .. } => {
            findings.seen("commit failed");
            let kind = if forgotten {
                FaultKind::SyncForgotten
            } else {
                FaultKind::SyncLost
            };
            disk.fail_syncs(kind, times);
        }
        Fault::ReadFails { times, .. } => fail(FaultKind::Read, times),
        Fault::DiskFull { ms, .. } => {
            disk.fill();
            pass(ms).await;
            disk.empty_out();
        }
        Fault::SlowDisk { ms, hold_ms, .. } => {
            client.slow_disk(hold_ms);
            pass(ms).await;
            client.slow_disk(0);
        }
        Fault::WallClockJumps { by_ms, .. } => client.clock().jump(by_ms),
        Fault::Restart { off_ms, .. } => client.restart(off_ms).await,
        Fault::StopStart { ms, .. } => client.stop_start(ms).await,
        Fault::Clear { .. } => client.clear().await,
        _ => unreachable!("a fault of the network or the server is brought about there"),
    }
}

fn note_cut(world: &World, client: &SimClient) {
    world.findings().seen("power cut");
    let pending = client
        .running()
        .and_then(|store| store.outbox().list(1_000).ok())
        .unwrap_or_default();
    if pending
        .iter()
        .any(|mutation| mutation.stage == landfall::Stage::InFlight)
    {
        world.findings().seen("power cut with changes under way");
    }
}

async fn put(link: &Arc<Link>, trouble: Trouble, ms: u64) {
    link.put(trouble.clone());
    pass(ms).await;
    link.take_off(&trouble);
}

async fn cut(link: Arc<Link>, ms: u64) {
    link.partition();
    pass(ms).await;
    link.take_off(&Trouble::Cut);
}

async fn refused(link: &Arc<Link>, status: u16, per_mille: u32, retry_after_ms: Option<u64>, ms: u64) {
    let trouble = Trouble::Refused {
        status,
        per_mille,
        retry_after_ms,
    };
    put(link, trouble, ms).await;
}

async fn offline(client: &SimClient, ms: u64) {
    let Some(store) = client.running() else { return };
    store.set_online(false).unwrap_or(());
    pass(ms).await;
    store.set_online(true).unwrap_or(());
}
