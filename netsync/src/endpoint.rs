//! Which server to talk to, and how.
//!
//! Owns [`Endpoint`], the configuration of a transport, and its checks. Opens nothing.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use landfall_wire::{Subject, realtime_url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use url::{ParseError, Url};

use crate::authorization::Authorization;
use crate::error::NetsyncError;
use crate::strategy::{AuthMode, AuthStrategy};

/// How long each step may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the name lookup to the end of the TLS handshake.
    pub connect: Duration,
    /// From sending a request to the last byte of its reply; AppSync itself stops after 30 seconds.
    pub request: Duration,
    /// From the upgrade request of a realtime socket to the server's agreement.
    pub handshake: Duration,
}

/// Whether requests go through the proxy that the system names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyUse {
    /// Through the proxy of the system's settings or of `HTTPS_PROXY` and its kin, if there is one.
    #[default]
    System,
    /// Straight to the server.
    Direct,
}

/// A GraphQL server and how to reach it.
///
/// ```
/// use landfall_netsync::{Authorization, Endpoint};
///
/// let endpoint = Endpoint::new("https://example.com/graphql", Authorization::api_key("da2-x")).unwrap();
/// assert_eq!(endpoint.realtime().as_str(), "wss://example.com/graphql/realtime");
/// ```
#[derive(Clone)]
pub struct Endpoint {
    pub(crate) url: Url,
    pub(crate) realtime_url: Url,
    /// Ways to prove who asks, the default one first; never empty.
    pub(crate) ways: Vec<(AuthMode, Authorization)>,
    pub(crate) strategy: Option<Arc<dyn AuthStrategy>>,
    /// The AWS region, for signatures; empty if it is not known.
    pub(crate) region: String,
    pub(crate) timeouts: Timeouts,
    pub(crate) proxy: ProxyUse,
    pub(crate) trusted: Vec<CertificateDer<'static>>,
}

impl Default for Timeouts {
    /// 10 s to connect, 30 s for a request, 15 s for a handshake.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            request: Duration::from_secs(30),
            handshake: Duration::from_secs(15),
        }
    }
}

impl Endpoint {
    /// The GraphQL server at `url`, `http` or `https`; its realtime address follows from it.
    ///
    /// # Errors
    /// [`NetsyncError::BadUrl`], or [`NetsyncError::BadSecret`] for a key that no header can carry.
    pub fn new(url: &str, authorization: Authorization) -> Result<Self, NetsyncError> {
        authorization.check()?;
        let mode = match &authorization {
            Authorization::ApiKey(_) => AuthMode::ApiKey,
            Authorization::Token(_) => AuthMode::UserPool,
            Authorization::Iam(_) => AuthMode::Iam,
        };
        let url = parse("endpoint", url, ["http", "https"])?;
        let realtime_url = realtime_url(&url).map_err(|error| NetsyncError::BadUrl {
            which: "realtime",
            reason: error.to_string(),
        })?;
        Ok(Self {
            region: region_of(url.host_str().unwrap_or_default()).to_owned(),
            url,
            realtime_url,
            ways: vec![(mode, authorization)],
            strategy: None,
            timeouts: Timeouts::default(),
            proxy: ProxyUse::default(),
            trusted: Vec::new(),
        })
    }

    /// The same with another realtime address, `ws` or `wss`.
    ///
    /// # Errors
    /// [`NetsyncError::BadUrl`].
    pub fn with_realtime_url(mut self, url: &str) -> Result<Self, NetsyncError> {
        self.realtime_url = parse("realtime", url, ["ws", "wss"])?;
        Ok(self)
    }

    /// The same, in this AWS region; needed for signatures if the API has a domain of its own.
    #[must_use]
    pub fn with_region(mut self, region: &str) -> Self {
        region.clone_into(&mut self.region);
        self
    }

    /// The same, taking the default authorization for this mode. Without this a token counts as one of a user pool.
    #[must_use]
    pub fn with_default_mode(mut self, mode: AuthMode) -> Self {
        self.ways[0].0 = mode;
        self
    }

    /// The same with another way to prove who asks, for whoever chooses by a [`strategy`](Self::with_strategy).
    ///
    /// # Errors
    /// [`NetsyncError::BadSecret`] for a key that no header can carry.
    pub fn with_authorization(
        mut self,
        mode: AuthMode,
        authorization: Authorization,
    ) -> Result<Self, NetsyncError> {
        authorization.check()?;
        self.ways.retain(|(known, _)| *known != mode);
        self.ways.push((mode, authorization));
        Ok(self)
    }

