//! Real-time feed: the newest stories of those whom somebody follows, on the screen as soon as they are published.
//!
//! The screen is an observed query: sorted, limited to what is shown, and told of every change, whoever made it. Stories
//! that are pushed off the screen or taken back make room for others without a question to the server.
//!
//! Run with `cargo run -p landfall --example feed`.

mod support;

use std::time::Duration;

use landfall::{DataStore, ModelQuery, QueryObserver, TypedPredicate};
use support::{API_KEY, Outcome, backend, sent, until};

landfall::inline_schema!(
    "type Story @model {
       author: String! @index(name: \"byAuthor\", sortKeyFields: [\"minute\"])
       minute: Int!
       text: String!
     }"
);

/// Stories on the screen.
const SHOWN: usize = 3;

/// How long the example waits for a story.
const PATIENCE: Duration = Duration::from_secs(20);

/// What somebody sees.
struct Screen {
    feed: QueryObserver<Story>,
}

impl Screen {
    async fn of(store: &DataStore, follows: &[&str]) -> Outcome<Self> {
        let newest = ModelQuery::from(Story::author().is_in(follows.iter().copied()))
            .sort(Story::minute().desc())
            .limit(SHOWN);
        Ok(Self {
            feed: store.observe_query(newest).await?,
        })
    }

    /// Waits until the screen shows something; returns it line by line, with the number of stories in all.
    async fn until(&mut self, shows: impl Fn(&[String]) -> bool) -> Outcome<(Vec<String>, usize)> {
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let now = self.feed.next().await.ok_or("the store was closed")??;
                let line = |story: &Story| format!("{}: {}", story.author, story.text);
                let lines: Vec<String> = now.items.iter().map(line).collect();
                if shows(&lines) {
                    return Ok((lines, now.total));
                }
            }
        });
        waited.await.map_err(|_| "the feed did not come that far")?
    }
}

async fn open(url: &str) -> Outcome<DataStore> {
    let store = DataStore::builder(schema()).endpoint(url, API_KEY).open().await?;
    store.start().await?;
    Ok(store)
}

async fn publish(store: &DataStore, author: &str, minute: i32, text: &str) -> Outcome<Story> {
    let story = Story::builder().author(author).minute(minute).text(text);
    Ok(store.save(story.build()?).await?)
}

/// Returns what the reader has on the screen when all is published, and after a story was taken back.
async fn play() -> Outcome<[Vec<String>; 2]> {
    let server = backend(schema()).await?;
    let (press, reader) = (open(&server.endpoint()).await?, open(&server.endpoint()).await?);
    let mut screen = Screen::of(&reader, &["ada", "ben"]).await?;
    for (minute, author, text) in [
        (1, "ada", "fog"),
        (2, "eve", "nobody follows me"),
        (3, "ben", "first ferry"),
        (4, "ada", "sun"),
    ] {
        publish(&press, author, minute, text).await?;
    }
    let last = publish(&press, "ben", 5, "full house").await?;
    sent(&press).await?;
    let is_last = |lines: &[String]| lines.first().is_some_and(|line| line == "ben: full house");
    let (full, total) = screen
        .until(|lines| is_last(lines) && lines.len() == SHOWN && lines[1] == "ada: sun")
        .await?;
    println!("{total} stories, the newest: {}", full.join(", "));

    press.delete(&last).await?;
    let (after, total) = screen
        .until(|lines| !is_last(lines) && lines.len() == SHOWN)
        .await?;
    println!("{total} stories, the newest: {}", after.join(", "));
    until::<Story>(&reader, "the reader has what is left", || {
        Ok(reader.count(TypedPredicate::<Story>::all())? == 4)
    })
    .await?;
    for store in [press, reader] {
        store.close().await;
    }
    server.shutdown().await;
    Ok([full, after])
}

#[tokio::main]
async fn main() -> Outcome {
    play().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_screen_follows_what_is_published_and_taken_back() {
        let [full, after] = play().await.expect("it plays through");
        assert_eq!(full, ["ben: full house", "ada: sun", "ben: first ferry"]);
        assert_eq!(after, ["ada: sun", "ben: first ferry", "ada: fog"]);
    }
}
