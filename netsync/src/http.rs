//! Requests over HTTP, and the transport as a whole.
//!
//! Which credentials are presented, and what follows if they are refused, is `present.rs`.
//!
//! Owns [`HttpTransport`]: one pooled client for requests, one for the upgrades of realtime sockets, and the rules
//! that say of each failure whether the request can have reached the server.
//!
//! | what happened | error |
//! |---|---|
//! | name lookup, connecting, TLS handshake or proxy tunnel failed | `Unreachable` |
//! | time ran out, connection broke, reply was cut off or too large | `Interrupted` |
//! | no token, or one that no header can carry | `Unauthorized` |
//! | the request could not be built | `Misconfigured` |
//! | any reply, whatever its status | none |
//!
//! Redirects are not followed: they would carry credentials to another server.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use landfall_wire::{Credentials, HttpRequest, HttpResponse, Socket, Subject, Transport, TransportError};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response};

use crate::authorization::{BODY_TYPE, Call, Held};
use crate::endpoint::{Endpoint, ProxyUse};
use crate::error::NetsyncError;
use crate::present::{self, Presenting};
use crate::retry_after::retry_after_ms;
use crate::server_clock::ServerClock;
use crate::tls::{self, Protocols, Scheme};

/// Most bytes of a reply: a page of 1,000 items may hold 1,000 records of 400 KB, but DynamoDB reads 1 MB per page, so
/// this leaves a wide margin and still bounds what a broken server can make us hold.
pub const REPLY_BYTES_MAX: usize = 32 * 1_024 * 1_024;

/// Room made at once for a reply's body; more grows as it comes.
const REPLY_BYTES_FIRST: usize = 256 * 1_024;

/// How long an idle connection is kept: shorter than the 60 seconds after which load balancers drop one, because a
/// request that meets a connection on its way out has an unknown outcome.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// A [`Transport`] over HTTP and WebSocket; cheap to clone, and clones share connections.
///
/// Its futures need a tokio runtime with IO and time enabled, of any flavour.
#[derive(Clone)]
pub struct HttpTransport {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) endpoint: Endpoint,
    pub(crate) presenting: Presenting,
    pub(crate) clock: ServerClock,
    pub(crate) host: String,
    pub(crate) requests: Client,
    pub(crate) upgrades: Client,
}

impl HttpTransport {
    /// A transport to that endpoint. Opens nothing yet.
    ///
    /// # Errors
    /// [`NetsyncError::Tls`] if the system has no trusted certificates, [`NetsyncError::BadCertificate`] if an added
    /// one cannot be used, [`NetsyncError::Client`] for the rest.
    pub fn new(endpoint: Endpoint) -> Result<Self, NetsyncError> {
        endpoint.check()?;
        let requests = build(
            builder(&endpoint, Scheme::of(endpoint.url()), Protocols::Any)?
                .timeout(endpoint.timeouts.request)
                .pool_idle_timeout(POOL_IDLE_TIMEOUT),
        )?;
        let upgrades = build(
            builder(&endpoint, Scheme::of(endpoint.realtime()), Protocols::Http1)?
                .http1_only()
                .pool_max_idle_per_host(0),
        )?;
        let host = endpoint.host();
        Ok(Self {
            inner: Arc::new(Inner {
                endpoint,
                presenting: Presenting::default(),
                clock: ServerClock::default(),
                host,
                requests,
                upgrades,
            }),
        })
    }
}

