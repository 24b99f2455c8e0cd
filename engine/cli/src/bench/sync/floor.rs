//! A client that does what any client of these pages must, and no more: the floor of the first sync.
//!
//! It asks for the same pages by the same request, parses them as JSON and writes each page into redb in one durable
//! transaction: the row, what a log keeps of it, and the entry of the one index that the model has.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use redb::{Database, TableDefinition};
use serde_json::Value as Json;

use crate::bench::backend::client::Connection;
use crate::bench::backend::{KEY, sync};
use crate::bench::rows::report;

const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
const ROWS: TableDefinition<&str, &[u8]> = TableDefinition::new("rows");
const INDEX: TableDefinition<&str, ()> = TableDefinition::new("index");

/// How long all pages take.
pub(super) async fn fetch(address: SocketAddr, path: &Path, rows: usize) -> miette::Result<Duration> {
    let database = Database::builder()
        .set_cache_size(landfall_storage::CACHE_BYTES_DEFAULT)
        .create(path)
        .map_err(report)?;
    let begun = Instant::now();
    let mut connection = Connection::open(address, KEY).await?;
    let (mut token, mut written) = (Json::Null, 0);
    loop {
        let body = connection.post(&sync(&token)).await?;
        let mut answer: Json = serde_json::from_slice(body).map_err(report)?;
        let page = &mut answer["data"]["syncItems"];
        let items = page["items"].as_array().map_or(&[][..], Vec::as_slice);
        write(&database, items, written)?;
        written += items.len() as u64;
        token = page["nextToken"].take();
        if token.is_null() {
            break;
        }
    }
    let elapsed = begun.elapsed();
    if written == rows as u64 {
        Ok(elapsed)
    } else {
        Err(miette::miette!("{written} of {rows} rows came"))
    }
}

fn write(database: &Database, items: &[Json], from: u64) -> miette::Result<()> {
    let transaction = database.begin_write().map_err(report)?;
    {
        let mut log = transaction.open_table(LOG).map_err(report)?;
        let mut rows = transaction.open_table(ROWS).map_err(report)?;
        let mut index = transaction.open_table(INDEX).map_err(report)?;
        for (seq, item) in (from..).zip(items) {
            let row = rmp_serde::to_vec(item).map_err(report)?;
            let id = item["id"].as_str().unwrap_or_default();
            let entry = format!("{}\0{id}", item["category"].as_str().unwrap_or_default());
            log.insert(seq, row.as_slice()).map_err(report)?;
            rows.insert(id, row.as_slice()).map_err(report)?;
            index.insert(entry.as_str(), ()).map_err(report)?;
        }
    }
    transaction.commit().map_err(report)
}
