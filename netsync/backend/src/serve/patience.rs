//! A socket that gives up on a peer that does not read.
//!
//! Owns [`Patience`]. Reading has time limits of its own, where it is known what is waited for. Invariant: the place
//! that a socket takes among the server's sockets is given back when the socket is dropped, and not before.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;

use super::address::{AddressPlace, AddressRooms};

/// The places that a socket takes: among all, and among those of its address.
#[derive(Debug)]
pub(super) struct SocketPlace {
    _among_all: OwnedSemaphorePermit,
    of_address: AddressPlace,
}

impl SocketPlace {
    pub(super) fn new(among_all: OwnedSemaphorePermit, of_address: AddressPlace) -> Self {
        Self {
            _among_all: among_all,
            of_address,
        }
    }

    /// The room that the bodies of its address share; `None` if that of all is its own.
    pub(super) fn rooms(&self) -> Option<AddressRooms> {
        self.of_address.rooms()
    }
}

/// A stream whose writes fail once none got on for a while.
#[derive(Debug)]
pub(super) struct Patience<S> {
    stream: S,
    stall_time: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
    _place: Option<SocketPlace>,
}

impl<S> Patience<S> {
    pub(super) fn new(stream: S, stall_time: Duration, place: Option<SocketPlace>) -> Self {
        Self {
            stream,
            stall_time,
            stalled: None,
            _place: place,
        }
    }

    /// Passes on what a write says, or its failure if it waited for too long.
    fn judge<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let stall_time = self.stall_time;
        let timer = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(stall_time)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client does not read",
        )))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patience<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patience<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.judge(cx, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.judge(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.judge(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_write_that_nobody_reads_fails_in_the_end_and_progress_starts_the_time_anew() {
        let (ours, mut theirs) = duplex(8);
        let mut patient = Patience::new(ours, Duration::from_secs(5), None);
        patient.write_all(&[0; 8]).await.unwrap();
        let reading = async {
            for _ in 0..8 {
                tokio::time::advance(Duration::from_secs(4)).await;
                theirs.read_u8().await.unwrap();
            }
            theirs
        };
        let (written, _theirs) = tokio::join!(patient.write_all(&[1; 8]), reading);
        written.unwrap();
        let error = patient.write_all(&[2]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
