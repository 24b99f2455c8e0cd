//! Every order of everything, in a world so small that all of it can be tried.
//!
//! Owns [`exhaust`]: two clients, one record, a few changes each, and every way in which the messages between them and the
//! server can be delivered, lost, doubled or delayed while clients crash. The clients are the engine's rules
//! (`RecordState`, the decisions, [`settle`]); what is around them is a model of some lines, since here it is orders
//! that count and not sockets. The server is AppSync's: a stale update is merged, where what is there stays, or refused.
//!
//! Where it does not matter which of two things comes first, one order is enough: a message that a client would pass over
//! now would be passed over ever after, since versions only rise, and is gone at once.
//!
//! Invariants: 1. each state is visited once, whatever led to it; 2. the same scope has the same number of states.

mod checks;

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;

use landfall_core::{
    Acknowledged, Change, Conflict, Decision, FieldMap, ModelDef, Mutation, MutationKind, MutationRef,
    RecordId, RecordKey, RecordState, RecordVersion, Remote, RemoteRecord, Resolution, SaveRequest, Schema,
    Sent, Seq, Settled, Stage, SyncMetadata, Value, decide_conflict, decide_delete, decide_save, given_up,
    settle,
};

use crate::run::plan_schema;

/// Clients.
const CLIENTS: usize = 2;

/// What may happen, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Changes of each client.
    pub changes: u8,
    /// Requests and replies that are lost, of all clients together.
    pub losses: u8,
    /// Messages of subscriptions that come twice, of all clients together; lost and late ones are not counted.
    pub doubles: u8,
    /// Crashes, of all clients together.
    pub crashes: u8,
    /// Whether the server merges stale updates, or refuses them.
    pub automerge: bool,
}

/// What was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Explored {
    /// Different states.
    pub states: u64,
    /// Steps from one state to the next.
    pub steps: u64,
    /// States in which nothing is left to be done, and all agree.
    pub ends: u64,
}

/// A way to a state that must not be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}, after: {}", steps.join(", "))]
pub struct Counterexample {
    /// What must not be.
    pub what: String,
    /// What led to it.
    pub steps: Vec<String>,
}

/// A request on its way.
#[derive(Clone, Debug)]
struct Request {
    client: usize,
    mutation: u64,
    kind: MutationKind,
    title: Option<String>,
    base: Option<u64>,
}

/// The answer to a request.
#[derive(Clone, Debug)]
struct Reply {
    client: usize,
    mutation: u64,
    applied: bool,
    record: RemoteRecord,
}

/// A version, as the server made it.
#[derive(Clone, Debug, Default)]
struct Made {
    title: Option<String>,
    deleted: bool,
}

#[derive(Clone, Debug, Default)]
struct Client {
    state: RecordState,
    changes: u8,
}

#[derive(Clone, Debug)]
struct World {
    scope: Scope,
    clients: [Client; CLIENTS],
    /// Versions of the record, the first one first.
    made: Vec<Made>,
    /// Titles that were applied, in order.
    applied: Vec<String>,
    /// Titles that are sent again because a conflict was decided for them.
    decided: BTreeSet<String>,
    requests: Vec<Request>,
    replies: Vec<Reply>,
    /// Messages to each client: the versions that they tell of.
    messages: [Vec<usize>; CLIENTS],
    trail: Option<Rc<Trail>>,
}

/// What led to a state, the newest step first; states share what they have in common.
#[derive(Debug)]
struct Trail {
    step: String,
    before: Option<Rc<Trail>>,
}

struct Rules {
    schema: Arc<Schema>,
    def: Arc<ModelDef>,
    key: RecordKey,
}

/// Tries everything.
///
/// `progress` hears now and then how many states there are.
///
/// # Errors
/// [`Counterexample`] at the first state that must not be.
///
/// # Panics
/// If the rules of the engine refuse a change that fits the model.
pub fn exhaust(scope: Scope, progress: &mut dyn FnMut(u64)) -> Result<Explored, Counterexample> {
    let schema = Arc::clone(plan_schema());
    let def = Arc::clone(schema.model("Board").expect("the schema of plans has boards"));
    let key = RecordKey::new("Board", RecordId::text("b"));
    let rules = Rules { schema, def, key };
    let mut explored = Explored::default();
    let mut seen = BTreeSet::new();
    let mut open = vec![World::new(scope)];
    seen.insert(open[0].digest());
    while let Some(world) = open.pop() {
        explored.states += 1;
        if explored.states.is_multiple_of(1_000) {
            progress(explored.states);
        }
        let next = world
            .successors(&rules)
            .map_err(|what| world.counterexample(what))?;
        if next.is_empty() {
            explored.ends += 1;
        }
        for world in next {
            explored.steps += 1;
            let world = world
                .in_order(&rules)
                .map_err(|what| world.counterexample(what))?;
            world.check(&rules).map_err(|what| world.counterexample(what))?;
            if seen.insert(world.digest()) {
                open.push(world);
            }
        }
    }
    Ok(explored)
}

