//! How a served backend is hosted: address, TLS, origins, metrics, logs.
//!
//! Owns the flags for it and what they mean together. What is served is the business of `serve.rs`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use clap::Args;
use landfall_backend::{ApiKey, FaultCommand, ServeOptions, TlsIdentity};

use crate::logging::{LogFormat, LogLevel};

/// The key that is used when none is given; known to everybody, so it is for this machine only.
pub(crate) const WELL_KNOWN_API_KEY: &str = "da2-landfall";

/// How a backend is hosted.
#[derive(Debug, Args)]
pub(crate) struct Hosting {
    /// Address to listen on; by default only this machine can reach it.
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Certificate chain (PEM) to serve HTTPS and WSS with.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key (PEM) of the certificate.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Origin whose pages may call, such as https://app.example.com; repeat it for more. By default any may, and with
    /// the well-known key those of this machine.
    #[arg(long, value_name = "ORIGIN", value_parser = super::given::origin)]
    cors_origin: Vec<String>,
    /// Most calls in a second, of all callers together; those beyond are answered 429. By default there is no bound.
    #[arg(long, value_name = "CALLS_PER_SECOND", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) throttle: Option<u32>,
    /// Most sockets of one address at once; raise it behind a proxy on another machine.
    #[arg(long, value_name = "SOCKETS", default_value_t = ServeOptions::default().sockets_per_address_max)]
    sockets_per_address: usize,
    /// Answer /metrics for Prometheus.
    #[arg(long)]
    metrics: bool,
    /// A server to develop against: a page to explore the API at /, the tables, faults on demand. It listens on this
    /// machine only.
    #[arg(long)]
    dev: bool,
    /// Something that goes wrong from the start, such as fail=503*3 or delay=200*all; repeat it for more.
    #[arg(long, value_name = "FAULT", requires = "dev")]
    pub(crate) fault: Vec<FaultCommand>,
    /// Form of the log on standard error.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// What is logged; `info` has a line for each call. LANDFALL_LOG says it in more detail.
    #[arg(long, value_enum, default_value_t = LogLevel::Warn)]
    pub(crate) log_level: LogLevel,
}

impl Hosting {
    pub(crate) fn host(&self) -> IpAddr {
        self.host
    }

    /// Whether keys and tokens go over the network as they are.
    pub(crate) fn is_in_the_clear(&self) -> bool {
        !self.host.is_loopback() && self.tls_cert.is_none()
    }

    pub(crate) fn is_development(&self) -> bool {
        self.dev
    }

    /// The options of the server; refuses what is not safe together.
    pub(crate) fn options(&self, api_keys: &[ApiKey]) -> miette::Result<ServeOptions> {
        if !self.host.is_loopback() && api_keys.contains(&ApiKey::new(WELL_KNOWN_API_KEY)) {
            return Err(miette::miette!(
                "everybody knows the key {WELL_KNOWN_API_KEY}; give one of your own (--api-key or LANDFALL_API_KEY) to be \
                 reached from other machines"
            ));
        }
        if self.dev && !self.host.is_loopback() {
            return Err(miette::miette!(
                "a server to develop against (--dev) listens on this machine only; leave --host out, or --dev"
            ));
        }
        let mut options = ServeOptions::default();
        options.sockets_per_address_max = self.sockets_per_address;
        // Every page that is open in a browser knows that key too.
        options.local_pages_only = self.dev || api_keys.contains(&ApiKey::new(WELL_KNOWN_API_KEY));
        options.development = self.dev;
        options.metrics = self.metrics || self.dev;
        if !self.cors_origin.is_empty() {
            options.origins = Some(self.cors_origin.clone());
        }
        if let (Some(chain), Some(key)) = (&self.tls_cert, &self.tls_key) {
            let identity = TlsIdentity::from_pem(&read(chain)?, &read(key)?);
            options.tls = Some(identity.map_err(|error| miette::miette!("{error}"))?);
        }
        Ok(options)
    }
}

fn read(path: &Path) -> miette::Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| miette::miette!("cannot read {}: {error}", path.display()))
}