    /// The same, choosing among several ways to prove who asks by model and operation. What the server refuses is asked
    /// again in the next way, and a way that worked is tried first from then on.
    #[must_use]
    pub fn with_strategy(mut self, strategy: Arc<dyn AuthStrategy>) -> Self {
        self.strategy = Some(strategy);
        self
    }

    /// The ways to try for that, best first; never empty.
    pub(crate) fn ways_for(&self, subject: Option<&Subject>) -> Vec<&(AuthMode, Authorization)> {
        let modes = match (&self.strategy, subject) {
            (Some(strategy), Some(subject)) => strategy.modes(subject),
            _ => Vec::new(),
        };
        let found: Vec<_> = modes
            .iter()
            .filter_map(|mode| self.ways.iter().find(|(known, _)| known == mode))
            .collect();
        if found.is_empty() {
            self.ways.iter().take(1).collect()
        } else {
            found
        }
    }

    /// Checks what only the whole configuration tells.
    pub(crate) fn check(&self) -> Result<(), NetsyncError> {
        let signs = self
            .ways
            .iter()
            .any(|(_, authorization)| matches!(authorization, Authorization::Iam(_)));
        if signs && self.region.is_empty() {
            return Err(NetsyncError::NoRegion);
        }
        Ok(())
    }

    /// The same with other time limits.
    #[must_use]
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// The same with another use of proxies.
    #[must_use]
    pub fn with_proxy(mut self, proxy: ProxyUse) -> Self {
        self.proxy = proxy;
        self
    }

    /// The same, trusting these certificate authorities beside the system's: for a backend with a private authority.
    ///
    /// # Errors
    /// [`NetsyncError::BadCertificate`] if the text holds no PEM certificate, or a broken one.
    pub fn with_trusted_pem(mut self, pem: &[u8]) -> Result<Self, NetsyncError> {
        let refused = |reason: String| NetsyncError::BadCertificate { reason };
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| refused(error.to_string()))?;
        if certificates.is_empty() {
            return Err(refused("there is none in the text".to_owned()));
        }
        self.trusted.extend(certificates);
        Ok(self)
    }

    /// The address for requests.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The address for realtime sockets.
    pub fn realtime(&self) -> &Url {
        &self.realtime_url
    }

    /// The server's host as credentials name it: with the port if that is not the scheme's own.
    pub(crate) fn host(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url
            .port()
            .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &self.url.as_str())
            .field("realtime_url", &self.realtime_url.as_str())
            .field("ways", &self.ways)
            .field("timeouts", &self.timeouts)
            .field("proxy", &self.proxy)
            .field("trusted", &self.trusted.len())
            .finish()
    }
}

/// The region in the host of an AppSync API; empty if there is none.
fn region_of(host: &str) -> &str {
    let aws = host
        .strip_suffix(".amazonaws.com")
        .or_else(|| host.strip_suffix(".amazonaws.com.cn"));
    aws.and_then(|rest| rest.split_once(".appsync-api."))
        .map_or("", |(_, region)| region)
}

