//! The server of a replay: the recording itself.
//!
//! Owns [`ReplayTransport`]. A request is answered when the recording's answer is played; credentials are empty, since a
//! recording has none.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use landfall::flight::{Answer, Failed, FailedKind, Seat, frame_print, print_of_bytes, start_print};
use landfall::{Subject, Transport, TransportError};
use landfall_wire::{Credentials, HttpRequest, HttpResponse, Socket, SocketSink, SocketStream};

use super::deck::{FrameIn, ReplaySeat, Sending};

/// The transport of whoever is no actor; nobody asks it.
pub(super) fn nowhere(endpoint: &str) -> Arc<dyn Transport> {
    Arc::new(Nowhere(endpoint.to_owned()))
}

struct Nowhere(String);

fn unexpected(answer: &Answer) -> TransportError {
    match answer {
        Answer::Failed(failed) => failed.clone().into(),
        _ => no_answer(),
    }
}

fn no_answer() -> TransportError {
    let failed = Failed {
        kind: FailedKind::Unreachable,
        reason: "the recording has no answer to this".to_owned(),
    };
    failed.into()
}

impl Transport for Nowhere {
    fn execute(&self, _: HttpRequest) -> BoxFuture<'static, Result<HttpResponse, TransportError>> {
        Box::pin(std::future::ready(Err(no_answer())))
    }

    fn connect(&self) -> BoxFuture<'static, Result<Box<dyn Socket>, TransportError>> {
        Box::pin(std::future::ready(Err(no_answer())))
    }

    fn authorize(&self, _: &str) -> BoxFuture<'static, Result<Credentials, TransportError>> {
        Box::pin(std::future::ready(Err(no_answer())))
    }

    fn endpoint(&self) -> &str {
        &self.0
    }
}

pub(super) struct ReplayTransport {
    seat: Arc<ReplaySeat>,
    endpoint: String,
}

impl ReplayTransport {
    pub(super) fn new(seat: Arc<ReplaySeat>, endpoint: String) -> Self {
        Self { seat, endpoint }
    }

    /// Asks the recording.
    fn ask(&self, what: &'static str, print: u64) -> (u64, BoxFuture<'static, Answer>) {
        let call = self.seat.called(what, print);
        let answer = self.seat.answer_of(call);
        (call, answer.unwrap_or_else(|| Box::pin(std::future::pending())))
    }

    fn authorized(&self, print: u64) -> BoxFuture<'static, Result<Credentials, TransportError>> {
        let (_, answer) = self.ask("Authorize", print);
        Box::pin(async move {
            match answer.await {
                Answer::Authorized => Ok(Credentials::default()),
                other => Err(unexpected(&other)),
            }
        })
    }
}

impl Transport for ReplayTransport {
    fn execute(&self, request: HttpRequest) -> BoxFuture<'static, Result<HttpResponse, TransportError>> {
        let (_, answer) = self.ask("Execute", print_of_bytes(request.body.as_bytes()));
        Box::pin(async move {
            match answer.await {
                Answer::Response {
                    status,
                    retry_after_ms,
                    body,
                } => Ok(HttpResponse {
                    retry_after_ms,
                    ..HttpResponse::new(status, body.0)
                }),
                other => Err(unexpected(&other)),
            }
        })
    }

    fn connect(&self) -> BoxFuture<'static, Result<Box<dyn Socket>, TransportError>> {
        let (call, answer) = self.ask("Connect", 0);
        let seat = Arc::clone(&self.seat);
        Box::pin(async move {
            match answer.await {
                Answer::Connected => Ok(Box::new(ReplaySocket { call, seat }) as Box<dyn Socket>),
                other => Err(unexpected(&other)),
            }
        })
    }

    fn authorize(&self, payload: &str) -> BoxFuture<'static, Result<Credentials, TransportError>> {
        self.authorized(start_print(None, payload, 0))
    }

    fn authorize_start(
        &self,
        subject: &Subject,
        payload: &str,
        attempt: u32,
    ) -> BoxFuture<'static, Result<Credentials, TransportError>> {
        self.authorized(start_print(Some(subject), payload, attempt))
    }

    fn connection_refused(&self) {
        self.seat.called("Refused", 0);
    }

    fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

struct ReplaySocket {
    call: u64,
    seat: Arc<ReplaySeat>,
}

impl Socket for ReplaySocket {
    fn split(self: Box<Self>) -> (Box<dyn SocketSink>, Box<dyn SocketStream>) {
        let (frames, arriving) = mpsc::unbounded_channel();
        {
            let mut state = self.seat.control.lock();
            let elapsed = self.seat.control.clock.elapsed_ms();
            if let Some(script) = &mut state.script {
                script.opened(&self.seat.name, self.call, elapsed, frames);
            } else {
                state.seat(&self.seat.name).frames.insert(self.call, frames);
            }
        }
        (
            Box::new(ReplaySink {
                call: self.call,
                seat: self.seat,
            }),
            Box::new(ReplayStream(arriving)),
        )
    }
}

struct ReplaySink {
    call: u64,
    seat: Arc<ReplaySeat>,
}

impl SocketSink for ReplaySink {
    fn send(&mut self, text: String) -> BoxFuture<'_, Result<(), TransportError>> {
        let (done, sent) = oneshot::channel();
        {
            let mut state = self.seat.control.lock();
            if let Some(script) = &mut state.script {
                script.sent(&self.seat.name, self.call);
                return Box::pin(std::future::ready(Ok(())));
            }
            let since_ms = state.at_ms;
            let seat = state.seat(&self.seat.name);
            let sends = seat.sends.entry(self.call).or_default();
            sends.push_back(Sending {
                print: frame_print(&text),
                since_ms,
                done,
            });
        }
        Box::pin(async move {
            match sent.await {
                Ok(None) => Ok(()),
                Ok(Some(failed)) => Err(failed.into()),
                Err(_) => std::future::pending().await,
            }
        })
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

struct ReplayStream(mpsc::UnboundedReceiver<FrameIn>);

impl SocketStream for ReplayStream {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<String, TransportError>>> {
        Box::pin(async move {
            match self.0.recv().await {
                Some(frame) => frame.map(|frame| frame.map_err(Into::into)),
                None => std::future::pending().await,
            }
        })
    }
}
