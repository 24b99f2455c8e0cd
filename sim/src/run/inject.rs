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
use crate::network::{Link, SERVICE_ERRORS, Trouble};
use crate::plan::{Fault, FaultStep, Plan};
use crate::world::World;

/// What a client can be doing when a fault meets it.
pub const PHASES: [&str; 5] = ["off", "stopped", "idle", "waiting", "sending"];

/// For how long the server's loss of messages is looked at, in virtual milliseconds.
const EFFECT_MS: u64 = 10_000;

/// How long an app is closed whose disk is to fail reads when it is opened again, in virtual milliseconds.
const READ_AGAIN_MS: u64 = 100;

/// How often something happened, by identifier and by what the client was doing.
type ByPhase = BTreeMap<&'static str, BTreeMap<&'static str, u64>>;

/// Faults so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    counts: Rc<RefCell<BTreeMap<&'static str, u64>>>,
    phases: Rc<RefCell<ByPhase>>,
    /// How often something was met by each.
    effects: Rc<RefCell<BTreeMap<&'static str, u64>>>,
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

    /// Notes that something was met by a fault, so many times.
    fn took(&self, id: &'static str, times: u64) {
        if times > 0 {
            *self.effects.borrow_mut().entry(id).or_default() += times;
        }
    }

    /// How often something was met by each fault: messages that were lost, operations that failed, stores that were closed.
    /// A fault that was brought about and is not here had no effect.
    pub(crate) fn effects(&self, world: &World) -> BTreeMap<&'static str, u64> {
        let mut effects = self.effects.borrow().clone();
        // Those that have an effect at some time after they were brought about.
        for client in &world.clients {
            let (link, disk) = (client.link(), client.disk());
            let later = [
                ("N14", link.effects("reply lost once")),
                ("S5", link.effects(SERVICE_ERRORS[0])),
                ("S6", link.effects(SERVICE_ERRORS[1])),
                ("C2", disk.effects("power")),
                ("C3", disk.effects("write")),
                ("C5", disk.effects("sync")),
                ("C7", disk.effects("full")),
                ("C8", disk.effects("read")),
                ("C11", client.slowed()),
                ("C16", client.clock().noticed()),
            ];
            for (id, times) in later.into_iter().filter(|(_, times)| *times > 0) {
                *effects.entry(id).or_default() += times;
            }
        }
        effects
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
        Some(client) => of_client(&world, client, step.fault, &faults).await,
        None => of_all(&world, step.fault, &faults).await,
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

async fn of_all(world: &World, fault: Fault, faults: &Faults) {
    let (backend, id) = (world.network.backend(), fault.id());
    let versions = || world.network.watch(|watch| watch.versions());
    match fault {
        Fault::Swizzle {
            clients,
            step_ms,
            ms,
            repairs,
        } => {
            let links: Vec<Arc<Link>> = clients
                .iter()
                .filter_map(|client| world.clients.get(*client).map(SimClient::link))
                .collect();
            let before = effects_of(&links, &Trouble::Cut);
            swizzle(&links, step_ms, ms, &repairs, faults).await;
            faults.took(id, effects_of(&links, &Trouble::Cut) - before);
        }
        Fault::Storm {} => {
            for client in &world.clients {
                faults.took(id, client.link().sockets());
                client.link().break_sockets();
            }
        }
        Fault::ServerRestart {} => {
            for client in &world.clients {
                faults.took(id, client.link().sockets());
                client.link().kill_sockets();
            }
        }
        Fault::JournalFails { times } => backend.faults().fail_fields(times, FieldError::DeltaSyncWrite),
        Fault::MaxConflicts { times } => backend.faults().fail_fields(times, FieldError::MaxConflicts),
        Fault::MessagesDropped { times } => {
            let before = versions();
            world.lost_in_silence.set(true);
            backend.faults().drop_messages(times);
            // Each version is told to somebody.
            pass(EFFECT_MS).await;
            faults.took(id, (versions() - before).min(u64::from(times)));
        }
        Fault::FanOutPaused { ms } => {
            let before = versions();
            backend.faults().pause_fan_out();
            pass(ms).await;
            backend.resume_fan_out();
            faults.took(id, versions() - before);
        }
        _ => unreachable!("a fault of one client is brought about there"),
    }
}

