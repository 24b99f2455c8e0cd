//! Mutations whose conflicts a handler decides.
//!
//! Owns the rounds: run, roll back if a handler must be asked, ask without any lock, run anew. A record that changed
//! while its handler thought is a new conflict, and asked again.
//!
//! Invariant: what a round wrote is rolled back unless it is the one that is answered.

use landfall_storage::kv::KvError;

use super::{Backend, Job, Ran};
use crate::conflict::{HandlerFailed, Resolution};
use crate::error::BackendError;
use crate::execute::{ConflictRound, Executed, Prepared, Question};
use crate::faults::FieldError;
use crate::http::HttpReply;

/// Most times that the handlers of one request are asked; a record that changes faster is answered with `MaxConflicts`.
const ROUNDS_MAX: usize = 10;

/// Why a round came to no answer.
enum Halted {
    /// Handlers must be asked first.
    Asked,
    Failed(BackendError),
}

impl From<KvError> for Halted {
    fn from(error: KvError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<BackendError> for Halted {
    fn from(error: BackendError) -> Self {
        Self::Failed(error)
    }
}

impl Backend {
    /// Whether a request may have to ask a handler, so that it runs by itself and not in a batch.
    pub(super) fn may_ask(&self, prepared: &Prepared) -> bool {
        prepared
            .mutated_models(&self.compiled)
            .any(|model| self.store.asks_handler(model))
    }

    /// Runs a mutation unless a handler must be asked: most meet no conflict, and wait for nobody.
    pub(super) fn look_for_questions(&self, now_ms: i64, job: &Job) -> Ran {
        let field_error = self.faults().take_field_error();
        match self.run_round(now_ms, job, &ConflictRound::look(), field_error) {
            Some(reply) => Ran::Replied(reply),
            None => Ran::MustAsk(field_error),
        }
    }

    /// Runs a mutation whose conflicts handlers decide; takes as long as they do, unless its caller goes away.
    pub(crate) fn run_asking(&self, now_ms: i64, job: &Job, field_error: Option<FieldError>) -> HttpReply {
        let mut round = ConflictRound::default();
        for attempt in 1.. {
            if let Some(reply) = self.run_round(now_ms, job, &round, field_error) {
                return reply;
            }
            let is_last = attempt == ROUNDS_MAX;
            // What nobody waits for any more is not asked about: a handler takes its time, and others wait for the place.
            let next = round.next(is_last, |question| {
                (!job.gone.is_noted()).then(|| self.ask(question))
            });
            match next {
                Some(next) => round = next,
                None => return self.reply(job, Ok(Executed::timed_out())),
            }
        }
        unreachable!("the last round asks nothing, so it is answered")
    }

    /// One attempt; `None` if handlers must be asked first, and then nothing was written.
    fn run_round(
        &self,
        now_ms: i64,
        job: &Job,
        round: &ConflictRound,
        field_error: Option<FieldError>,
    ) -> Option<HttpReply> {
        // Held until subscribers were told, so that they hear of commits in order.
        let mut writer = self.store.writer();
        let done = writer.transaction(now_ms, |session| {
            let executed = self.run_one(session, job, round, field_error)?;
            if round.has_questions() {
                Err(Halted::Asked)
            } else {
                Ok(executed)
            }
        });
        match done {
            Ok(mut executed) => {
                self.publish(std::iter::once(&mut executed));
                drop(writer);
                Some(self.reply(job, Ok(executed)))
            }
            Err(Halted::Failed(error)) => {
                drop(writer);
                Some(self.reply(job, Err(&error)))
            }
            Err(Halted::Asked) => None,
        }
    }

    fn ask(&self, question: &Question) -> Result<Resolution, HandlerFailed> {
        let Some(handler) = self.config.conflict_handlers.of(&question.model) else {
            let reason = format!("no conflict handler is set for `{}`", question.model);
            return Err(HandlerFailed::new(reason));
        };
        let answer = handler.resolve(&question.call);
        tracing::debug!(model = %question.model, field = %question.call.resolver.field, failed = answer.is_err(), "asked the conflict handler");
        answer
    }
}
