//! The backend as a whole: calls and realtime messages in, replies and messages out.
//!
//! Owns [`Backend`]. Every entry point is given the time in milliseconds since 1970; nothing here reads a clock, opens a
//! socket or spawns a task. All methods may be called from several threads: queries run beside each other and beside the
//! one writer.
//!
//! Invariants: 1. subscribers hear of mutations in the order of their commits; 2. a mutation is answered after its commit.

mod admission;
mod asking;
mod inspect;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use apollo_compiler::executable::OperationType;
use landfall_core::Schema;
use landfall_storage::kv::KvStore;

use crate::auth::{Caller, Gate, ModelRules};
use crate::compile::CompiledSchema;
use crate::config::BackendConfig;
use crate::entropy::{Entropy, uuid_v4};
use crate::error::BackendError;
use crate::execute::{
    CallerGone, ConflictRound, Documents, Environment, ErrorEntry, Executed, Prepared, Stopwatch,
    run_mutation, run_query,
};
use crate::faults::{FaultCommand, Faults, FieldError, Throttle};
use crate::hash::HashKey;
use crate::http::{GraphqlRequest, HttpCall, HttpReply, Refusal, refuse, reply_of};
use crate::realtime::{ConnectionId, Doorbell, Hub, Incoming, Judge, Out, candidate};
use crate::store::{PurgeReport, Reading, Session, Store};

pub use inspect::{DeltaRow, Looked};

/// An AppSync-compatible backend.
pub struct Backend {
    compiled: Arc<CompiledSchema>,
    config: Arc<BackendConfig>,
    store: Store,
    documents: Documents,
    entropy: Mutex<Box<dyn Entropy>>,
    token_key: HashKey,
    gate: Gate,
    /// The rules of models that have none.
    implied: ModelRules,
    hub: Mutex<Hub>,
    faults: Mutex<Faults>,
    /// What passing over hidden rows is timed by.
    stopwatch: OnceLock<Stopwatch>,
    /// The calls of this second, where they are bounded.
    throttle: Option<Mutex<Throttle>>,
}

/// A call that was let in and understood, ready to run.
#[derive(Clone, Debug)]
pub struct Job {
    prepared: Prepared,
    caller: Arc<Caller>,
    request_id: String,
    lost: bool,
    /// Whether a handler may have to decide a conflict of it.
    may_ask: bool,
    delay_ms: u64,
    gone: CallerGone,
}

/// What became of a mutation.
#[derive(Debug)]
pub(crate) enum Ran {
    Replied(HttpReply),
    /// Nothing was written: a conflict handler must be asked first ([`Backend::run_asking`]), and this fault goes with the
    /// mutation.
    MustAsk(Option<FieldError>),
}

impl Job {
    /// Whether it writes; such jobs may be run together, in one commit.
    pub fn is_mutation(&self) -> bool {
        self.prepared.kind() == OperationType::Mutation
    }

    /// Whether it may have to wait for a conflict handler; such jobs are best not run together with others.
    pub fn may_ask_handler(&self) -> bool {
        self.may_ask
    }

    /// Who asks, as AppSync's resolvers and conflict handlers see it: null for API keys, the claims of a token, the role
    /// of whoever signed, the context that an authorizer added.
    pub fn identity(&self) -> serde_json::Value {
        self.caller.identity()
    }

    /// The name of its only root field, which the schema bounds; `several` if there are more.
    pub fn operation(&self) -> String {
        self.prepared.operation_label()
    }

    /// Where to note that nobody waits for its reply any more.
    pub fn caller_gone(&self) -> CallerGone {
        self.gone.clone()
    }

    /// What it takes in memory until it is done, in bytes.
    pub(crate) fn held_bytes(&self) -> usize {
        self.prepared.document_bytes() + self.prepared.variables_bytes()
    }

    /// The identifier that its reply carries.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }
}

