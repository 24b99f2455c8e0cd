//! What the conflict handler answers, noted by a recorder or told by a recording.
//!
//! Owns [`recorded`]. Which question is put and how long the app may take is the caller's.

use futures_util::future::{BoxFuture, FutureExt};

use landfall_core::{Resolution, Seq};

use super::machine::Undecided;
use crate::env::Env;
use crate::flight::{Answer, Decided};

/// The answer of `deciding`, passed by the actor's seat if it has one.
pub(super) fn recorded(
    env: &Env,
    mutation: Seq,
    deciding: impl Future<Output = Result<Resolution, Undecided>> + 'static,
) -> futures_util::future::LocalBoxFuture<'static, Result<Resolution, Undecided>> {
    let Some(seat) = env.flight.seat.clone() else {
        return deciding.boxed_local();
    };
    let call = seat.called("Decide", mutation.0);
    let told: Option<BoxFuture<'static, Answer>> = seat.answer_of(call);
    match told {
        Some(told) => told.map(decided).boxed_local(),
        None => async move {
            let resolution = deciding.await;
            seat.answered(call, Answer::Decided(to_decided(&resolution)));
            resolution
        }
        .boxed_local(),
    }
}

fn to_decided(resolution: &Result<Resolution, Undecided>) -> Decided {
    match resolution {
        Ok(resolution) => resolution.into(),
        Err(Undecided::Panicked) => Decided::Panicked,
        Err(Undecided::TookTooLong) => Decided::TookTooLong,
    }
}

fn decided(answer: Answer) -> Result<Resolution, Undecided> {
    match answer {
        Answer::Decided(Decided::AcceptRemote) => Ok(Resolution::AcceptRemote),
        Answer::Decided(Decided::KeepLocal) => Ok(Resolution::KeepLocal),
        Answer::Decided(Decided::Merged(fields)) => Ok(Resolution::Merged(fields)),
        Answer::Decided(Decided::TookTooLong) => Err(Undecided::TookTooLong),
        // A recording that was edited may answer anything; that is no answer then.
        _ => Err(Undecided::Panicked),
    }
}
