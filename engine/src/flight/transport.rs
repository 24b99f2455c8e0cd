//! A transport that notes what goes through it, but no credentials.
//!
//! Owns [`RecordedTransport`]. Requests and outgoing frames are noted as fingerprints, what arrives as it is. Errors lose the
//! queries of addresses on their way to the engine as well, so that it sees the same in a replay.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::Value as Json;

use landfall_actors::flight::{Answer, Failed, Seat, print_of, print_of_bytes};
use landfall_wire::{
    Credentials, HttpRequest, HttpResponse, Socket, SocketSink, SocketStream, Subject, Transport,
    TransportError,
};

use super::event::Event;
use super::recorder::RecorderSeat;

pub(super) struct RecordedTransport {
    inner: Arc<dyn Transport>,
    seat: Arc<RecorderSeat>,
}

impl RecordedTransport {
    pub(super) fn new(inner: Arc<dyn Transport>, seat: Arc<RecorderSeat>) -> Self {
        Self { inner, seat }
    }

    fn authorizing(
        &self,
        print: u64,
        work: BoxFuture<'static, Result<Credentials, TransportError>>,
    ) -> BoxFuture<'static, Result<Credentials, TransportError>> {
        let call = self.seat.called("Authorize", print);
        let seat = Arc::clone(&self.seat);
        Box::pin(async move {
            let result = work.await.map_err(|error| cleaned(&error));
            seat.answered(
                call,
                match &result {
                    Ok(_) => Answer::Authorized,
                    Err(error) => Answer::Failed(error.into()),
                },
            );
            result
        })
    }
}

/// The error as a recording will bring it again.
fn cleaned(error: &TransportError) -> TransportError {
    Failed::from(error).into()
}

/// The fingerprint of an outgoing frame, from which the credentials of a `start` are left out.
pub fn frame_print(text: &str) -> u64 {
    match serde_json::from_str::<Json>(text) {
        Ok(mut frame) => {
            if let Some(payload) = frame.get_mut("payload").and_then(Json::as_object_mut) {
                payload.remove("extensions");
            }
            print_of_bytes(frame.to_string().as_bytes())
        }
        Err(_) => 0,
    }
}

/// The fingerprint of what is to be authorized.
pub fn start_print(subject: Option<&Subject>, payload: &str, attempt: u32) -> u64 {
    print_of(&(subject, payload, attempt))
}

impl Transport for RecordedTransport {
    fn execute(&self, request: HttpRequest) -> BoxFuture<'static, Result<HttpResponse, TransportError>> {
        let call = self
            .seat
            .called("Execute", print_of_bytes(request.body.as_bytes()));
        let (seat, work) = (Arc::clone(&self.seat), self.inner.execute(request));
        Box::pin(async move {
            let result = work.await.map_err(|error| cleaned(&error));
            seat.answered(call, Answer::of_result(&result));
            result
        })
    }

    fn connect(&self) -> BoxFuture<'static, Result<Box<dyn Socket>, TransportError>> {
        let call = self.seat.called("Connect", 0);
        let (seat, work) = (Arc::clone(&self.seat), self.inner.connect());
        Box::pin(async move {
            match work.await {
                Ok(inner) => {
                    seat.answered(call, Answer::Connected);
                    Ok(Box::new(RecordedSocket { inner, call, seat }) as Box<dyn Socket>)
                }
                Err(error) => {
                    let error = cleaned(&error);
                    seat.answered(call, Answer::Failed((&error).into()));
                    Err(error)
                }
            }
        })
    }

    fn authorize(&self, payload: &str) -> BoxFuture<'static, Result<Credentials, TransportError>> {
        self.authorizing(start_print(None, payload, 0), self.inner.authorize(payload))
    }

    fn authorize_start(
        &self,
        subject: &Subject,
        payload: &str,
        attempt: u32,
    ) -> BoxFuture<'static, Result<Credentials, TransportError>> {
        self.authorizing(
            start_print(Some(subject), payload, attempt),
            self.inner.authorize_start(subject, payload, attempt),
        )
    }

    fn connection_refused(&self) {
        self.seat.called("Refused", 0);
        self.inner.connection_refused();
    }

    fn endpoint(&self) -> &str {
        self.inner.endpoint()
    }
}

struct RecordedSocket {
    inner: Box<dyn Socket>,
    call: u64,
    seat: Arc<RecorderSeat>,
}

impl Socket for RecordedSocket {
    fn split(self: Box<Self>) -> (Box<dyn SocketSink>, Box<dyn SocketStream>) {
        let (sink, stream) = self.inner.split();
        let (call, seat) = (self.call, self.seat);
        (
            Box::new(RecordedSink {
                inner: sink,
                call,
                seat: Arc::clone(&seat),
            }),
            Box::new(RecordedStream {
                inner: stream,
                call,
                seat,
            }),
        )
    }
}

struct RecordedSink {
    inner: Box<dyn SocketSink>,
    call: u64,
    seat: Arc<RecorderSeat>,
}

impl SocketSink for RecordedSink {
    fn send(&mut self, text: String) -> BoxFuture<'_, Result<(), TransportError>> {
        let print = frame_print(&text);
        let (call, seat) = (self.call, Arc::clone(&self.seat));
        let work = self.inner.send(text);
        Box::pin(async move {
            let result = work.await.map_err(|error| cleaned(&error));
            let failed = result.as_ref().err().map(Failed::from);
            seat.note(Event::Sent { call, print, failed });
            result
        })
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}

struct RecordedStream {
    inner: Box<dyn SocketStream>,
    call: u64,
    seat: Arc<RecorderSeat>,
}

impl SocketStream for RecordedStream {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<String, TransportError>>> {
        let (call, seat) = (self.call, Arc::clone(&self.seat));
        let work = self.inner.next();
        Box::pin(async move {
            let frame = work.await.map(|frame| frame.map_err(|error| cleaned(&error)));
            let noted = frame.as_ref().map(|frame| match frame {
                Ok(text) => Ok(text.clone()),
                Err(error) => Err(error.into()),
            });
            seat.note(Event::Frame { call, frame: noted });
            frame
        })
    }
}
