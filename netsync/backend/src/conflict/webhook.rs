//! A conflict handler behind a URL: AppSync's Lambda payloads over HTTP.
//!
//! Owns the HTTP client and its bounds. What is sent and answered is in `handler.rs`.
#![allow(
    clippy::disallowed_methods,
    reason = "this file is a shell around the real world: its calls run on a runtime that is handed in"
)]

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use tokio::runtime::Handle;

use super::handler::{ConflictCall, ConflictHandler, HandlerFailed, Resolution};
use crate::error::BackendError;

/// How long a handler may take; AppSync gives a conflict handler ten seconds.
pub const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest answer that is read: Lambda's own limit is 6 MB.
const ANSWER_BYTES_MAX: usize = 6 * 1024 * 1024;

/// Sends conflicts to a URL and does what is answered.
///
/// The call blocks the thread that runs the mutation until the answer is there, so that thread must not be one that the
/// runtime needs to make progress; [`serve`](crate::serve) sees to that.
#[derive(Clone, Debug)]
pub struct ConflictWebhook {
    client: Client,
    url: Url,
    timeout: Duration,
    runtime: Handle,
}

impl ConflictWebhook {
    /// A handler that posts to a URL, on a runtime with threads of its own.
    ///
    /// # Errors
    /// [`BackendError::Webhook`] if the URL is none of HTTP, or no client can be made.
    pub fn new(url: &str, timeout: Duration, runtime: Handle) -> Result<Self, BackendError> {
        let failed = |reason: String| BackendError::Webhook { reason };
        let url = Url::parse(url).map_err(|error| failed(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(failed("it must begin with http:// or https://".to_owned()));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(error.to_string()))?;
        let tls = if url.scheme() == "https" {
            let verifier = rustls_platform_verifier::Verifier::new(provider)
                .map_err(|error| failed(error.to_string()))?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
                .with_no_client_auth()
        } else {
            // A client that talks plain HTTP needs no certificates on the machine, and trusts none.
            builder
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth()
        };
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("landfall/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .referer(false)
            .build()
            .map_err(|error| failed(error.without_url().to_string()))?;
        Ok(Self {
            client,
            url,
            timeout,
            runtime,
        })
    }
}

impl ConflictHandler for ConflictWebhook {
    fn resolve(&self, call: &ConflictCall) -> Result<Resolution, HandlerFailed> {
        let event = serde_json::to_vec(call).expect("maps of JSON can be written to memory");
        let (answer, answered) = mpsc::sync_channel(1);
        let (client, url, timeout) = (self.client.clone(), self.url.clone(), self.timeout);
        self.runtime.spawn(async move {
            let done = tokio::time::timeout(timeout, post(client, url, event)).await;
            let late = || HandlerFailed::new("the conflict handler did not answer in time");
            // The caller waits as long as this task lives.
            let _ = answer.send(done.unwrap_or_else(|_| Err(late())));
        });
        let answer = answered
            .recv()
            .map_err(|_| HandlerFailed::new("the conflict handler was not called: the server stops"))??;
        Resolution::from_json(&answer)
    }
}

/// Posts an event; texts of failures leave the URL out, as it may hold a secret.
async fn post(client: Client, url: Url, event: Vec<u8>) -> Result<Vec<u8>, HandlerFailed> {
    let failed = |error: reqwest::Error| {
        tracing::warn!(error = %error.without_url(), "the conflict handler could not be reached");
        HandlerFailed::new("the conflict handler could not be reached")
    };
    let request = client
        .post(url)
        .header(CONTENT_TYPE, "application/json")
        .body(event);
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status();
    if !status.is_success() {
        let reason = format!("the conflict handler answered with status {}", status.as_u16());
        return Err(HandlerFailed::new(reason));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(HandlerFailed::new("the conflict handler's answer is too long"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests;