impl Backend {
    /// A backend for the models of a schema over a store; `entropy` gives the identifiers of records made without one.
    ///
    /// # Errors
    /// [`BackendError::Schema`] if the models make no GraphQL schema, [`BackendError::Rules`] if `@auth` says what cannot
    /// be applied, [`BackendError::Store`] if the rows cannot be read.
    pub fn new(
        schema: Arc<Schema>,
        config: BackendConfig,
        kv: KvStore,
        mut entropy: impl Entropy + 'static,
    ) -> Result<Self, BackendError> {
        let compiled = Arc::new(CompiledSchema::compile(schema)?);
        let token_key = config.token_key.unwrap_or_else(|| {
            let mut key = HashKey::default();
            entropy.fill(&mut key);
            key
        });
        let config = Arc::new(config);
        let implied = ModelRules::implied(config.auth.default_mode);
        Ok(Self {
            store: Store::open(kv, Arc::clone(&compiled), Arc::clone(&config))?,
            documents: Documents::new(Arc::clone(&compiled), config.limits.clone()),
            compiled,
            entropy: Mutex::new(Box::new(entropy)),
            token_key,
            gate: Gate::new(Arc::clone(&config)),
            stopwatch: OnceLock::new(),
            throttle: config
                .limits
                .calls_per_second_max
                .map(|most| Mutex::new(Throttle::new(most))),
            config,
            implied,
            hub: Mutex::default(),
            faults: Mutex::default(),
        })
    }

    /// The GraphQL schema that is served.
    pub fn compiled(&self) -> &CompiledSchema {
        &self.compiled
    }

    /// The settings.
    pub fn config(&self) -> &BackendConfig {
        &self.config
    }

    /// Handles one call from beginning to end.
    pub fn handle_http(&self, now_ms: i64, call: &HttpCall) -> HttpReply {
        match self.prepare(now_ms, call) {
            Ok(job) if job.is_mutation() => {
                let mut replies = self.run_mutations(now_ms, std::slice::from_ref(&job));
                replies
                    .pop()
                    .unwrap_or_else(|| refuse(Refusal::Internal, &job.request_id))
            }
            Ok(job) => self.run_query(now_ms, &job),
            Err(reply) => *reply,
        }
    }

    /// Lets a call in and understands it, without running it.
    ///
    /// # Errors
    /// The reply, if the call is refused.
    pub fn prepare(&self, now_ms: i64, call: &HttpCall) -> Result<Job, Box<HttpReply>> {
        self.prepare_from(now_ms, call, None, &self.uuid())
    }

    /// Judges who sends a call, without understanding it.
    ///
    /// # Errors
    /// The reply, if the sender is refused.
    pub(crate) fn judge_call(
        &self,
        now_ms: i64,
        call: &HttpCall,
        request_id: &str,
    ) -> Result<Arc<Caller>, Box<HttpReply>> {
        let refused = |why| Box::new(refuse(Refusal::Unauthorized(why), request_id));
        self.admit_call(now_ms, call, request_id).map_err(refused)
    }

    /// The same as [`Backend::prepare`] of a call whose sender was judged already, if there is one; its reply will carry that
    /// identifier.
    pub(crate) fn prepare_from(
        &self,
        now_ms: i64,
        call: &HttpCall,
        caller: Option<Arc<Caller>>,
        request_id: &str,
    ) -> Result<Job, Box<HttpReply>> {
        let refused = |refusal| Box::new(refuse(refusal, request_id));
        let (lost, delay_ms) = {
            let mut faults = self.faults();
            if let Some(status) = faults.take_status() {
                return Err(refused(Refusal::Status(status)));
            }
            if faults.take_throttled(now_ms) {
                return Err(refused(Refusal::Status(429)));
            }
            if faults.take_lost_request() {
                return Err(Box::new(HttpReply {
                    lost: true,
                    ..refuse(Refusal::Internal, request_id)
                }));
            }
            (faults.take_lost_reply(), faults.take_delay_ms())
        };
        self.understand(now_ms, call, request_id, caller)
            .map(|(prepared, caller)| Job {
                may_ask: self.may_ask(&prepared),
                prepared,
                caller,
                request_id: request_id.to_owned(),
                lost,
                delay_ms,
                gone: CallerGone::default(),
            })
            .map_err(refused)
    }