impl World {
    fn new(scope: Scope) -> Self {
        Self {
            scope,
            clients: Default::default(),
            made: Vec::new(),
            applied: Vec::new(),
            decided: BTreeSet::new(),
            requests: Vec::new(),
            replies: Vec::new(),
            messages: Default::default(),
            trail: None,
        }
    }

    fn counterexample(&self, what: String) -> Counterexample {
        let mut steps = Vec::new();
        let mut trail = self.trail.as_ref();
        while let Some(newest) = trail {
            steps.push(newest.step.clone());
            trail = newest.before.as_ref();
        }
        steps.reverse();
        Counterexample { what, steps }
    }

    /// What tells this state from others; how it was come by does not.
    fn digest(&self) -> u128 {
        let text = format!(
            "{:?}{:?}{:?}{:?}{:?}{:?}{:?}{:?}",
            self.scope,
            self.clients,
            self.made,
            self.applied,
            self.decided,
            self.requests,
            self.replies,
            self.messages
        );
        let half = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (salt, &text).hash(&mut hasher);
            u128::from(hasher.finish())
        };
        half(0) << 64 | half(1)
    }

    /// The same state, however it is written down: what lies side by side is sorted, and messages that would be passed
    /// over are gone.
    fn in_order(&self, rules: &Rules) -> Result<Self, String> {
        let mut ordered = self.clone();
        ordered.requests.sort_by_key(|request| request.client);
        ordered.replies.sort_by_key(|reply| reply.client);
        for (client, messages) in ordered.messages.iter_mut().enumerate() {
            let news = std::mem::take(messages);
            for version in news {
                if self.is_news(rules, client, version)? {
                    messages.push(version);
                }
            }
            messages.sort_unstable();
        }
        Ok(ordered)
    }

    /// Whether a client would learn something from a version. What it would not take must change nothing if it comes.
    fn is_news(&self, rules: &Rules, client: usize, version: usize) -> Result<bool, String> {
        let state = &self.clients[client].state;
        let remote = self.version(rules, version);
        if state.accepts(remote.sync) {
            return Ok(true);
        }
        let mut after = self.clone();
        let key = rules.key.clone();
        after.apply(rules, client, 0, &Change::Remote(Remote { key, remote }))?;
        if after.clients[client].state == *state {
            Ok(false)
        } else {
            Err(format!(
                "{client} takes over version {version} though it has a newer one"
            ))
        }
    }

    fn step(&self, what: String) -> Self {
        let mut next = self.clone();
        next.trail = Some(Rc::new(Trail {
            step: what,
            before: next.trail.take(),
        }));
        next
    }

    /// Every state that one step leads to.
    fn successors(&self, rules: &Rules) -> Result<Vec<Self>, String> {
        let mut next = Vec::new();
        for client in 0..CLIENTS {
            self.changes(rules, client, &mut next)?;
            self.sending(rules, client, &mut next)?;
            self.messages(rules, client, &mut next)?;
            if self.scope.crashes > 0 {
                next.push(self.crash(rules, client)?);
            }
        }
        for index in 0..self.requests.len() {
            next.push(self.serve(rules, index)?);
            if self.scope.losses > 0 {
                let mut lost = self.step("a request is lost".to_owned());
                lost.scope.losses -= 1;
                let request = lost.requests.remove(index);
                lost.unknown(rules, request.client, request.mutation)?;
                next.push(lost);
            }
        }
        for index in 0..self.replies.len() {
            next.push(self.answer(rules, index)?);
            if self.scope.losses > 0 {
                let mut lost = self.step("a reply is lost".to_owned());
                lost.scope.losses -= 1;
                let reply = lost.replies.remove(index);
                lost.unknown(rules, reply.client, reply.mutation)?;
                next.push(lost);
            }
        }
        Ok(next)
    }

    fn apply(&mut self, rules: &Rules, client: usize, seq: u64, change: &Change) -> Result<(), String> {
        let state = &mut self.clients[client].state;
        state
            .apply(&rules.def, Seq(seq), change)
            .map_err(|error| error.to_string())
    }

    /// The app saves or deletes the record.
    fn changes(&self, rules: &Rules, client: usize, next: &mut Vec<Self>) -> Result<(), String> {
        let Client { state, changes } = &self.clients[client];
        if *changes == self.scope.changes {
            return Ok(());
        }
        let (seq, title) = (u64::from(*changes) + 1, format!("{client}#{}", changes + 1));
        // Only the first client makes the record, and nobody makes it again.
        let makes = state.row.is_none() && client == 0 && *changes == 0;
        if state.row.is_some() || makes {
            let base = state.row.clone();
            let mut values = base
                .clone()
                .unwrap_or_else(|| vec![Value::Null; rules.def.stored_len()]);
            values[slot(rules, "id")] = "b".into();
            values[slot(rules, "title")] = title.as_str().into();
            let request = SaveRequest {
                values,
                base,
                seen: state.sync,
                condition: None,
                queued: true,
                group: None,
            };
            let write =
                decide_save(&rules.schema, &rules.def, state, request).map_err(|error| error.to_string())?;
            if let Some(write) = write {
                let mut after = self.step(format!("{client} writes {title}"));
                after.clients[client].changes += 1;
                after.apply(rules, client, seq, &Change::Write(write))?;
                next.push(after);
            }
        }
        if state.row.is_some() {
            let key = rules.key.clone();
            let write = decide_delete(&rules.schema, &rules.def, state, key, None, true, None);
            if let Some(write) = write.map_err(|error| error.to_string())? {
                let mut after = self.step(format!("{client} deletes"));
                after.clients[client].changes += 1;
                after.apply(rules, client, seq, &Change::Write(write))?;
                next.push(after);
            }
        }
        Ok(())
    }

    /// The oldest change goes out, or the server is asked what became of it.
    fn sending(&self, rules: &Rules, client: usize, next: &mut Vec<Self>) -> Result<(), String> {
        let Some(head) = self.clients[client].state.pending.first() else {
            return Ok(());
        };
        match head.stage {
            Stage::Queued => {
                let mut after = self.step(format!("{client} sends {}", head.seq));
                let sent = Change::Sent(Sent {
                    key: rules.key.clone(),
                    mutation: head.seq,
                    // How often it was sent is no matter of state beyond the first time.
                    attempt: 1,
                });
                after.apply(rules, client, 0, &sent)?;
                after.requests.push(Request {
                    client,
                    mutation: head.seq.0,
                    kind: head.kind,
                    title: title_of(head),
                    base: head.base_version.map(|version| version.0),
                });
                next.push(after);
            }
            Stage::Unknown => {
                let mut after = self.step(format!("{client} asks what became of {}", head.seq));
                after.inquire(rules, client, head)?;
                next.push(after);
            }
            Stage::InFlight | Stage::Parked(_) => {}
        }
        Ok(())
    }

    fn inquire(&mut self, rules: &Rules, client: usize, head: &Mutation) -> Result<(), String> {
        let server = self.newest(rules);
        let of = self.mutation(rules, head.seq);
        match (settle(&rules.def, head, server.as_ref()), server) {
            (Settled::Applied, Some(remote)) => self.acknowledge(rules, client, head.seq, remote),
            (Settled::Conflict, Some(remote)) => self.conflict(rules, client, head, remote),
            (Settled::NotApplied | Settled::Conflict | Settled::Applied, _) => {
                self.apply(rules, client, 0, &Change::NotApplied(of))
            }
        }
    }

    fn mutation(&self, rules: &Rules, mutation: Seq) -> MutationRef {
        MutationRef {
            key: rules.key.clone(),
            mutation,
        }
    }

    fn unknown(&mut self, rules: &Rules, client: usize, mutation: u64) -> Result<(), String> {
        let of = self.mutation(rules, Seq(mutation));
        self.apply(rules, client, 0, &Change::OutcomeUnknown(of))
    }

    fn acknowledge(
        &mut self,
        rules: &Rules,
        client: usize,
        mutation: Seq,
        remote: RemoteRecord,
    ) -> Result<(), String> {
        let change = Change::Acknowledged(Acknowledged {
            key: rules.key.clone(),
            mutation,
            remote,
        });
        self.apply(rules, client, 0, &change)
    }

    fn conflict(
        &mut self,
        rules: &Rules,
        client: usize,
        mutation: &Mutation,
        remote: RemoteRecord,
    ) -> Result<(), String> {
        if mutation.kind == MutationKind::Delete && remote.sync.deleted {
            return self.acknowledge(rules, client, mutation.seq, remote);
        }
        // As the handler that stores come with: what was deleted stays so.
        let resolution = if remote.sync.deleted {
            Resolution::AcceptRemote
        } else {
            Resolution::KeepLocal
        };
        let decision = decide_conflict(mutation, &remote, resolution).map_err(|refusal| refusal.message)?;
        if decision != Decision::AcceptRemote {
            self.decided.extend(title_of(mutation));
        }
        let change = Change::Conflict(Conflict {
            key: rules.key.clone(),
            mutation: mutation.seq,
            given_up: given_up(mutation, &remote, &decision),
            remote,
            decision,
        });
        self.apply(rules, client, 0, &change)
    }

    /// The server answers a request.
    fn serve(&self, rules: &Rules, index: usize) -> Result<Self, String> {
        let mut after = self.step("a request arrives".to_owned());
        let Request {
            client,
            mutation,
            kind,
            title,
            base,
        } = after.requests.remove(index);
        let version = after.made.len() as u64;
        let newest = after.made.last().cloned();
        let deleted = newest.as_ref().is_some_and(|newest| newest.deleted);
        let base = base.unwrap_or(0);
        if base > version {
            return Err(format!("{client} names version {base}, and there are {version}"));
        }
        let fits = base == version;
        let merges = after.scope.automerge && kind == MutationKind::Update;
        let applied = !deleted && (fits || merges);
        if applied {
            let title_before = newest.and_then(|newest| newest.title);
            // What is merged into a record leaves the title that is there.
            let title = title.filter(|_| fits);
            after.applied.extend(title.clone());
            after.made.push(Made {
                title: title.or(title_before),
                deleted: kind == MutationKind::Delete,
            });
            let made = after.made.len();
            after.messages.iter_mut().for_each(|messages| messages.push(made));
        }
        let record = after.newest(rules).ok_or("the server answers with a record")?;
        after.replies.push(Reply {
            client,
            mutation,
            applied,
            record,
        });
        Ok(after)
    }

    /// A client hears the answer.
    fn answer(&self, rules: &Rules, index: usize) -> Result<Self, String> {
        let mut after = self.step("a reply arrives".to_owned());
        let reply = after.replies.remove(index);
        let pending = &after.clients[reply.client].state.pending;
        let head = pending.iter().find(|head| head.seq.0 == reply.mutation);
        let head = head.cloned().ok_or("an answered mutation waits")?;
        if reply.applied {
            after.acknowledge(rules, reply.client, head.seq, reply.record)?;
        } else {
            after.conflict(rules, reply.client, &head, reply.record)?;
        }
        Ok(after)
    }

    /// Messages of subscriptions arrive in any order, some of them twice, some not at all.
    fn messages(&self, rules: &Rules, client: usize, next: &mut Vec<Self>) -> Result<(), String> {
        for index in 0..self.messages[client].len() {
            let version = self.messages[client][index];
            let mut lost = self.step(format!("{client} never hears of version {version}"));
            lost.messages[client].remove(index);
            next.push(lost);
            let mut after = self.step(format!("{client} hears of version {version}"));
            after.messages[client].remove(index);
            after.learn(rules, client, version)?;
            if self.scope.doubles > 0 {
                let mut twice = after.step("again".to_owned());
                twice.scope.doubles -= 1;
                twice.learn(rules, client, version)?;
                next.push(twice);
            }
            next.push(after);
        }
        Ok(())
    }

    fn learn(&mut self, rules: &Rules, client: usize, version: usize) -> Result<(), String> {
        let (key, remote) = (rules.key.clone(), self.version(rules, version));
        self.apply(rules, client, 0, &Change::Remote(Remote { key, remote }))
    }

    /// A client loses what was on its way to it; what it had sent is of unknown outcome when it is back.
    fn crash(&self, rules: &Rules, client: usize) -> Result<Self, String> {
        let mut after = self.step(format!("{client} crashes"));
        after.scope.crashes -= 1;
        after.requests.retain(|request| request.client != client);
        after.replies.retain(|reply| reply.client != client);
        after.messages[client].clear();
        let pending = after.clients[client].state.pending.clone();
        for mutation in pending
            .iter()
            .filter(|mutation| mutation.stage == Stage::InFlight)
        {
            after.unknown(rules, client, mutation.seq.0)?;
        }
        Ok(after)
    }

    fn newest(&self, rules: &Rules) -> Option<RemoteRecord> {
        (!self.made.is_empty()).then(|| self.version(rules, self.made.len()))
    }

    fn version(&self, rules: &Rules, version: usize) -> RemoteRecord {
        let made = &self.made[version - 1];
        let mut fields: FieldMap = rules.key.id.to_fields(&rules.def);
        let title = made.title.as_deref().map_or(Value::Null, Value::from);
        fields.insert("title".into(), title);
        RemoteRecord {
            id: rules.key.id.clone(),
            fields,
            sync: SyncMetadata {
                version: RecordVersion(version as u64),
                last_changed_at_ms: i64::try_from(version).unwrap_or(0),
                deleted: made.deleted,
            },
        }
    }
}

/// The title that a change writes.
fn title_of(mutation: &Mutation) -> Option<String> {
    mutation
        .patch
        .get("title")
        .and_then(Value::as_str)
        .map(str::to_owned)
}

fn slot(rules: &Rules, field: &str) -> usize {
    let slot = rules.def.slot(field).expect("boards have identifiers and titles");
    slot.index()
}

#[cfg(test)]
mod tests;
