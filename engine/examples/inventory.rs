//! Inventory counting: scanners on several threads book stock in and out, and the shelves always add up.
//!
//! Each booking is a transaction over three records: the item, the shelf and the booking itself. Those that collide
//! are done again with what is there then, so no booking is lost and no shelf goes below zero. Another system (an ERP)
//! keeps its own stock by listening to the bookings.
//!
//! Run with `cargo run -p landfall --example inventory`.

use std::collections::BTreeMap;

use landfall::{ChangeKind, DataStore, Error, Observer, TypedPredicate};

landfall::inline_schema!(
    "type Shelf @model { id: ID! @primaryKey pieces: Int! @default(value: \"0\") }
     type Item @model { id: ID! @primaryKey name: String! pieces: Int! @default(value: \"0\") }
     type Booking @model { item: String! @index(name: \"byItem\") shelf: String! pieces: Int! scanner: Int! }"
);

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Books pieces of an item into a shelf, or out of it if negative. Returns whether there were enough.
async fn book(store: &DataStore, scanner: i32, item: &str, shelf: &str, pieces: i32) -> Outcome<bool> {
    let booking = Booking::builder()
        .item(item)
        .shelf(shelf)
        .pieces(pieces)
        .scanner(scanner)
        .build()?;
    let booked = store.transaction(|tx| {
        let (Some(item), Some(shelf)) = (tx.get::<Item>(item)?, tx.get::<Shelf>(shelf)?) else {
            return Ok(false);
        };
        if shelf.pieces + pieces < 0 || item.pieces + pieces < 0 {
            return Ok(false);
        }
        tx.save(&Item::copy_of(&item, |item| item.pieces += pieces))?;
        tx.save(&Shelf::copy_of(&shelf, |shelf| shelf.pieces += pieces))?;
        tx.save(&booking)?;
        Ok::<_, Error>(true)
    });
    Ok(booked.await?)
}
/// The other system, as far as it matters here: the bookings that it was told of.
#[derive(Debug, Default)]
struct Erp {
    /// Item and pieces by booking, so that it does no harm to be told of one twice.
    bookings: BTreeMap<String, (String, i64)>,
    /// How often it had to take over everything, since it was told too slowly.
    taken_over: usize,
}

impl Erp {
    fn book(&mut self, booking: Booking) {
        self.bookings
            .insert(booking.id, (booking.item, i64::from(booking.pieces)));
    }

    fn pieces(&self) -> i64 {
        self.bookings.values().map(|(_, pieces)| pieces).sum()
    }
}

/// Keeps the other system up to date.
struct Mirror {
    store: DataStore,
    bookings: Observer<Booking>,
    erp: Erp,
}

impl Mirror {
    /// Listens first, then takes over what there is, so that nothing is left out between the two.
    async fn begin(store: &DataStore) -> Outcome<Self> {
        let bookings = store.observe(TypedPredicate::<Booking>::all()).await?;
        let mut mirror = Self {
            store: store.clone(),
            bookings,
            erp: Erp::default(),
        };
        mirror.take_over()?;
        Ok(mirror)
    }

    fn take_over(&mut self) -> Outcome {
        for booking in self.store.query(TypedPredicate::<Booking>::all())? {
            self.erp.book(booking);
        }
        Ok(())
    }

    /// Passes on what has happened since it was last asked.
    fn catch_up(&mut self) -> Outcome {
        while let Some(change) = self.bookings.try_next() {
            match change {
                // A booking is never changed; what was booked in error is booked back.
                Ok(change) if change.kind == ChangeKind::Insert => self.erp.book(change.element),
                Ok(_) => {}
                Err(Error::FellBehind { .. }) => {
                    self.erp.taken_over += 1;
                    self.take_over()?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// What is left after all scanners are done.
#[derive(Debug, PartialEq)]
struct Count {
    in_items: i64,
    on_shelves: i64,
    booked: i64,
    in_erp: i64,
    bookings: u64,
    refused: usize,
}

async fn play(store: &DataStore) -> Outcome<Count> {
    const ITEMS: [&str; 3] = ["rope", "buoy", "anchor"];
    const SHELVES: [&str; 2] = ["A1", "B2"];
    let items = ITEMS.map(|id| Item::builder().id(id).name(id).build());
    store
        .save_all(items.into_iter().collect::<Result<Vec<_>, _>>()?)
        .await?;
    let shelves = SHELVES.map(|id| Shelf::builder().id(id).build());
    store
        .save_all(shelves.into_iter().collect::<Result<Vec<_>, _>>()?)
        .await?;

    let mut mirror = Mirror::begin(store).await?;
    let scanners = (0..4_i32).map(|scanner| async move {
        let mut refused = 0;
        for round in 0..25_i32 {
            let item = ITEMS[usize::try_from((scanner + round) % 3)?];
            let shelf = SHELVES[usize::try_from(round % 2)?];
            let pieces = if round % 3 == 2 { -4 } else { 3 };
            if !book(store, scanner, item, shelf, pieces).await? {
                refused += 1;
            }
        }
        Outcome::Ok(refused)
    });
    let refused: usize = futures_util::future::try_join_all(scanners)
        .await?
        .into_iter()
        .sum();

    mirror.catch_up()?;

    for (item, pieces) in store
        .aggregate(TypedPredicate::<Booking>::all())?
        .group_by(Booking::item())
        .sum(Booking::pieces())?
    {
        println!("{item}: {} pieces", pieces.unwrap_or(0));
    }
    let bookings = store.aggregate(TypedPredicate::<Booking>::all())?;
    Ok(Count {
        in_items: store
            .aggregate(TypedPredicate::all())?
            .sum(Item::pieces())?
            .unwrap_or(0),
        on_shelves: store
            .aggregate(TypedPredicate::all())?
            .sum(Shelf::pieces())?
            .unwrap_or(0),
        booked: bookings.sum(Booking::pieces())?.unwrap_or(0),
        in_erp: mirror.erp.pieces(),
        bookings: bookings.count()?,
        refused,
    })
}

#[tokio::main]
async fn main() -> Outcome {
    let store = DataStore::builder(schema()).local_only().open().await?;
    println!("{:?}", play(&store).await?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn items_shelves_and_bookings_add_up() {
        let store = DataStore::builder(schema())
            .local_only()
            .open()
            .await
            .expect("memory");
        let count = play(&store).await.expect("it plays through");
        assert_eq!((count.in_items, count.on_shelves), (count.booked, count.booked));
        assert_eq!(
            count.in_erp, count.booked,
            "the other system was told of every booking"
        );
        assert_eq!(count.bookings + count.refused as u64, 100);
        assert!(!store.exists(Shelf::pieces().lt(0)).expect("a field"));
    }

    #[tokio::test]
    async fn a_mirror_that_slept_too_long_takes_over_everything() {
        let store = DataStore::builder(schema())
            .local_only()
            .open()
            .await
            .expect("memory");
        let mut mirror = Mirror::begin(&store).await.expect("the store is open");
        let one = || {
            Booking::builder()
                .item("rope")
                .shelf("A1")
                .pieces(1)
                .scanner(1)
                .build()
        };
        for _ in 0..1_200 {
            store.save(one().expect("complete")).await.expect("valid");
        }
        mirror.catch_up().expect("the store is open");
        assert_eq!((mirror.erp.pieces(), mirror.erp.taken_over), (1_200, 1));
        store.save(one().expect("complete")).await.expect("valid");
        mirror.catch_up().expect("the store is open");
        assert_eq!((mirror.erp.pieces(), mirror.erp.taken_over), (1_201, 1));
    }
}
