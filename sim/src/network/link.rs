//! What a link suffers from.
//!
//! Owns [`Link`]: its delay, and the [`Trouble`]s that are on it now. Several may be on it at the same time; each is
//! taken off by whoever put it there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use landfall_wire::HttpResponse;
use serde_json::Value as Json;

use super::OPEN_REQUESTS_MAX;
use crate::random::Stream;

/// How a link behaves by itself. Durations in milliseconds, probabilities per mille.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkFaults {
    /// Shortest way, one direction.
    pub delay_ms_min: u64,
    /// Longest way, one direction.
    pub delay_ms_max: u64,
    /// Requests that are lost before the backend sees them.
    pub lost_request_per_mille: u32,
    /// Replies that are lost after the backend acted.
    pub lost_reply_per_mille: u32,
    /// How long a client waits for a reply that will not come.
    pub timeout_ms: u64,
}

impl LinkFaults {
    /// A link without faults.
    pub const CALM: Self = Self {
        delay_ms_min: 5,
        delay_ms_max: 40,
        lost_request_per_mille: 0,
        lost_reply_per_mille: 0,
        timeout_ms: 30_000,
    };

    /// A link on a bad day.
    pub const ROUGH: Self = Self {
        delay_ms_min: 5,
        delay_ms_max: 900,
        lost_request_per_mille: 40,
        lost_reply_per_mille: 60,
        timeout_ms: 30_000,
    };
}

/// Something that is wrong with a link for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing passes.
    Cut,
    /// Requests are lost with this probability, per mille.
    RequestsLost(u32),
    /// Replies are lost with this probability, per mille.
    RepliesLost(u32),
    /// One way takes up to so many milliseconds more.
    Slow(u64),
    /// Subscription messages arrive twice with this probability, per mille.
    FramesDoubled(u32),
    /// Subscription messages overtake each other with this probability, per mille.
    FramesReordered(u32),
    /// Subscription messages do not arrive.
    FramesLost,
    /// New sockets are refused.
    ConnectRefused,
    /// Replies arrive cut off with this probability, per mille.
    Garbled(u32),
    /// Requests are answered with a login page.
    CaptivePortal,
    /// Requests are refused before the server acts.
    Refused {
        /// The status.
        status: u16,
        /// How probable, per mille.
        per_mille: u32,
        /// The time to wait that the server names, in milliseconds.
        retry_after_ms: Option<u64>,
    },
    /// Mutations are refused with 503 before the server acts, with this probability, per mille; it answers everything else.
    WritesRefused(u32),
    /// Everything but mutations is refused with 503, with this probability, per mille.
    ReadsRefused(u32),
    /// Requests are answered with 500 after the server acted, with this probability, per mille.
    FailsAfter(u32),
    /// So many bytes pass in a second, one reply after the other.
    Narrow(u64),
    /// Requests reach the server twice. The oracles take the second for somebody else's write, so this is for scripted
    /// tests and no plan has it.
    RequestsDoubled {
        /// How probable, per mille.
        per_mille: u32,
        /// How long after the first, in milliseconds. If it is 0, the answer to the second is the one that arrives, as
        /// when something on the way asks again.
        later_ms: u64,
    },
    /// Requests and new sockets are neither refused nor answered; whoever waits gives up in the end.
    Hangs,
}

impl Trouble {
    /// Its name, by which its effects are counted.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::RequestsLost(_) => "requests lost",
            Self::RepliesLost(_) => "replies lost",
            Self::Slow(_) => "slow",
            Self::FramesDoubled(_) => "frames doubled",
            Self::FramesReordered(_) => "frames reordered",
            Self::FramesLost => "frames lost",
            Self::ConnectRefused => "connect refused",
            Self::Garbled(_) => "garbled",
            Self::CaptivePortal => "captive portal",
            Self::Refused { .. } => "refused",
            Self::WritesRefused(_) => "writes refused",
            Self::ReadsRefused(_) => "reads refused",
            Self::FailsAfter(_) => "fails after",
            Self::Narrow(_) => "narrow",
            Self::RequestsDoubled { .. } => "requests doubled",
            Self::Hangs => "hangs",
        }
    }
}

