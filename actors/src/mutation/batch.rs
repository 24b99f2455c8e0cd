//! Which mutations share a request, and what each of them hears of its answer.
//!
//! Owns the grouping of what goes out at the same time: mutations of one model and kind, as many as the app allows, so that
//! the credentials that are chosen by model and operation are those of each. The machine knows nothing of it: to it each
//! is sent and answered alone.
//!
//! Invariants: 1. every mutation is in one request; 2. each hears one answer; 3. a request that is refused as a whole
//! refuses none of its mutations: each is sent again alone, and from then on all are; 4. nor does one that is more than the
//! server does at once: what was not looked at is sent again alone, and from then on half as many share a request.

use actix::Context;
use actix::prelude::*;
use landfall_core::{ModelName, Mutation, MutationKind};
use landfall_wire::{BatchReply, Delivery, Failure, HttpResponse, MutationReply, TransportError, Variables};

use super::machine::Input;
use super::{MutationProcessor, hear, not_sent};

/// Variables of one request at most, as text; AppSync takes a megabyte with the document.
const BATCH_BYTES_MAX: usize = 256 * 1024;

/// Mutations of one model and kind.
#[derive(Debug)]
struct Batch {
    mutations: Vec<Mutation>,
    variables: Vec<Variables>,
    bytes: usize,
}

/// Groups mutations, in their order, so many to a request.
fn group(mutations: Vec<(Mutation, Variables)>, per_request: usize) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    for (mutation, variables) in mutations {
        let bytes = serde_json::to_string(&variables).map_or(0, |text| text.len());
        let kind =
            |mutation: &Mutation| -> (ModelName, MutationKind) { (mutation.model().clone(), mutation.kind) };
        let open = batches.iter_mut().rev().find(|batch| {
            batch.mutations.len() < per_request
                && batch.bytes.saturating_add(bytes) <= BATCH_BYTES_MAX
                && batch.mutations.first().map(kind) == Some(kind(&mutation))
        });
        match open {
            Some(batch) => {
                batch.mutations.push(mutation);
                batch.variables.push(variables);
                batch.bytes += bytes;
            }
            None => batches.push(Batch {
                mutations: vec![mutation],
                variables: vec![variables],
                bytes,
            }),
        }
    }
    batches
}

impl MutationProcessor {
    /// Sends mutations, several to a request. Returns what is known of some at once.
    pub(super) fn send_together(&self, mutations: Vec<Mutation>, ctx: &mut Context<Self>) -> Vec<Input> {
        let mut known = Vec::new();
        let mut sendable = Vec::with_capacity(mutations.len());
        for mutation in mutations {
            match self.catalog.variables(&mutation) {
                Ok(variables) => sendable.push((mutation, variables)),
                Err(unsendable) => known.push(not_sent(&mutation, unsendable)),
            }
        }
        for batch in group(sendable, self.per_request) {
            known.extend(self.send_batch(batch, ctx));
        }
        known
    }

    fn send_batch(&self, batch: Batch, ctx: &mut Context<Self>) -> Vec<Input> {
        let Batch {
            mutations, variables, ..
        } = batch;
        let [first, _, ..] = mutations.as_slice() else {
            // Alone it goes as ever.
            return mutations
                .into_iter()
                .filter_map(|mutation| self.send(mutation, ctx))
                .collect();
        };
        let request = match self.catalog.batch_request(first, variables) {
            Ok(request) => request,
            Err(unsendable) => {
                let not_sent = |mutation| not_sent(mutation, unsendable.clone());
                return mutations.iter().map(not_sent).collect();
            }
        };
        let seqs = || {
            mutations
                .iter()
                .map(|mutation| mutation.seq.to_string())
                .collect::<Vec<_>>()
        };
        let span = tracing::debug_span!(target: "landfall::mutation", "send", mutations = ?seqs(), model = %first.model());
        let asking = self
            .ask(request, span)
            .into_actor(self)
            .map(move |result, actor, ctx| {
                actor.report(&result);
                actor.answered_together(mutations, result, ctx);
            });
        ctx.spawn(asking);
        Vec::new()
    }