/// Cuts links one after the other, and repairs them one after the other in an order of its own. No link is cut once faults
/// are over: what was repaired for good must stay so.
async fn swizzle(links: &[Arc<Link>], step_ms: u64, ms: u64, repairs: &[usize], faults: &Faults) {
    for link in links {
        if !faults.over.get() {
            link.partition();
        }
        pass(step_ms).await;
    }
    pass(ms).await;
    let in_order: Vec<usize> = (0..links.len()).collect();
    // A plan that says nothing, or nothing that can be, means the order of the cuts.
    let mut order: Vec<usize> = repairs.to_vec();
    order.sort_unstable();
    let order = if order == in_order { repairs } else { &in_order };
    for position in order {
        links[*position].take_off(&Trouble::Cut);
        pass(step_ms).await;
    }
}

fn effects_of(links: &[Arc<Link>], trouble: &Trouble) -> u64 {
    links.iter().map(|link| link.effects(trouble.name())).sum()
}

/// What a fault puts on a link, and for how long, if that is all that it does.
fn trouble_of(fault: &Fault) -> Option<(Trouble, u64)> {
    let refused = |status, per_mille, retry_after_ms| Trouble::Refused {
        status,
        per_mille,
        retry_after_ms,
    };
    Some(match *fault {
        Fault::RepliesLost { ms, .. } => (Trouble::RepliesLost(1_000), ms),
        Fault::RequestsLost { ms, .. } => (Trouble::RequestsLost(1_000), ms),
        Fault::FramesDoubled { ms, per_mille, .. } => (Trouble::FramesDoubled(per_mille), ms),
        Fault::FramesReordered { ms, per_mille, .. } => (Trouble::FramesReordered(per_mille), ms),
        Fault::Slow { ms, delay_ms, .. } => (Trouble::Slow(delay_ms), ms),
        Fault::Narrow {
            ms, bytes_per_second, ..
        } => (Trouble::Narrow(bytes_per_second), ms),
        Fault::Garbled { ms, per_mille, .. } => (Trouble::Garbled(per_mille), ms),
        Fault::Hangs { ms, .. } => (Trouble::Hangs, ms),
        Fault::CaptivePortal { ms, .. } => (Trouble::CaptivePortal, ms),
        Fault::FailsBefore {
            ms,
            status,
            per_mille,
            ..
        } => (refused(status, per_mille, None), ms),
        Fault::WritesFail { ms, per_mille, .. } => (Trouble::WritesRefused(per_mille), ms),
        Fault::FailsAfter { ms, per_mille, .. } => (Trouble::FailsAfter(per_mille), ms),
        Fault::Throttled {
            ms, retry_after_ms, ..
        } => {
            let wait = (retry_after_ms > 0).then_some(retry_after_ms);
            (refused(429, 1_000, wait), ms)
        }
        Fault::Unauthorized { ms, .. } => (refused(401, 1_000, None), ms),
        _ => return None,
    })
}