    fn understand(
        &self,
        now_ms: i64,
        call: &HttpCall,
        request_id: &str,
        caller: Option<Arc<Caller>>,
    ) -> Result<(Prepared, Arc<Caller>), Refusal> {
        let admit = || self.admit_call(now_ms, call, request_id);
        let caller = caller.map_or_else(admit, Ok).map_err(Refusal::Unauthorized)?;
        // Counted only now: strangers must not use up what callers may.
        if self.is_throttled(now_ms) {
            return Err(Refusal::Status(429));
        }
        let request = GraphqlRequest::of_call(call, self.config.limits.body_bytes_max)?;
        let prepared = self.documents.prepare(
            &request.query,
            request.operation_name.as_deref(),
            request.variables,
        )?;
        tracing::debug!(?caller, kind = %prepared.kind(), "request");
        match prepared.kind() {
            OperationType::Subscription => {
                let message = "Subscription operations are only supported through the realtime channel.";
                Err(Refusal::Invalid(vec![ErrorEntry::of_request(message, None)]))
            }
            OperationType::Mutation if call.get => Err(Refusal::BadRequest(
                "Mutations must be sent with POST.".to_owned(),
            )),
            _ => Ok((prepared, caller)),
        }
    }

    fn is_throttled(&self, now_ms: i64) -> bool {
        self.throttle.as_ref().is_some_and(|throttle| {
            let mut throttle = throttle.lock().unwrap_or_else(PoisonError::into_inner);
            throttle.is_beyond(now_ms)
        })
    }

    /// Runs a job that does not write.
    ///
    /// # Panics
    /// If the job is a mutation.
    pub fn run_query(&self, now_ms: i64, job: &Job) -> HttpReply {
        assert!(!job.is_mutation(), "a mutation was run as a query");
        let run = || {
            let (snapshot, started_at_ms) = self.store.snapshot_at(now_ms)?;
            let reading = Reading {
                store: &self.store,
                rows: &snapshot,
                now_ms: started_at_ms,
            };
            run_query(self.environment(job), &job.prepared, reading, started_at_ms)
        };
        match run() {
            Ok(executed) => self.reply(job, Ok(executed)),
            Err(error) => self.reply(job, Err(&error)),
        }
    }

    /// Runs jobs that write, in their order and in one commit; tells subscribers; gives a reply for each.
    ///
    /// Jobs whose conflicts a handler may have to decide ([`Job::may_ask_handler`]) have commits of their own and take
    /// as long as their handlers. If the store fails, none of the jobs of a commit took effect, or all of them did:
    /// every reply says that the service failed.
    ///
    /// # Panics
    /// If a job is no mutation.
    pub fn run_mutations(&self, now_ms: i64, jobs: &[Job]) -> Vec<HttpReply> {
        let mut replies = Vec::with_capacity(jobs.len());
        while let Some(rest) = jobs.get(replies.len()..).filter(|rest| !rest.is_empty()) {
            let ran = self.run_commit(now_ms, rest);
            replies.extend(ran.into_iter().zip(rest).map(|(ran, job)| match ran {
                Ran::Replied(reply) => reply,
                Ran::MustAsk(field_error) => self.run_asking(now_ms, job, field_error),
            }));
        }
        replies
    }

    /// Runs the first of some jobs in one commit, at least one of them: those up to the next whose conflicts a handler may
    /// have to decide, and no more once their answers reach [`Limits::commit_answers_bytes_max`](crate::Limits).
    ///
    /// # Panics
    /// If a job is no mutation.
    pub(crate) fn run_commit(&self, now_ms: i64, jobs: &[Job]) -> Vec<Ran> {
        assert!(jobs.iter().all(Job::is_mutation), "a query was run as a mutation");
        match jobs {
            [job, ..] if job.may_ask => vec![self.look_for_questions(now_ms, job)],
            jobs => {
                let end = jobs.iter().position(|job| job.may_ask).unwrap_or(jobs.len());
                self.run_batch(now_ms, &jobs[..end])
            }
        }
    }

