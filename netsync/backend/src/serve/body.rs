//! Reading the bodies of requests, and keeping replies until they are read, within bounds.
//!
//! Owns [`Budget`], the room that bodies share, and the reading of one body. Invariant: what is held is never more
//! than the budget; the place of a body is given back when its [`Taken`] is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use futures_util::StreamExt;

use crate::http::Refusal;

/// Most bytes that are read and thrown away after a body proved too long, so that its sender gets to read the answer.
const DISCARD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The answer while there is no room.
const NO_ROOM: Refusal = Refusal::Shell(429, "ThrottlingException", "Rate exceeded");

/// The answer to a body that breaks off.
const BROKEN: Refusal = Refusal::Shell(
    400,
    "MalformedHttpRequestException",
    "The request body is incomplete.",
);

/// Room for bodies, in bytes.
#[derive(Debug)]
pub(super) struct Budget {
    left: AtomicUsize,
}

/// A reply that waits to be written, and its place.
#[derive(Debug)]
struct Held {
    bytes: Bytes,
    _place: Place,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Takes room for a reply until it is written; `None` if there is none.
pub(super) fn hold(bytes: Bytes, budget: &Arc<Budget>) -> Option<Bytes> {
    let place = Place::take(budget, bytes.len())?;
    Some(Bytes::from_owner(Held { bytes, _place: place }))
}

/// A body that was read, and its place.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) bytes: Bytes,
    /// Kept for as long as the bytes are.
    _place: Place,
    _of_address: Option<Place>,
}

/// Room that is taken.
#[derive(Debug)]
pub(super) struct Place {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            left: AtomicUsize::new(bytes),
        }
    }
}

impl Place {
    /// Takes room; `None` if there is not enough.
    pub(super) fn take(budget: &Arc<Budget>, bytes: usize) -> Option<Self> {
        let mut place = Self::empty(budget);
        place.widen(bytes).then_some(place)
    }

    fn empty(budget: &Arc<Budget>) -> Self {
        Self {
            budget: Arc::clone(budget),
            bytes: 0,
        }
    }

    /// Takes more room; says whether there was enough.
    fn widen(&mut self, bytes: usize) -> bool {
        let taken = self
            .budget
            .left
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
                left.checked_sub(bytes)
            });
        if taken.is_ok() {
            self.bytes += bytes;
        }
        taken.is_ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.bytes, Ordering::AcqRel);
    }
}

/// Reads a body of at most `most` bytes; `of_address` is the room that all bodies of its sender's address share.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    most: usize,
    budget: &Arc<Budget>,
    of_address: Option<&Arc<Budget>>,
) -> Result<Taken, Refusal> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let asks_first = headers.contains_key(header::EXPECT);
    let mut chunks = body.into_data_stream();
    if announced.is_some_and(|length| length > most) {
        if !asks_first {
            discard(&mut chunks).await;
        }
        return Err(Refusal::TooLarge);
    }
    let (mut place, mut of_address) = (Place::empty(budget), of_address.map(Place::empty));
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| BROKEN)?;
        if bytes.len() + chunk.len() > most {
            drop((bytes, place, of_address));
            discard(&mut chunks).await;
            return Err(Refusal::TooLarge);
        }
        let fits_address = of_address.as_mut().is_none_or(|place| place.widen(chunk.len()));
        if !fits_address || !place.widen(chunk.len()) {
            drop((bytes, place, of_address));
            discard(&mut chunks).await;
            return Err(NO_ROOM);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Taken {
        bytes: bytes.into(),
        _place: place,
        _of_address: of_address,
    })
}

/// Throws away the body of a call that is refused by its head.
pub(super) async fn discard_all(body: Body) {
    discard(&mut body.into_data_stream()).await;
}

/// Reads on without keeping anything: a socket that is closed with bytes unread loses the answer on its way.
async fn discard(chunks: &mut axum::body::BodyDataStream) {
    let mut left = DISCARD_BYTES_MAX;
    while let Some(Ok(chunk)) = chunks.next().await {
        match left.checked_sub(chunk.len()) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_text(text: &'static str, most: usize, budget: &Arc<Budget>) -> Result<Taken, Refusal> {
        read(&HeaderMap::new(), Body::from(text), most, budget, None).await
    }

    #[tokio::test]
    async fn the_bodies_of_one_address_leave_room_for_those_of_others() {
        let (all, one) = (Arc::new(Budget::new(20)), Arc::new(Budget::new(5)));
        let of_one =
            async |text: &'static str| read(&HeaderMap::new(), Body::from(text), 8, &all, Some(&one)).await;
        let first = of_one("1234").await.unwrap();
        assert_eq!(of_one("12").await.unwrap_err(), NO_ROOM);
        assert_eq!(
            all.left.load(Ordering::Relaxed),
            16,
            "what is refused holds nothing"
        );
        // Nor does what was read of it before it proved too much.
        let chunks = ["1", "2"].map(|chunk| Ok::<_, std::io::Error>(Bytes::from(chunk)));
        let in_parts = Body::from_stream(futures_util::stream::iter(chunks));
        let refused = read(&HeaderMap::new(), in_parts, 8, &all, Some(&one)).await;
        assert_eq!(refused.unwrap_err(), NO_ROOM);
        let left = |budget: &Budget| budget.left.load(Ordering::Relaxed);
        assert_eq!((left(&all), left(&one)), (16, 1));
        let others = read_text("12345678", 8, &all).await.unwrap();
        drop((first, others));
        of_one("12345").await.unwrap();
        assert_eq!(
            (all.left.load(Ordering::Relaxed), one.left.load(Ordering::Relaxed)),
            (20, 5)
        );
    }

    #[tokio::test]
    async fn bodies_share_their_room_and_give_it_back() {
        let budget = Arc::new(Budget::new(10));
        let first = read_text("1234567", 8, &budget).await.unwrap();
        assert_eq!(first.bytes.as_ref(), b"1234567");
        assert_eq!(budget.left.load(Ordering::Relaxed), 3);
        assert_eq!(read_text("1234", 8, &budget).await.unwrap_err(), NO_ROOM);
        assert!(hold(Bytes::from_static(b"1234"), &budget).is_none());
        let reply = hold(Bytes::from_static(b"12"), &budget).unwrap();
        assert_eq!(
            (reply.as_ref(), budget.left.load(Ordering::Relaxed)),
            (&b"12"[..], 1)
        );
        drop((first, reply));
        read_text("1234", 8, &budget).await.unwrap();
        assert_eq!(
            read_text("123456789", 8, &budget).await.unwrap_err(),
            Refusal::TooLarge
        );
        assert_eq!(budget.left.load(Ordering::Relaxed), 10);
    }
}