    fn answered_together(
        &mut self,
        mutations: Vec<Mutation>,
        result: Result<HttpResponse, TransportError>,
        ctx: &mut Context<Self>,
    ) {
        let reply = match result {
            Ok(response) => self.catalog.read_batch(&mutations, &response),
            Err(error) => {
                let failure = Failure::from(error);
                BatchReply::Each(vec![MutationReply::Failed(failure); mutations.len()])
            }
        };
        match reply {
            BatchReply::Each(replies) => {
                self.make_room(mutations.len(), &replies);
                for (mutation, reply) in mutations.into_iter().zip(replies) {
                    if let Some(input) = self.answered_among(mutation, reply, ctx) {
                        hear(ctx, input);
                    }
                }
            }
            BatchReply::Refused(failure) => {
                tracing::warn!(%failure, "the server does not take several mutations in one request");
                self.per_request = 1;
                for mutation in mutations {
                    if let Some(input) = self.send_alone(mutation, ctx) {
                        hear(ctx, input);
                    }
                }
            }
        }
    }

    /// Sends again what has gone out with others.
    fn send_alone(&mut self, mutation: Mutation, ctx: &mut Context<Self>) -> Option<Input> {
        let now_ms = self.context.env.clock.now_ms();
        self.state.sent_again(&mutation, now_ms);
        self.send(mutation, ctx)
    }

    /// Lets fewer share a request from now on, if so many were too many.
    fn make_room(&mut self, together: usize, replies: &[MutationReply]) {
        let crowded = replies.iter().find_map(|reply| match reply {
            MutationReply::Crowded(failure) => Some(failure),
            _ => None,
        });
        if let Some(failure) = crowded {
            self.per_request = self.per_request.min(together / 2).max(1);
            let per_request = self.per_request;
            tracing::warn!(%failure, per_request, "so many mutations are too much for one request of this server");
        }
    }

    /// What one of several has heard; nothing yet if it is sent again, because the server did not come to it.
    fn answered_among(
        &mut self,
        mutation: Mutation,
        reply: MutationReply,
        ctx: &mut Context<Self>,
    ) -> Option<Input> {
        match reply {
            MutationReply::Crowded(failure) if failure.delivery() == Delivery::NotDelivered => {
                self.send_alone(mutation, ctx)
            }
            reply => Some(Input::Replied {
                seq: mutation.seq,
                reply: Box::new(reply),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::mutation;
    use super::*;
    use landfall_core::MutationKind::{Create, Update};
    use serde_json::Map;

    fn grouped(mutations: &[(MutationKind, &str, usize)], per_request: usize) -> Vec<Vec<u64>> {
        let mutations = (1..).zip(mutations).map(|(seq, (kind, key, bytes))| {
            let variables = Map::from_iter([("input".to_owned(), "x".repeat(*bytes).into())]);
            (mutation(seq, *kind, key), variables)
        });
        group(mutations.collect(), per_request)
            .into_iter()
            .map(|batch| batch.mutations.iter().map(|mutation| mutation.seq.0).collect())
            .collect()
    }

    #[test]
    fn mutations_of_one_model_and_kind_share_a_request() {
        let mutations = [
            (Create, "Todo/a", 1),
            (Create, "Tag/a", 1),
            (Update, "Todo/b", 1),
            (Create, "Todo/c", 1),
            (Create, "Todo/d", 1),
            (Create, "Todo/e", 1),
        ];
        assert_eq!(grouped(&mutations, 3), [vec![1, 4, 5], vec![2], vec![3], vec![6]]);
    }

    #[test]
    fn a_request_does_not_grow_beyond_its_bound() {
        let large = BATCH_BYTES_MAX / 2;
        let mutations = [
            (Create, "Todo/a", large),
            (Create, "Todo/b", large),
            (Create, "Todo/c", 1),
        ];
        assert_eq!(grouped(&mutations, 9), [vec![1], vec![2, 3]]);
        let alone = [(Create, "Todo/a", 2 * BATCH_BYTES_MAX)];
        assert_eq!(
            grouped(&alone, 9),
            [[1]],
            "what is too large goes alone, and the server decides"
        );
    }
}