/// Changes replies on their way, as a server would give them that is odd: it is handed the operation and the reply.
pub type Rewrite = Arc<dyn Fn(&str, &mut Json) + Send + Sync>;

/// The way between one client and the backend.
#[derive(Debug)]
pub struct Link {
    name: String,
    base: Mutex<LinkFaults>,
    troubles: Mutex<Vec<Trouble>>,
    /// Raised whenever open sockets break.
    broken: AtomicU64,
    /// Number of sockets opened so far.
    opened: AtomicU64,
    /// Sockets up to this number are dead without having broken.
    dead: AtomicU64,
    /// Sockets that are open.
    sockets: AtomicU64,
    /// Requests on their way, and the most there ever were.
    requests: Mutex<(u64, u64)>,
    requests_total: AtomicU64,
    /// How often each trouble met something.
    effects: Mutex<BTreeMap<&'static str, u64>>,
    loses_one: AtomicBool,
    /// Until when a narrow link is busy with what it was given before, in virtual milliseconds.
    busy_until_ms: AtomicU64,
    rewrite: Mutex<Option<Rewriting>>,
    changed: Notify,
    chance: Stream,
}

struct Rewriting(Rewrite);

impl std::fmt::Debug for Rewriting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rewriting")
    }
}

impl Link {
    pub(super) fn new(name: &str, chance: Stream) -> Self {
        Self {
            name: name.to_owned(),
            base: Mutex::new(LinkFaults::CALM),
            troubles: Mutex::default(),
            broken: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            dead: AtomicU64::new(0),
            sockets: AtomicU64::new(0),
            requests: Mutex::default(),
            requests_total: AtomicU64::new(0),
            effects: Mutex::default(),
            loses_one: AtomicBool::new(false),
            busy_until_ms: AtomicU64::new(0),
            rewrite: Mutex::default(),
            changed: Notify::new(),
            chance,
        }
    }

    /// The client's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Cuts the link until [`Link::repair`]: nothing passes, and open sockets break.
    pub fn partition(&self) {
        self.put(Trouble::Cut);
        self.break_sockets();
    }

    /// Takes everything off the link that is wrong with it; it is calm from here on.
    pub fn repair(&self) {
        self.troubles().clear();
        self.loses_one.store(false, Ordering::SeqCst);
        self.set_faults(LinkFaults::CALM);
        self.changed.notify_waiters();
    }

    /// Puts something wrong on the link.
    pub fn put(&self, trouble: Trouble) {
        self.troubles().push(trouble);
        self.changed.notify_waiters();
    }

    /// Takes it off again.
    pub fn take_off(&self, trouble: &Trouble) {
        let mut troubles = self.troubles();
        if let Some(at) = troubles.iter().position(|one| one == trouble) {
            troubles.remove(at);
        }
        drop(troubles);
        self.changed.notify_waiters();
    }

    /// Notes that something was met by what is wrong.
    pub(crate) fn met(&self, what: &'static str) {
        let mut effects = self.effects.lock().unwrap_or_else(PoisonError::into_inner);
        *effects.entry(what).or_default() += 1;
    }

    /// How often something was met by that so far.
    pub(crate) fn effects(&self, what: &str) -> u64 {
        let effects = self.effects.lock().unwrap_or_else(PoisonError::into_inner);
        effects.get(what).copied().unwrap_or(0)
    }