/// Reads an address. Its text is not repeated in errors, since it may hold a password.
fn parse(which: &'static str, text: &str, schemes: [&str; 2]) -> Result<Url, NetsyncError> {
    let refused = |reason: String| NetsyncError::BadUrl { which, reason };
    let no_scheme = || {
        let [plain, secure] = schemes;
        refused(format!("it must start with {plain}:// or {secure}://"))
    };
    let url = Url::parse(text.trim()).map_err(|error| match error {
        ParseError::RelativeUrlWithoutBase => no_scheme(),
        error => refused(error.to_string()),
    })?;
    if !schemes.contains(&url.scheme()) {
        return Err(no_scheme());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused(
            "it holds a name or password; give credentials as an authorization".to_owned(),
        ));
    }
    if url.fragment().is_some() {
        return Err(refused(
            "it holds a fragment (#), which servers never see".to_owned(),
        ));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use landfall_wire::Access;

    use super::*;

    fn endpoint(url: &str) -> Result<Endpoint, NetsyncError> {
        Endpoint::new(url, Authorization::api_key("da2-secret"))
    }

    #[test]
    fn addresses_that_cannot_work_are_refused_with_a_reason() {
        let cases = [
            (
                "graphql",
                "the endpoint URL cannot be used: it must start with http:// or https://",
            ),
            (
                "127.0.0.1:8080/graphql",
                "the endpoint URL cannot be used: it must start with http:// or https://",
            ),
            (
                "localhost:8080/graphql",
                "the endpoint URL cannot be used: it must start with http:// or https://",
            ),
            (
                "ftp://example.com",
                "the endpoint URL cannot be used: it must start with http:// or https://",
            ),
            (
                "https://me:pass@example.com",
                "the endpoint URL cannot be used: it holds a name or password; give credentials as an authorization",
            ),
            (
                "https://example.com/#x",
                "the endpoint URL cannot be used: it holds a fragment (#), which servers never see",
            ),
        ];
        for (url, message) in cases {
            let error = endpoint(url).expect_err(url).to_string();
            assert_eq!(error, message);
        }
        let realtime = endpoint("https://example.com")
            .expect("good")
            .with_realtime_url("https://example.com");
        assert!(realtime.is_err());
    }

    #[test]
    fn the_realtime_address_follows_or_is_given() {
        let aws = endpoint("https://abc.appsync-api.eu-west-1.amazonaws.com/graphql").expect("good");
        assert_eq!(
            aws.realtime().as_str(),
            "wss://abc.appsync-realtime-api.eu-west-1.amazonaws.com/graphql"
        );
        let given = aws.with_realtime_url("ws://localhost:9/x").expect("good");
        assert_eq!(given.realtime().as_str(), "ws://localhost:9/x");
    }

    #[test]
    fn a_signature_needs_a_region_which_an_appsync_host_names() {
        let sign = || {
            Authorization::iam(crate::AwsCredentials {
                access_key_id: "AKID".into(),
                secret_access_key: "hidden".into(),
                session_token: None,
            })
        };
        let aws = Endpoint::new("https://abc.appsync-api.eu-west-1.amazonaws.com/graphql", sign());
        let aws = aws.expect("good");
        assert_eq!((aws.region.as_str(), aws.check()), ("eu-west-1", Ok(())));
        let own = Endpoint::new("https://example.com/graphql", sign()).expect("good");
        assert_eq!(own.check(), Err(NetsyncError::NoRegion));
        assert_eq!(own.with_region("eu-west-1").check(), Ok(()));
    }

    #[test]
    fn a_strategy_chooses_among_the_ways_that_there_are() {
        let strategy = |subject: &Subject| match subject.access {
            Access::Read => vec![AuthMode::Iam, AuthMode::UserPool, AuthMode::ApiKey],
            _ => vec![AuthMode::Lambda],
        };
        let endpoint = endpoint("https://example.com/")
            .expect("good")
            .with_authorization(AuthMode::UserPool, Authorization::fixed_token("t"))
            .expect("good")
            .with_strategy(Arc::new(strategy));
        let modes = |access| {
            let model = "Post".into();
            let ways = endpoint.ways_for(Some(&Subject { model, access }));
            ways.into_iter().map(|(mode, _)| *mode).collect::<Vec<_>>()
        };
        assert_eq!(modes(Access::Read), [AuthMode::UserPool, AuthMode::ApiKey]);
        assert_eq!(modes(Access::Create), [AuthMode::ApiKey], "the default");
    }

    #[test]
    fn credentials_name_the_port_only_where_it_is_unusual() {
        assert_eq!(
            endpoint("https://example.com:443/x").expect("good").host(),
            "example.com"
        );
        assert_eq!(
            endpoint("http://localhost:8080/x").expect("good").host(),
            "localhost:8080"
        );
    }

    #[test]
    fn trusted_certificates_are_read_from_pem() {
        let endpoint = endpoint("https://localhost/").expect("good");
        let trusting = endpoint
            .clone()
            .with_trusted_pem(crate::testing::CA_PEM)
            .expect("good");
        assert_eq!(trusting.trusted.len(), 1);
        assert!(matches!(
            endpoint.with_trusted_pem(b"nothing"),
            Err(NetsyncError::BadCertificate { .. })
        ));
    }

    #[test]
    fn debug_output_hides_the_key() {
        assert!(!format!("{:?}", endpoint("https://example.com").expect("good")).contains("secret"));
    }
}