async fn of_client(world: &World, index: usize, fault: Fault, faults: &Faults) {
    let client = world.clients[index].clone();
    let (link, id) = (client.link(), fault.id());
    let put = |trouble: Trouble, ms: u64| put(Arc::clone(&link), trouble, ms, faults.clone(), id);
    if let Some((trouble, ms)) = trouble_of(&fault) {
        return put(trouble, ms).await;
    }
    match fault {
        Fault::Partition { ms, .. } => {
            link.break_sockets();
            put(Trouble::Cut, ms).await;
        }
        Fault::Loss { ms, per_mille, .. } => {
            let replies = put(Trouble::RepliesLost(per_mille), ms);
            futures_util::future::join(replies, put(Trouble::RequestsLost(per_mille), ms)).await;
        }
        Fault::Bursts { times, ms, .. } => {
            for _ in 0..times {
                if faults.over.get() {
                    break;
                }
                let messages = put(Trouble::FramesLost, ms);
                futures_util::future::join(put(Trouble::RequestsLost(1_000), ms), messages).await;
                pass(ms).await;
            }
            // Whoever lost messages in silence hears of it at last, as when a proxy gives up.
            link.break_sockets();
        }
        Fault::HalfOpen { .. } => {
            faults.took(id, link.sockets());
            link.kill_sockets();
        }
        Fault::FramesLost { ms, .. } => {
            put(Trouble::FramesLost, ms).await;
            // As after bursts.
            link.break_sockets();
        }
        Fault::SocketsBroken { .. } => {
            faults.took(id, link.sockets());
            link.break_sockets();
        }
        Fault::ReplyLostOnce { .. } => link.lose_next_reply(),
        Fault::ConnectRefused { ms, .. } => {
            // As long as sockets are open nobody opens one.
            link.break_sockets();
            put(Trouble::ConnectRefused, ms).await;
        }
        Fault::ReadsFail { ms, per_mille, .. } => {
            // Whoever misses nothing reads nothing.
            link.break_sockets();
            put(Trouble::ReadsRefused(per_mille), ms).await;
        }
        Fault::OfflineSignal { ms, .. } => {
            faults.took(id, u64::from(client.running().is_some()));
            offline(&client, ms).await;
        }
        other => of_process(world, index, &client, other, faults).await,
    }
}

async fn of_process(world: &World, index: usize, client: &SimClient, fault: Fault, faults: &Faults) {
    let id = fault.id();
    let is_on = u64::from(client.can_be_switched());
    match fault {
        Fault::Crash { off_ms, .. } => {
            faults.took(id, is_on);
            client.crash(off_ms).await;
        }
        Fault::CrashAtOperation {
            operations,
            off_ms,
            again,
            ..
        } => {
            world.after_cuts[index].set((off_ms, again));
            client.disk().cut_power_after(operations);
        }
        Fault::WallClockJumps { by_ms, .. } => client.clock().jump(by_ms),
        Fault::Restart { off_ms, .. } => {
            faults.took(id, is_on);
            client.restart(off_ms).await;
        }
        Fault::StopStart { ms, .. } => {
            faults.took(id, is_on.min(u64::from(client.syncs())));
            client.stop_start(ms).await;
        }
        Fault::Clear { .. } => {
            faults.took(id, is_on.min(u64::from(client.syncs())));
            client.clear().await;
        }
        other => of_disk(client, other).await,
    }
}

async fn of_disk(client: &SimClient, fault: Fault) {
    let disk = client.disk();
    let fail = |kind, at: u64, times| {
        disk.fail(DiskFault {
            at: at..at + times,
            kind,
        });
    };
    match fault {
        Fault::WriteFails { times, halved, .. } => {
            let kind = if halved {
                FaultKind::Halved
            } else {
                FaultKind::Refused
            };
            fail(kind, disk.ops(), times);
        }
        Fault::SyncFails { times, forgotten, .. } => {
            let kind = if forgotten {
                FaultKind::SyncForgotten
            } else {
                FaultKind::SyncLost
            };
            disk.fail_syncs(kind, times);
        }
        Fault::ReadFails { times, .. } => {
            // What is open has everything in memory.
            let fail = || fail(FaultKind::Read, disk.reads(), times);
            client.restart_with(READ_AGAIN_MS, fail).await;
        }
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
        _ => unreachable!("a fault of the network or the server is brought about there"),
    }
}

/// Puts something wrong on a link for a while, and counts what it meets meanwhile.
async fn put(link: Arc<Link>, trouble: Trouble, ms: u64, faults: Faults, id: &'static str) {
    let before = link.effects(trouble.name());
    link.put(trouble.clone());
    pass(ms).await;
    link.take_off(&trouble);
    faults.took(id, link.effects(trouble.name()) - before);
}

async fn offline(client: &SimClient, ms: u64) {
    let Some(store) = client.running() else { return };
    store.set_online(false).unwrap_or(());
    pass(ms).await;
    store.set_online(true).unwrap_or(());
}