    /// Breaks open sockets; requests still pass.
    pub fn break_sockets(&self) {
        self.met_sockets("sockets broken");
        self.broken.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Kills open sockets so that nobody is told: what is sent is swallowed, nothing arrives.
    pub fn kill_sockets(&self) {
        self.met_sockets("sockets killed");
        self.dead
            .store(self.opened.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    fn met_sockets(&self, what: &'static str) {
        if self.sockets() > 0 {
            self.met(what);
        }
    }

    /// Loses the reply to the next mutation.
    pub fn lose_next_reply(&self) {
        self.loses_one.store(true, Ordering::SeqCst);
    }

    /// Has every reply changed from here on, or none.
    pub fn rewrite(&self, rewrite: Option<Rewrite>) {
        *self.rewrite.lock().unwrap_or_else(PoisonError::into_inner) = rewrite.map(Rewriting);
    }

    /// A reply as it arrives.
    pub(super) fn rewritten(&self, operation: &str, body: Vec<u8>) -> Vec<u8> {
        let rewrite = self.rewrite.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Rewriting(rewrite)) = &*rewrite else {
            return body;
        };
        let Ok(mut json) = serde_json::from_slice(&body) else {
            return body;
        };
        rewrite(operation, &mut json);
        json.to_string().into_bytes()
    }

    /// How long so many bytes wait and take on a narrow link, in milliseconds.
    pub(super) fn transfer_ms(&self, now_ms: u64, bytes: usize) -> u64 {
        let narrowest = |troubles: &[Trouble]| {
            let widths = troubles.iter().filter_map(|trouble| match trouble {
                Trouble::Narrow(bytes_per_second) => Some((*bytes_per_second).max(1)),
                _ => None,
            });
            widths.min()
        };
        let Some(bytes_per_second) = narrowest(&self.troubles()) else {
            return 0;
        };
        let begin_ms = self.busy_until_ms.load(Ordering::SeqCst).max(now_ms);
        let end_ms = begin_ms.saturating_add(bytes as u64 * 1_000 / bytes_per_second);
        if end_ms > now_ms {
            self.met("narrow");
        }
        self.busy_until_ms.store(end_ms, Ordering::SeqCst);
        end_ms - now_ms
    }

    /// Sets how the link behaves by itself.
    pub fn set_faults(&self, faults: LinkFaults) {
        *self.base.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// Requests so far.
    pub fn requests_total(&self) -> u64 {
        self.requests_total.load(Ordering::SeqCst)
    }

    /// Sockets that are open now.
    pub fn sockets(&self) -> u64 {
        self.sockets.load(Ordering::SeqCst)
    }

    /// Whether ever more requests were on their way than the engine's lanes allow.
    pub(crate) fn flooded(&self) -> bool {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.1 > OPEN_REQUESTS_MAX
    }

    pub(super) fn begin_request(&self) {
        self.requests_total.fetch_add(1, Ordering::SeqCst);
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.0 += 1;
        requests.1 = requests.1.max(requests.0);
    }

    pub(super) fn end_request(&self) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.0 = requests.0.saturating_sub(1);
    }

    /// Number of a socket that opens now.
    pub(super) fn open_socket(&self) -> u64 {
        self.sockets.fetch_add(1, Ordering::SeqCst);
        self.opened.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(super) fn close_socket(&self) {
        self.sockets.fetch_sub(1, Ordering::SeqCst);
    }

    pub(super) fn is_dead(&self, socket: u64) -> bool {
        socket <= self.dead.load(Ordering::SeqCst)
    }

    pub(super) fn generation(&self) -> u64 {
        self.broken.load(Ordering::SeqCst)
    }

    /// Waits until sockets of that generation are broken.
    pub(super) async fn broken_since(&self, generation: u64) {
        loop {
            let changed = self.changed.notified();
            if self.generation() != generation {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn base(&self) -> LinkFaults {
        *self.base.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_cut(&self) -> bool {
        self.has(&Trouble::Cut)
    }

    pub(super) fn hangs(&self) -> bool {
        self.has(&Trouble::Hangs)
    }

    /// Whether that is wrong now; whoever asks is met by it.
    fn has(&self, trouble: &Trouble) -> bool {
        let is_there = self.troubles().contains(trouble);
        if is_there {
            self.met(trouble.name());
        }
        is_there
    }

    /// Whether this request reaches the server twice, and how long after the first time, in milliseconds.
    pub(super) fn doubles_request(&self) -> Option<u64> {
        let doubling = self.troubles().iter().find_map(|trouble| match trouble {
            Trouble::RequestsDoubled { per_mille, later_ms } => Some((*per_mille, *later_ms)),
            _ => None,
        });
        doubling
            .filter(|(per_mille, _)| self.happens(*per_mille))
            .map(|(_, later_ms)| later_ms)
    }

    pub(super) fn refuses_sockets(&self) -> bool {
        // Each of them is met, so none is passed over.
        let refusing = [Trouble::Cut, Trouble::ConnectRefused, Trouble::CaptivePortal];
        refusing.iter().filter(|trouble| self.has(trouble)).count() > 0
    }

    pub(super) fn loses_frames(&self) -> bool {
        self.has(&Trouble::FramesLost)
    }

    pub(super) fn doubles_frame(&self) -> bool {
        self.any(|trouble| match trouble {
            Trouble::FramesDoubled(per_mille) => Some(*per_mille),
            _ => None,
        })
    }

    pub(super) fn reorders_frame(&self) -> bool {
        self.any(|trouble| match trouble {
            Trouble::FramesReordered(per_mille) => Some(*per_mille),
            _ => None,
        })
    }

    pub(super) fn request_lost(&self) -> bool {
        self.happens(self.base().lost_request_per_mille)
            || self.any(|trouble| match trouble {
                Trouble::RequestsLost(per_mille) => Some(*per_mille),
                _ => None,
            })
    }

    pub(super) fn reply_lost(&self) -> bool {
        self.happens(self.base().lost_reply_per_mille)
            || self.any(|trouble| match trouble {
                Trouble::RepliesLost(per_mille) => Some(*per_mille),
                _ => None,
            })
    }

    pub(super) fn loses_this_reply(&self) -> bool {
        let loses = self.loses_one.swap(false, Ordering::SeqCst);
        if loses {
            self.met("reply lost once");
        }
        loses
    }

    pub(super) fn fails_after(&self) -> bool {
        self.any(|trouble| match trouble {
            Trouble::FailsAfter(per_mille) => Some(*per_mille),
            _ => None,
        })
    }

    pub(super) fn garbles(&self) -> bool {
        self.any(|trouble| match trouble {
            Trouble::Garbled(per_mille) => Some(*per_mille),
            _ => None,
        })
    }

    /// What a request is answered with instead of reaching the server.
    pub(super) fn refusal(&self, operation: &str) -> Option<HttpResponse> {
        let writes = is_write(operation);
        for trouble in self.troubles().clone() {
            match trouble {
                Trouble::CaptivePortal => {
                    self.met("captive portal");
                    return Some(HttpResponse::new(200, "<html>Please accept our terms</html>"));
                }
                Trouble::Refused {
                    status,
                    per_mille,
                    retry_after_ms,
                } if self.happens(per_mille) => {
                    self.met("refused");
                    return Some(HttpResponse {
                        retry_after_ms,
                        ..HttpResponse::new(status, "{}")
                    });
                }
                Trouble::WritesRefused(per_mille) if writes && self.happens(per_mille) => {
                    self.met("writes refused");
                    return Some(HttpResponse::new(503, "{}"));
                }
                Trouble::ReadsRefused(per_mille) if !writes && self.happens(per_mille) => {
                    self.met("reads refused");
                    return Some(HttpResponse::new(503, "{}"));
                }
                _ => {}
            }
        }
        None
    }

    /// How long one way takes this time.
    pub(super) fn delay_ms(&self) -> u64 {
        let base = self.base();
        let slow = self.troubles().iter().fold(0, |slow, trouble| match trouble {
            Trouble::Slow(ms) => slow.max(*ms),
            _ => slow,
        });
        if slow > 0 {
            self.met("slow");
        }
        let spread = (base.delay_ms_max + slow).saturating_sub(base.delay_ms_min);
        base.delay_ms_min + self.chance.below(spread + 1)
    }

    fn any(&self, per_mille: impl Fn(&Trouble) -> Option<u32>) -> bool {
        let probable = |trouble: &Trouble| Some((per_mille(trouble)?, trouble.name()));
        let most = self.troubles().iter().filter_map(probable).max();
        let happens = most.filter(|(most, _)| self.happens(*most));
        if let Some((_, name)) = happens {
            self.met(name);
        }
        happens.is_some()
    }

    fn happens(&self, per_mille: u32) -> bool {
        per_mille > 0 && self.chance.happens(per_mille)
    }

    fn troubles(&self) -> MutexGuard<'_, Vec<Trouble>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an operation of that name changes records.
fn is_write(operation: &str) -> bool {
    ["Create", "Update", "Delete"]
        .iter()
        .any(|verb| operation.starts_with(verb))
}
