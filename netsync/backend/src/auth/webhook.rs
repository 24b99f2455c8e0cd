//! An authorizer behind a URL.
//!
//! Owns [`Webhook`]: one POST for each token that is not known yet, bounded in time and length. What is sent and
//! understood is in `authorizer.rs`.

use std::time::Duration;

use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use tokio::runtime::Handle;

use super::authorizer::{Authorizer, AuthorizerAnswer, AuthorizerFault, AuthorizerRequest};

/// How long an answer may take; AppSync gives its authorizers 10 seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer, in bytes; AppSync lets the context be 5 MB.
const ANSWER_BYTES_MAX: usize = 5 * 1024 * 1024;

/// Asks a URL: it is sent the event of AppSync's Lambda authorizers as JSON, and answers as these do, with status 200.
///
/// Redirects are not followed, as they would carry tokens elsewhere.
#[derive(Clone, Debug)]
pub struct Webhook {
    url: Url,
    client: reqwest::Client,
    runtime: Handle,
}

impl Webhook {
    /// An authorizer at that URL (`http` or `https`), asked on that tokio runtime.
    ///
    /// # Errors
    /// [`AuthorizerFault`] if the URL cannot be used or the system has no trusted certificates.
    pub fn new(url: &str, runtime: Handle) -> Result<Self, AuthorizerFault> {
        let fault = |cause: String| AuthorizerFault { cause };
        let url = Url::parse(url).map_err(|error| fault(format!("`{url}` is no URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(fault("its URL must begin with http:// or https://".to_owned()));
        }
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(url.scheme() == "https")?)
            .user_agent(concat!("landfall/", env!("CARGO_PKG_VERSION")))
            .timeout(ANSWER_TIMEOUT)
            .redirect(Policy::none())
            .referer(false)
            .build()
            .map_err(|error| fault(error.to_string()))?;
        Ok(Self { url, client, runtime })
    }

    async fn ask(&self, body: Vec<u8>) -> Result<AuthorizerAnswer, String> {
        let failed = |error: reqwest::Error| error.without_url().to_string();
        let call = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        let mut response = call.send().await.map_err(failed)?;
        if response.status() != 200 {
            return Err(format!("it answered with status {}", response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(format!("its answer has more than {ANSWER_BYTES_MAX} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body).map_err(|_| "its answer is none of an authorizer".to_owned())
    }
}

impl Authorizer for Webhook {
    fn authorize(&self, request: &AuthorizerRequest) -> Result<AuthorizerAnswer, AuthorizerFault> {
        let fault = |cause: String| AuthorizerFault { cause };
        let body = serde_json::to_vec(request).map_err(|error| fault(error.to_string()))?;
        self.runtime.block_on(self.ask(body)).map_err(fault)
    }
}

/// TLS with the system's certificates and a crypto provider of its own, so that the app's does not matter.
fn tls(needed: bool) -> Result<rustls::ClientConfig, AuthorizerFault> {
    let fault = |error: rustls::Error| AuthorizerFault {
        cause: error.to_string(),
    };
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(fault)?;
    if !needed {
        // Plain HTTP works on systems without any certificate, and trusts none.
        return Ok(builder
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth());
    }
    let verifier = rustls_platform_verifier::Verifier::new(provider).map_err(fault)?;
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(std::sync::Arc::new(verifier))
        .with_no_client_auth())
}

#[cfg(test)]
mod tests;
