//! Shipment tracking: a ship writes its log for weeks without a network, restarts on the way, and reports in port.
//!
//! Run with `cargo run -p landfall --example shipments`.

mod support;

use std::path::Path;

use landfall::{DataStore, ModelQuery, TypedPredicate};
use support::{API_KEY, Outcome, backend, sent, until};

landfall::inline_schema!(
    "enum Stage { LOADED AT_SEA DELIVERED }
     type Shipment @model { label: String! stage: Stage! events: [Event] @hasMany }
     type Event @model { day: Int! note: String! shipment: Shipment @belongsTo }"
);

/// Days at sea, each with a note for each shipment.
const DAYS: i32 = 30;

async fn open(directory: &Path, url: &str) -> Outcome<DataStore> {
    Ok(DataStore::builder(schema())
        .directory(directory)
        .endpoint(url, API_KEY)
        .open()
        .await?)
}

/// One day's work on board. Nothing of it waits for a network.
async fn day_at_sea(ship: &DataStore, day: i32) -> Outcome {
    for shipment in ship.query(Shipment::stage().ne(Stage::Delivered))? {
        let note = if day % 10 == 0 {
            "heavy weather"
        } else {
            "all well"
        };
        let event = Event::builder().day(day).note(note).shipment(&shipment).build()?;
        ship.transaction(|tx| {
            tx.save(&event)?;
            tx.save(&Shipment::copy_of(&shipment, |shipment| {
                shipment.stage = Stage::AtSea;
            }))
        })
        .await?;
    }
    Ok(())
}

/// What the office knows at the end.
#[derive(Debug, PartialEq)]
struct Report {
    shipments: u64,
    events: u64,
    heavy_weather: u64,
    last_day: Option<i32>,
}

async fn play(home: &Path) -> Outcome<Report> {
    let server = backend(schema()).await?;
    let office = open(&home.join("office"), &server.endpoint()).await?;
    office.start().await?;
    for label in ["coffee", "timber"] {
        office
            .save(Shipment::builder().label(label).stage(Stage::Loaded).build()?)
            .await?;
    }
    sent(&office).await?;

    let ship = open(&home.join("ship"), &server.endpoint()).await?;
    ship.start().await?;
    until::<Shipment>(&ship, "the papers come on board", || {
        Ok(ship.count(TypedPredicate::<Shipment>::all())? == 2)
    })
    .await?;
    ship.set_online(false)?;
    println!("the ship leaves with two shipments");
    for day in 1..=DAYS / 2 {
        day_at_sea(&ship, day).await?;
    }
    ship.close().await;
    // The power fails, the machine comes up again: everything is there, and still waits to be told.
    let ship = open(&home.join("ship"), &server.endpoint()).await?;
    println!("after a restart {} changes wait", ship.outbox().len()?);
    for day in DAYS / 2 + 1..=DAYS {
        day_at_sea(&ship, day).await?;
    }
    println!("in port {} changes wait", ship.outbox().len()?);
    ship.start().await?;
    sent(&ship).await?;

    let expected = u64::try_from(2 * DAYS)?;
    until::<Event>(&office, "the office has the whole log", || {
        Ok(office.count(TypedPredicate::<Event>::all())? == expected)
    })
    .await?;
    for (shipment, events) in office.query_with_children(ModelQuery::all(), Shipment::events())? {
        println!(
            "{}: {:?}, {} events",
            shipment.label,
            shipment.stage,
            events.len()
        );
    }
    let events = office.aggregate(Event::shipment().any(Shipment::stage().eq(Stage::AtSea)))?;
    let report = Report {
        shipments: office.count(Shipment::stage().eq(Stage::AtSea))?,
        events: events.count()?,
        heavy_weather: office.count(Event::note().contains("heavy"))?,
        last_day: events.max(Event::day())?,
    };
    ship.close().await;
    office.close().await;
    server.shutdown().await;
    Ok(report)
}

#[tokio::main]
async fn main() -> Outcome {
    let home = tempfile::tempdir()?;
    println!("{:?}", play(home.path()).await?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everything_that_was_written_at_sea_arrives() {
        let home = tempfile::tempdir().expect("a directory");
        let report = play(home.path()).await.expect("it plays through");
        let expected = Report {
            shipments: 2,
            events: 60,
            heavy_weather: 6,
            last_day: Some(30),
        };
        assert_eq!(report, expected);
    }
}
