//! Servers for the tests of this crate: bytes in, bytes out, on a loopback port.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::{Authorization, Endpoint, HttpTransport, ProxyUse, Timeouts};

pub(crate) const CA_PEM: &[u8] = include_bytes!("../fixtures/ca.pem");
const LOCALHOST_PEM: &[u8] = include_bytes!("../fixtures/localhost.pem");

/// The server's end of a TLS connection.
pub(crate) type TlsStream = rustls::StreamOwned<rustls::ServerConnection, std::net::TcpStream>;

/// A key that must not turn up anywhere but on the wire.
pub(crate) const KEY: &str = "da2-secret";

/// A server that treats its first connection as told; resolves to what that resolved to.
pub(crate) async fn serve<F, T>(
    treat: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> (String, JoinHandle<T>)
where
    F: Future<Output = T> + Send,
    T: Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    #[expect(
        clippy::disallowed_methods,
        reason = "the other end of a real connection needs a task of its own"
    )]
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        treat(stream).await
    });
    (format!("http://{address}/graphql"), server)
}

/// A transport to that address which gives up soon.
pub(crate) fn transport(url: &str) -> HttpTransport {
    HttpTransport::new(endpoint(url)).expect("a transport")
}

pub(crate) fn endpoint(url: &str) -> Endpoint {
    let timeouts = Timeouts {
        connect: Duration::from_secs(5),
        request: Duration::from_secs(20),
        handshake: Duration::from_secs(5),
    };
    let endpoint = Endpoint::new(url, Authorization::api_key(KEY)).expect("a good endpoint");
    endpoint.with_timeouts(timeouts).with_proxy(ProxyUse::Direct)
}

/// Reads one HTTP request to the end of its body.
pub(crate) async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .filter_map(|line| {
                    line.to_ascii_lowercase()
                        .strip_prefix("content-length:")?
                        .trim()
                        .parse()
                        .ok()
                })
                .next()
                .unwrap_or(0);
            if body.len() >= length {
                return text;
            }
        }
        let mut chunk = [0; 4_096];
        match stream.read(&mut chunk).await {
            Ok(count) if count > 0 => bytes.extend_from_slice(&chunk[..count]),
            _ => return text,
        }
    }
}

/// Writes until done or until the client has had enough.
pub(crate) async fn write(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok()
}

/// A TLS server on `localhost` that treats each of its connections as told, one after another.
pub(crate) fn serve_tls(
    connections: usize,
    treat: impl Fn(TlsStream) + Send + 'static,
) -> (String, std::thread::JoinHandle<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!(
        "https://localhost:{}/graphql",
        listener.local_addr().expect("an address").port()
    );
    let certificates = CertificateDer::pem_slice_iter(LOCALHOST_PEM)
        .collect::<Result<Vec<_>, _>>()
        .expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(LOCALHOST_PEM).expect("PEM");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .expect("a matching key");
    let config = Arc::new(config);
    #[expect(
        clippy::disallowed_methods,
        reason = "rustls is blocking; it gets a thread of its own"
    )]
    let server = std::thread::spawn(move || {
        for stream in listener.incoming().take(connections) {
            let connection = rustls::ServerConnection::new(config.clone()).expect("a connection");
            treat(rustls::StreamOwned::new(connection, stream.expect("a client")));
        }
    });
    (url, server)
}