fn builder(endpoint: &Endpoint, scheme: Scheme, protocols: Protocols) -> Result<ClientBuilder, NetsyncError> {
    let builder = Client::builder()
        .tls_backend_preconfigured(tls::config(scheme, protocols, &endpoint.trusted)?)
        .user_agent(concat!("landfall/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(endpoint.timeouts.connect)
        .redirect(Policy::none())
        .referer(false)
        .tcp_nodelay(true);
    Ok(match endpoint.proxy {
        ProxyUse::System => builder,
        ProxyUse::Direct => builder.no_proxy(),
    })
}

fn build(builder: ClientBuilder) -> Result<Client, NetsyncError> {
    builder.build().map_err(|error| NetsyncError::Client {
        reason: reason(error),
    })
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HttpTransport")
            .field(&self.inner.endpoint)
            .finish()
    }
}

impl Transport for HttpTransport {
    fn execute(&self, request: HttpRequest) -> BoxFuture<'static, Result<HttpResponse, TransportError>> {
        let inner = self.inner.clone();
        async move {
            let operation = request.operation.clone();
            let reply = present::execute(&inner, request).await;
            match &reply {
                Ok(HttpResponse { status, body, .. }) => {
                    tracing::debug!(%operation, status, bytes = body.len(), "reply");
                }
                Err(error) => tracing::debug!(%operation, %error, "no reply"),
            }
            reply
        }
        .boxed()
    }

    fn connect(&self) -> BoxFuture<'static, Result<Box<dyn Socket>, TransportError>> {
        let inner = self.inner.clone();
        async move {
            let socket = present::connect(&inner).await;
            match &socket {
                Ok(_) => tracing::debug!("realtime socket open"),
                Err(error) => tracing::debug!(%error, "no realtime socket"),
            }
            socket
        }
        .boxed()
    }

    fn authorize(&self, payload: &str) -> BoxFuture<'static, Result<Credentials, TransportError>> {
        let (inner, payload) = (self.inner.clone(), payload.to_owned());
        async move { present::for_start(&inner, None, &payload, 0).await }.boxed()
    }

    fn authorize_start(
        &self,
        subject: &Subject,
        payload: &str,
        attempt: u32,
    ) -> BoxFuture<'static, Result<Credentials, TransportError>> {
        let (inner, subject, payload) = (self.inner.clone(), subject.clone(), payload.to_owned());
        async move { present::for_start(&inner, Some(&subject), &payload, attempt).await }.boxed()
    }

    fn connection_refused(&self) {
        self.inner.presenting.connection_refused();
    }

    fn endpoint(&self) -> &str {
        self.inner.endpoint.url().as_str()
    }
}

/// Sends a request with those credentials.
pub(crate) async fn send(
    inner: &Inner,
    request: &HttpRequest,
    held: &Held,
) -> Result<HttpResponse, TransportError> {
    let url = inner.endpoint.url();
    let call = Call {
        url,
        host: &inner.host,
        region: &inner.endpoint.region,
        body: &request.body,
        ahead_ms: inner.clock.ahead_ms(),
    };
    let mut post = inner
        .requests
        .post(url.clone())
        .header(CONTENT_TYPE, HeaderValue::from_static(BODY_TYPE))
        .header(ACCEPT, HeaderValue::from_static("application/json"));
    for (name, value) in held.headers(&call)? {
        post = post.header(name, value);
    }
    let reply = post.body(request.body.clone()).send().await.map_err(failure)?;
    let status = reply.status().as_u16();
    let retry_after_ms = retry_after_ms(reply.headers());
    inner.clock.note(reply.headers());
    let body = read_body(reply).await?;
    Ok(HttpResponse {
        status,
        retry_after_ms,
        body,
    })
}

async fn read_body(mut reply: Response) -> Result<Vec<u8>, TransportError> {
    let too_large = || {
        let reason = format!("the reply is larger than {REPLY_BYTES_MAX} bytes; ask for smaller pages");
        TransportError::Interrupted { reason }
    };
    let announced = reply
        .content_length()
        .map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced > REPLY_BYTES_MAX {
        return Err(too_large());
    }
    let mut body = Vec::with_capacity(announced.min(REPLY_BYTES_FIRST));
    while let Some(chunk) = reply.chunk().await.map_err(failure)? {
        if body.len() + chunk.len() > REPLY_BYTES_MAX {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Sorts a client's error by whether the request can have reached the server.
pub(crate) fn failure(error: reqwest::Error) -> TransportError {
    if error.is_connect() {
        TransportError::Unreachable {
            reason: reason(error),
        }
    } else if error.is_builder() {
        TransportError::Misconfigured {
            reason: reason(error),
        }
    } else {
        TransportError::Interrupted {
            reason: reason(error),
        }
    }
}

/// The whole chain of causes, without the address.
fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !reason.ends_with(&cause_text) {
            reason = format!("{reason}: {cause_text}");
        }
        source = cause.source();
    }
    reason
}

#[cfg(test)]
mod tests;
