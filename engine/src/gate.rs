//! A switch between the engine and its network, for demonstrations, tests and the shell.
//!
//! Owns [`NetworkGate`]. Cut, every request fails as if the cable were pulled and open sockets break.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::{BoxFuture, Either, select};
use tokio::sync::Notify;

use landfall_wire::{
    Credentials, HttpRequest, HttpResponse, Socket, SocketSink, SocketStream, Subject, Transport,
    TransportError,
};

/// Whether the network is cut.
#[derive(Debug, Default)]
pub(crate) struct NetworkGate {
    cut: AtomicBool,
    changed: Notify,
}

impl NetworkGate {
    /// Cuts the network, or restores it.
    pub(crate) fn set_cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    /// Waits until the network is cut.
    async fn wait_for_cut(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_cut() {
                return;
            }
            changed.await;
        }
    }

    /// The result of `work`, or an error once the network is cut.
    async fn unless_cut<T>(
        &self,
        work: impl Future<Output = Result<T, TransportError>>,
    ) -> Result<T, TransportError> {
        match select(Box::pin(self.wait_for_cut()), Box::pin(work)).await {
            Either::Left(_) => Err(TransportError::Interrupted {
                reason: "the network is cut".to_owned(),
            }),
            Either::Right((result, _)) => result,
        }
    }

    fn refuse(&self) -> Result<(), TransportError> {
        if self.is_cut() {
            Err(TransportError::Unreachable {
                reason: "the network is cut".to_owned(),
            })
        } else {
            Ok(())
        }
    }
}

/// A transport behind a gate.
pub(crate) struct GatedTransport {
    inner: Arc<dyn Transport>,
    gate: Arc<NetworkGate>,
}

impl GatedTransport {
    pub(crate) fn new(inner: Arc<dyn Transport>, gate: Arc<NetworkGate>) -> Self {
        Self { inner, gate }
    }
}

impl Transport for GatedTransport {
    fn execute(&self, request: HttpRequest) -> BoxFuture<'static, Result<HttpResponse, TransportError>> {
        let gate = Arc::clone(&self.gate);
        if let Err(error) = gate.refuse() {
            return Box::pin(std::future::ready(Err(error)));
        }
        let work = self.inner.execute(request);
        Box::pin(async move { gate.unless_cut(work).await })
    }

    fn connect(&self) -> BoxFuture<'static, Result<Box<dyn Socket>, TransportError>> {
        let gate = Arc::clone(&self.gate);
        if let Err(error) = gate.refuse() {
            return Box::pin(std::future::ready(Err(error)));
        }
        let work = self.inner.connect();
        Box::pin(async move {
            let socket = gate.unless_cut(work).await?;
            Ok(Box::new(GatedSocket {
                inner: socket,
                gate: Arc::clone(&gate),
            }) as Box<dyn Socket>)
        })
    }

    fn authorize(&self, payload: &str) -> BoxFuture<'static, Result<Credentials, TransportError>> {
        self.inner.authorize(payload)
    }

    fn authorize_start(
        &self,
        subject: &Subject,
        payload: &str,
        attempt: u32,
    ) -> BoxFuture<'static, Result<Credentials, TransportError>> {
        self.inner.authorize_start(subject, payload, attempt)
    }

    fn connection_refused(&self) {
        self.inner.connection_refused();
    }

    fn endpoint(&self) -> &str {
        self.inner.endpoint()
    }
}

struct GatedSocket {
    inner: Box<dyn Socket>,
    gate: Arc<NetworkGate>,
}

impl Socket for GatedSocket {
    fn split(self: Box<Self>) -> (Box<dyn SocketSink>, Box<dyn SocketStream>) {
        let (sink, stream) = self.inner.split();
        (
            sink,
            Box::new(GatedStream {
                inner: stream,
                gate: self.gate,
            }),
        )
    }
}

struct GatedStream {
    inner: Box<dyn SocketStream>,
    gate: Arc<NetworkGate>,
}

impl SocketStream for GatedStream {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<String, TransportError>>> {
        let gate = Arc::clone(&self.gate);
        let next = self.inner.next();
        Box::pin(async move {
            match select(Box::pin(gate.wait_for_cut()), next).await {
                Either::Left(_) => Some(Err(TransportError::Interrupted {
                    reason: "the network is cut".to_owned(),
                })),
                Either::Right((frame, _)) => frame,
            }
        })
    }
}
