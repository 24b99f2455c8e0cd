//! A slow line to a server: what is sent arrives after a while, in both directions, however much it is.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::bench::rows::report;

/// Pieces on their way at most, in one direction of one connection; the sender waits beyond that.
const PIECES_MAX: usize = 1_024;

/// Largest piece.
const PIECE_BYTES: usize = 64 * 1024;

/// Accepts connections and passes them on, slowly.
pub(super) struct SlowLine {
    pub(super) address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl SlowLine {
    /// A line to `server` on which each way takes so long.
    pub(super) async fn to(server: SocketAddr, each_way: Duration) -> miette::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(report)?;
        let address = listener.local_addr().map_err(report)?;
        let accepting = tokio::spawn(async move {
            // A connection that fails is the client's to notice; the next one is accepted.
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(server).await else {
                    continue;
                };
                for stream in [&near, &far] {
                    stream.set_nodelay(true).unwrap_or(());
                }
                let ((near_reads, near_writes), (far_reads, far_writes)) =
                    (near.into_split(), far.into_split());
                tokio::spawn(carry(near_reads, far_writes, each_way));
                tokio::spawn(carry(far_reads, near_writes, each_way));
            }
        });
        Ok(Self { address, accepting })
    }

    /// Accepts no more connections; those that are open end with their peers.
    pub(super) fn close(self) {
        self.accepting.abort();
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    each_way: Duration,
) {
    let (sender, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES_MAX);
    let arrive = async move {
        while let Some((due, piece)) = under_way.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        to.shutdown().await.unwrap_or(());
    };
    let depart = async move {
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(length @ 1..) = from.read(&mut piece).await {
            let due = Instant::now() + each_way;
            if sender.send((due, piece[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(arrive, depart);
}
