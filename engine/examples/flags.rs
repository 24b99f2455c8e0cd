//! Feature flags: one process sets them, others follow, and answers cost a look into memory.
//!
//! What a process decides for itself (an override for one machine) is a model that stays local.
//!
//! Run with `cargo run -p landfall --example flags`.

mod support;

use std::collections::BTreeMap;

use landfall::{DataStore, ModelQuery, QueryObserver, TypedPredicate};
use support::{API_KEY, Outcome, backend, sent, until};

landfall::inline_schema!(
    "type Flag @model { id: ID! @primaryKey enabled: Boolean! @default(value: \"false\") share: Int }
     type Override @model { id: ID! @primaryKey enabled: Boolean! }"
);

/// The flags of a process, kept up to date.
struct Flags {
    store: DataStore,
    observed: QueryObserver<Flag>,
    known: BTreeMap<String, Flag>,
}

impl Flags {
    async fn follow(store: DataStore) -> Outcome<Self> {
        let observed = store.observe_query(ModelQuery::<Flag>::all()).await?;
        let mut flags = Self {
            store,
            observed,
            known: BTreeMap::new(),
        };
        flags.refresh()?;
        Ok(flags)
    }

    /// Takes over what has changed; costs nothing if nothing has.
    fn refresh(&mut self) -> Outcome {
        while let Some(now) = self.observed.try_next() {
            self.known = now?
                .items
                .into_iter()
                .map(|flag| (flag.id.clone(), flag))
                .collect();
        }
        Ok(())
    }

    /// Whether a feature is on for a user. A flag that is on for a share of the users is on for the same ones always.
    fn is_on(&mut self, name: &str, user: u32) -> Outcome<bool> {
        if let Some(own) = self.store.get::<Override>(name)? {
            return Ok(own.enabled);
        }
        self.refresh()?;
        Ok(self.known.get(name).is_some_and(|flag| {
            let share = flag
                .share
                .and_then(|share| u32::try_from(share).ok())
                .unwrap_or(100);
            flag.enabled && user % 100 < share
        }))
    }
}

async fn open(url: &str) -> Outcome<DataStore> {
    let store = DataStore::builder(schema())
        .endpoint(url, API_KEY)
        .local_only_model::<Override>()
        .open()
        .await?;
    store.start().await?;
    Ok(store)
}

/// Returns what a service sees: before, for users inside and outside of the share, and with an override of its own.
async fn play() -> Outcome<[bool; 4]> {
    let server = backend(schema()).await?;
    let (console, service) = (open(&server.endpoint()).await?, open(&server.endpoint()).await?);
    let mut flags = Flags::follow(service.clone()).await?;
    let before = flags.is_on("new-charts", 7)?;

    console
        .save(Flag::builder().id("new-charts").enabled(true).share(30).build()?)
        .await?;
    sent(&console).await?;
    until::<Flag>(&service, "the service hears of the flag", || {
        Ok(service.exists(Flag::enabled().eq(true))?)
    })
    .await?;
    let (inside, outside) = (flags.is_on("new-charts", 107)?, flags.is_on("new-charts", 130)?);

    service
        .save(Override::builder().id("new-charts").enabled(true).build()?)
        .await?;
    let overridden = flags.is_on("new-charts", 130)?;
    sent(&service).await?;
    assert_eq!(
        console.count(TypedPredicate::<Override>::all())?,
        0,
        "an override stays where it was made"
    );
    for store in [console, service] {
        store.close().await;
    }
    server.shutdown().await;
    Ok([before, inside, outside, overridden])
}

#[tokio::main]
async fn main() -> Outcome {
    let [before, inside, outside, overridden] = play().await?;
    println!("before: {before}; for 30 of 100 users: {inside} and {outside}; on this machine: {overridden}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn flags_follow_the_console_and_overrides_stay_local() {
        assert_eq!(
            play().await.expect("it plays through"),
            [false, true, false, true]
        );
    }
}
