//! Who is let in: sockets, their number, and their end.
//!
//! Owns the listener, TLS and the tasks of sockets, up to the point where a socket becomes a WebSocket. Invariants:
//! 1. there are never more sockets than the options allow; 2. no fault of a socket, and no lack of file descriptors, ends the
//!    server.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::address::{AddressRooms, Addresses};
use super::options::ServeOptions;
use super::patience::{Patience, SocketPlace};
use super::shell::Stop;

/// Longest head of a request, in bytes; it holds the whole request of a GET.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Sockets that are told at the same time that there are too many; others are closed without a word.
const TURNED_AWAY_AT_ONCE: usize = 64;

/// Time for telling a socket that there are too many.
const TURN_AWAY_TIME: Duration = Duration::from_secs(1);

/// Pause after the system refused a socket, such as for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The answer when there are too many sockets.
const TOO_MANY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json;charset=UTF-8\r\n\
    x-amzn-errortype: ServiceUnavailableException\r\nretry-after: 1\r\ncontent-length: 101\r\nconnection: close\r\n\r\n\
    {\"errors\":[{\"errorType\":\"ServiceUnavailableException\",\"message\":\"Too many connections; try again.\"}]}";

/// A server that is about to listen.
pub(super) struct Listening {
    pub(super) listener: TcpListener,
    pub(super) options: Arc<ServeOptions>,
    pub(super) stop: Arc<Stop>,
    /// A place for each socket.
    pub(super) places: Arc<Semaphore>,
    /// How many sockets each address has.
    pub(super) addresses: Addresses,
    /// Ends when the last realtime connection has ended.
    pub(super) sockets: mpsc::Receiver<()>,
}

impl Listening {
    /// Lets sockets in until told to stop, then waits for those that are open.
    pub(super) async fn run(mut self, routes: Router) {
        let mut tasks = JoinSet::new();
        self.accept(&mut tasks, &routes).await;
        drop((self.listener, routes));
        let deadline = Instant::now() + self.options.shutdown_time;
        let finishing = async {
            while tasks.join_next().await.is_some() {}
            // Nothing is ever sent; this ends when the last sender is gone.
            while self.sockets.recv().await.is_some() {}
        };
        if tokio::time::timeout_at(deadline, finishing).await.is_err() {
            tracing::warn!(
                calls = tasks.len(),
                "calls that outlast the shutdown are broken off"
            );
            self.stop.abort();
            tasks.shutdown().await;
            while self.sockets.recv().await.is_some() {}
        }
    }

    async fn accept(&self, tasks: &mut JoinSet<()>, routes: &Router) {
        let mut stopped = self.stop.finished();
        let turned_away = Arc::new(Semaphore::new(TURNED_AWAY_AT_ONCE));
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = tasks.join_next() => continue,
                () = stopped.wait() => return,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    pause_after(&error).await;
                    continue;
                }
            };
            // Closed without a word: telling it would cost what is to be saved.
            let Some(address) = self.addresses.take(peer.ip()) else {
                continue;
            };
            if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
                let place = SocketPlace::new(place, address);
                let (options, stop) = (Arc::clone(&self.options), Arc::clone(&self.stop));
                tasks.spawn(welcome(stream, place, options, stop, routes.clone()));
            } else if self.options.tls.is_none()
                && let Ok(place) = Arc::clone(&turned_away).try_acquire_owned()
            {
                tasks.spawn(turn_away(stream, place));
            }
        }
    }
}

/// A socket that died before it was accepted is nothing; anything else is likely to come again at once.
async fn pause_after(error: &io::Error) {
    let own = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    );
    if !own {
        tracing::error!(%error, "no socket can be accepted; raise the limit of open files if there are too many");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

async fn turn_away(mut stream: TcpStream, _place: OwnedSemaphorePermit) {
    let telling = async {
        // What it says is read first: a socket that is closed with bytes unread loses the answer on its way.
        let mut request = [0; 4 * 1024];
        if stream.read(&mut request).await.is_ok_and(|read| read > 0)
            && stream.write_all(TOO_MANY.as_bytes()).await.is_ok()
        {
            // There is nobody to tell if the client is gone.
            let _ = stream.shutdown().await;
        }
    };
    let _ = tokio::time::timeout(TURN_AWAY_TIME, telling).await;
}

async fn welcome(
    stream: TcpStream,
    place: SocketPlace,
    options: Arc<ServeOptions>,
    stop: Arc<Stop>,
    routes: Router,
) {
    // Replies are written whole; waiting to fill packets would only make them late.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a socket takes no options");
    }
    let rooms = place.rooms();
    let stream = Patience::new(stream, options.stall_time, Some(place));
    let Some(tls) = &options.tls else {
        return talk(stream, rooms, &options, &stop, routes).await;
    };
    match tokio::time::timeout(options.head_time, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => talk(stream, rooms, &options, &stop, routes).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

/// Speaks HTTP on a stream until either side ends, or it becomes a WebSocket.
async fn talk<S>(stream: S, rooms: Option<AddressRooms>, options: &ServeOptions, stop: &Stop, routes: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut stopped = stop.finished();
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |mut request: Request<Incoming>| {
        // Its bodies share a room, which is that of its address.
        if let Some(rooms) = &rooms {
            request.extensions_mut().insert(rooms.clone());
        }
        routes.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(options.head_time)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped.wait() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a socket ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_when_there_are_too_many_is_as_long_as_it_says() {
        let (head, body) = TOO_MANY.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("content-length: {}\r\n", body.len())),
            "{}",
            body.len()
        );
    }

    #[tokio::test]
    async fn whoever_is_welcomed_shares_the_room_of_its_address() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let among_all = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let of_address = Addresses::new(1, 10, 5).take("203.0.113.7".parse().unwrap());
        let place = SocketPlace::new(among_all, of_address.unwrap());
        let routes = Router::new().fallback(|request: axum::extract::Request| async move {
            let rooms = request.extensions().get::<AddressRooms>();
            rooms.is_some().to_string()
        });
        let (options, stop) = (Arc::new(ServeOptions::default()), Arc::new(Stop::new()));
        let welcoming = welcome(stream, place, options, stop, routes);
        let asking = async {
            let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            client.write_all(request).await.unwrap();
            let mut reply = String::new();
            client.read_to_string(&mut reply).await.unwrap();
            reply
        };
        let ((), reply) = tokio::join!(welcoming, asking);
        assert!(reply.ends_with("true"), "{reply}");
    }

    #[tokio::test]
    async fn what_a_socket_asks_knows_the_room_of_its_address() {
        let place = Addresses::new(1, 10, 5)
            .take("203.0.113.7".parse().unwrap())
            .unwrap();
        let routes = Router::new().fallback(|request: axum::extract::Request| async move {
            let rooms = request.extensions().get::<AddressRooms>();
            rooms.is_some().to_string()
        });
        let stop = Stop::new();
        for (rooms, known) in [(place.rooms(), "true"), (None, "false")] {
            let (mut client, socket) = tokio::io::duplex(1_024);
            let options = ServeOptions::default();
            let talking = talk(socket, rooms, &options, &stop, routes.clone());
            let asking = async {
                let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
                client.write_all(request).await.unwrap();
                let mut reply = String::new();
                client.read_to_string(&mut reply).await.unwrap();
                reply
            };
            let ((), reply) = tokio::join!(talking, asking);
            assert!(reply.ends_with(known), "{reply}");
        }
    }
}