    fn run_batch(&self, now_ms: i64, jobs: &[Job]) -> Vec<Ran> {
        let bytes_max = self.config.limits.commit_answers_bytes_max;
        // Held until subscribers were told, so that they hear of commits in order.
        let mut writer = self.store.writer();
        let done = writer.transaction(now_ms, |session| {
            let (mut executed, mut bytes) = (Vec::with_capacity(jobs.len()), 0);
            for job in jobs {
                let one = self.run_mutation(session, job)?;
                bytes += one.answer_bytes;
                executed.push(one);
                if bytes >= bytes_max {
                    break;
                }
            }
            Ok::<_, BackendError>(executed)
        });
        match done {
            Ok(mut executed) => {
                self.publish(executed.iter_mut());
                drop(writer);
                // Each answer is dropped once it is written, so that they are not there twice.
                let replies = jobs.iter().zip(executed);
                replies
                    .map(|(job, one)| Ran::Replied(self.reply(job, Ok(one))))
                    .collect()
            }
            Err(error) => {
                drop(writer);
                let replies = jobs.iter().map(|job| self.reply(job, Err(&error)));
                replies.map(Ran::Replied).collect()
            }
        }
    }

    /// Tells subscribers of what was committed. What they are told is made only if somebody hears it.
    fn publish<'e>(&self, executed: impl Iterator<Item = &'e mut Executed>) {
        let (mut hub, mut faults) = (self.hub(), self.faults());
        let mut events = Vec::new();
        for one in executed {
            for told in std::mem::take(&mut one.told) {
                if hub.hears(&told.model, told.kind, &faults) {
                    events.extend(one.event(told));
                }
            }
        }
        hub.publish(events, self.judge(), &mut faults);
    }

    fn run_mutation(&self, session: &Session<'_, '_>, job: &Job) -> Result<Executed, BackendError> {
        let field_error = self.faults().take_field_error();
        self.run_one(session, job, &ConflictRound::default(), field_error)
    }

    fn run_one(
        &self,
        session: &Session<'_, '_>,
        job: &Job,
        conflicts: &ConflictRound,
        field_error: Option<FieldError>,
    ) -> Result<Executed, BackendError> {
        let run = || run_mutation(self.environment(job), &job.prepared, session, conflicts);
        let refusal = |error_type: &str| Executed::failed(ErrorEntry::of_injected(error_type));
        match field_error {
            Some(FieldError::MaxConflicts) => Ok(refusal("MaxConflicts")),
            Some(FieldError::DeltaSyncWrite) => {
                Ok(run()?.answered_with(ErrorEntry::of_injected("DeltaSyncWriteError")))
            }
            None => run(),
        }
    }

    fn reply(&self, job: &Job, executed: Result<Executed, &BackendError>) -> HttpReply {
        let reply = match executed {
            Ok(executed) => reply_of(executed, &job.request_id),
            Err(error) => {
                tracing::error!(%error, "the store failed");
                refuse(Refusal::Internal, &job.request_id)
            }
        };
        HttpReply {
            lost: job.lost,
            delay_ms: job.delay_ms,
            ..reply
        }
    }

    /// Opens a realtime connection from the headers and the query string of its handshake.
    ///
    /// A connection that is refused is opened all the same, told why, and closed. `doorbell` is called whenever
    /// [`Backend::take_outgoing`] has something for it.
    pub fn open_connection(
        &self,
        now_ms: i64,
        headers: &[(String, String)],
        query: Option<&str>,
        doorbell: Doorbell,
    ) -> ConnectionId {
        let admitted = self.admit_connection(now_ms, headers, query);
        self.hub().open(now_ms, admitted, &self.config, doorbell)
    }

    /// Handles a text message of a realtime client.
    pub fn frame_in(&self, now_ms: i64, id: ConnectionId, text: &str) {
        if let Some(incoming) = self.receive(now_ms, id, text) {
            self.handle_frame(now_ms, id, incoming);
        }
    }

    /// Counts a message of a realtime client and reads it; `None` if it is not to be handled.
    pub(crate) fn receive(&self, now_ms: i64, id: ConnectionId, text: &str) -> Option<Incoming> {
        let taken = self.takes_frame(now_ms, id, text.len());
        taken.then(|| self.read_frame(text))
    }

    /// Counts a message of a realtime client and says whether it is to be handled. It is counted before it is read: what
    /// comes too fast must cost nothing.
    pub(crate) fn takes_frame(&self, now_ms: i64, id: ConnectionId, bytes: usize) -> bool {
        let too_long = bytes > self.config.limits.frame_bytes_max;
        self.hub().takes_frame(now_ms, id, too_long, &self.config)
    }

    /// Reads a message of a realtime client.
    pub(crate) fn read_frame(&self, text: &str) -> Incoming {
        Incoming::read(text, self.config.limits.frame_bytes_max)
    }

    /// Handles a message of a realtime client that was received. May block if [`Backend::start_may_block`] says so.
    pub(crate) fn handle_frame(&self, now_ms: i64, id: ConnectionId, incoming: Incoming) {
        let candidate = match &incoming {
            Incoming::Start {
                id: subscription,
                data,
                authorization,
            } => {
                let room = self.hub().has_room(id, subscription, data, &self.config);
                // Judged and parsed without the lock of the hub: others need not wait for it.
                Some(room.and_then(|()| {
                    let caller = self.admit_start(now_ms, data, authorization);
                    candidate(data, caller, self.judge())
                }))
            }
            _ => None,
        };
        self.hub().frame(now_ms, id, incoming, candidate, &self.config);
    }

    /// Whether a realtime connection is to end, so that writing to it is not waited for.
    pub(crate) fn connection_ends(&self, id: ConnectionId) -> bool {
        self.hub().ends(id)
    }

    /// Takes what a realtime connection is to send, in order. After [`Out::Close`] nothing follows; call
    /// [`Backend::close_connection`] then.
    pub fn take_outgoing(&self, id: ConnectionId) -> Vec<Out> {
        self.hub().take_outgoing(id)
    }

    /// Takes the first of what a realtime connection is to send: at least one message, and no more after so many
    /// bytes; an empty list means that nothing waits.
    pub fn take_some_outgoing(&self, id: ConnectionId, bytes: usize) -> Vec<Out> {
        self.hub().take_some(id, bytes)
    }

    /// Lets every realtime connection break off without a close message, as a network does that fails.
    pub fn cut_connections(&self) {
        self.hub().cut_all();
    }

    /// The realtime connections that have something to send, in the order in which they were opened.
    pub fn waiting_connections(&self) -> Vec<ConnectionId> {
        self.hub().waiting()
    }

    /// Forgets a realtime connection.
    pub fn close_connection(&self, id: ConnectionId) {
        self.hub().close(id);
    }

    /// Sends keep-alives that are due and ends connections that reached their age.
    pub fn tick(&self, now_ms: i64) {
        self.hub().tick(now_ms, &self.config);
    }

    /// When [`Backend::tick`] has something to do next, in milliseconds since 1970.
    pub fn next_deadline_ms(&self) -> Option<i64> {
        self.hub().next_deadline_ms(&self.config)
    }

    /// Subscription messages that were not sent because they were too long.
    pub fn oversize_messages(&self) -> u64 {
        self.hub().tally().oversize
    }

    /// Realtime connections that are open, and their subscriptions.
    pub fn realtime_population(&self) -> (usize, usize) {
        self.hub().population()
    }

    /// Removes tombstones whose time is over and changes that no delta sync can ask for any more.
    ///
    /// # Errors
    /// [`BackendError::Store`] if the disk fails; what was removed before stays removed.
    pub fn purge(&self, now_ms: i64) -> Result<PurgeReport, BackendError> {
        self.store.purge(now_ms)
    }

    /// Faults to inject.
    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes something go wrong, or puts it right; what concerns the clock is for whoever gives the time.
    ///
    /// # Errors
    /// [`BackendError::Store`] if a purge fails.
    pub fn inject(&self, now_ms: i64, command: FaultCommand) -> Result<(), BackendError> {
        match command {
            FaultCommand::Fail { status, calls } => self.faults().fail_next(calls, status),
            FaultCommand::Delay { ms, calls } => self.faults().delay_replies(calls, ms),
            FaultCommand::Throttle { per_second } => self.faults().throttle(Some(per_second)),
            FaultCommand::LoseRequests(calls) => self.faults().lose_requests(calls),
            FaultCommand::LoseReplies(calls) => self.faults().lose_replies(calls),
            FaultCommand::FailFields { error, requests } => self.faults().fail_fields(requests, error),
            FaultCommand::DropMessages(messages) => self.faults().drop_messages(messages),
            FaultCommand::DuplicateMessages(messages) => self.faults().duplicate_messages(messages),
            FaultCommand::PauseMessages => self.faults().pause_fan_out(),
            FaultCommand::ResumeMessages => self.resume_fan_out(),
            FaultCommand::CutSockets => self.cut_connections(),
            FaultCommand::Purge => {
                let report = self.purge(now_ms)?;
                tracing::info!(?report, "purged");
            }
            FaultCommand::Clear => {
                self.resume_fan_out();
                *self.faults() = Faults::default();
            }
            FaultCommand::SetClock { .. } | FaultCommand::MoveClock { .. } => {}
        }
        Ok(())
    }

    /// Sends the subscription messages that were held back, and no longer holds any back.
    pub fn resume_fan_out(&self) {
        let mut hub = self.hub();
        let mut faults = self.faults();
        faults.fan_out_paused = false;
        hub.publish(Vec::new(), self.judge(), &mut faults);
    }

    fn environment<'a>(&'a self, job: &'a Job) -> Environment<'a> {
        Environment {
            compiled: &self.compiled,
            config: &self.config,
            entropy: &self.entropy,
            token_key: &self.token_key,
            caller: &job.caller,
            implied: &self.implied,
            gone: &job.gone,
            stopwatch: self.stopwatch.get().copied(),
        }
    }

    /// Hands in what passing over rows that are hidden from a caller is timed by; the first one counts.
    pub(crate) fn set_stopwatch(&self, stopwatch: Stopwatch) {
        // A second server over the same backend times it as well as the first.
        let _ = self.stopwatch.set(stopwatch);
    }

    fn judge(&self) -> Judge<'_> {
        Judge {
            compiled: &self.compiled,
            config: &self.config,
            documents: &self.documents,
            implied: &self.implied,
        }
    }

    fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing is left of any realtime connection.
    #[cfg(test)]
    pub(crate) fn realtime_is_empty(&self) -> bool {
        self.hub().is_empty()
    }

    /// Whether passing over hidden rows is timed.
    #[cfg(test)]
    pub(crate) fn has_stopwatch(&self) -> bool {
        self.stopwatch.get().is_some()
    }

    /// Keeps mutations from running until it is dropped.
    #[cfg(test)]
    pub(crate) fn hold_writer(&self) -> impl Sized + '_ {
        self.store.writer()
    }

    /// An identifier for a reply that is made elsewhere.
    pub(crate) fn new_request_id(&self) -> String {
        self.uuid()
    }

    fn uuid(&self) -> String {
        uuid_v4(
            self.entropy
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .as_mut(),
        )
    }
}

#[cfg(test)]
mod tests;
