//! What observers and observed queries hear, behaviour by behaviour.

use landfall::{ChangeKind, DataStore, Error, ModelQuery, Origin, TypedPredicate};

use crate::{Blog, Post, in_memory};

async fn save(store: &DataStore, title: &str, rating: i32) -> Post {
    let post = Post::builder().title(title).rating(rating).build().unwrap();
    store.save(post).await.unwrap()
}

async fn rate(store: &DataStore, post: &Post, rating: i32) -> Post {
    let rated = Post::copy_of(post, |post| post.rating = Some(rating));
    store.save(rated).await.unwrap()
}

#[tokio::test]
async fn an_observer_hears_every_change_of_its_model_in_order_with_origin_and_number() {
    let store = in_memory().await;
    let mut observer = store.observe(TypedPredicate::<Post>::all()).await.unwrap();
    let post = save(&store, "one", 1).await;
    store
        .save(Blog::builder().name("another model").build().unwrap())
        .await
        .unwrap();
    let post = rate(&store, &post, 2).await;
    store.delete(&post).await.unwrap();
    let mut heard = Vec::new();
    let mut newest = None;
    for _ in 0..3 {
        let change = observer.next().await.unwrap().unwrap();
        assert_eq!(
            (change.element.id.as_str(), change.origin),
            (post.id.as_str(), Origin::App)
        );
        assert!(newest < Some(change.seq), "numbers only grow");
        newest = Some(change.seq);
        heard.push((change.kind, change.element.rating));
    }
    assert_eq!(
        heard,
        [
            (ChangeKind::Insert, Some(1)),
            (ChangeKind::Update, Some(2)),
            (ChangeKind::Delete, Some(2)),
        ],
        "a delete shows the record as it was"
    );
    assert!(observer.try_next().is_none());
}

#[tokio::test]
async fn an_observer_with_a_predicate_hears_what_satisfies_it() {
    let store = in_memory().await;
    let mut observer = store.observe(Post::rating().gt(3)).await.unwrap();
    let low = save(&store, "low", 1).await;
    let high = save(&store, "high", 5).await;
    rate(&store, &low, 4).await;
    rate(&store, &high, 2).await;
    save(&store, "last", 5).await;
    let mut heard = Vec::new();
    for _ in 0..3 {
        let change = observer.next().await.unwrap().unwrap();
        heard.push((change.kind, change.element.title));
    }
    assert_eq!(
        heard,
        [
            (ChangeKind::Insert, "high".to_owned()),
            (ChangeKind::Update, "low".to_owned()),
            (ChangeKind::Insert, "last".to_owned()),
        ]
    );
}

#[tokio::test]
async fn a_change_that_says_nothing_new_is_not_told() {
    let store = in_memory().await;
    let post = save(&store, "one", 1).await;
    let mut observer = store.observe(TypedPredicate::<Post>::all()).await.unwrap();
    rate(&store, &post, 1).await;
    save(&store, "two", 2).await;
    assert_eq!(observer.next().await.unwrap().unwrap().element.title, "two");
}

/// More commits than an observer may be behind.
const COMMITS: usize = 1_100;

#[tokio::test]
async fn an_observer_that_never_reads_is_told_that_it_fell_behind_and_others_hear_everything() {
    let store = in_memory().await;
    let mut asleep = store.observe(TypedPredicate::<Post>::all()).await.unwrap();
    let mut awake = store.observe(TypedPredicate::<Post>::all()).await.unwrap();
    let mut heard = 0;
    for number in 0..COMMITS {
        save(&store, &number.to_string(), 1).await;
        while awake.try_next().is_some() {
            heard += 1;
        }
    }
    while heard < COMMITS {
        awake.next().await.unwrap().unwrap();
        heard += 1;
    }
    let mut before = 0;
    let error = loop {
        match asleep.next().await.unwrap() {
            Ok(_) => before += 1,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(&error, Error::FellBehind { model } if model == "Post"),
        "{error}"
    );
    assert!(
        (1..COMMITS).contains(&before),
        "it hears {before}, then that it is behind"
    );
    // It reads what there is, and hears of everything from here on.
    assert_eq!(
        store.count(TypedPredicate::<Post>::all()).unwrap(),
        COMMITS as u64
    );
    assert!(asleep.try_next().is_none() && !asleep.has_ended());
    save(&store, "after", 1).await;
    assert_eq!(asleep.next().await.unwrap().unwrap().element.title, "after");
    for number in 0..COMMITS {
        save(&store, &number.to_string(), 1).await;
    }
    let errors = std::iter::from_fn(|| asleep.try_next()).filter(Result::is_err);
    assert_eq!(errors.count(), 1, "it is told each time, once");
}

#[tokio::test]
async fn changes_of_other_models_do_not_wait_for_an_observer() {
    let store = in_memory().await;
    let mut changes = store.observe(TypedPredicate::<Blog>::all()).await.unwrap();
    let mut results = store.observe_query(ModelQuery::<Blog>::all()).await.unwrap();
    results.try_next().unwrap().unwrap();
    for number in 0..COMMITS {
        save(&store, &number.to_string(), 1).await;
    }
    let blog = Blog::builder().name("at last").build().unwrap();
    let blog = store.save(blog).await.unwrap();
    assert_eq!(changes.try_next().unwrap().unwrap().element.id, blog.id);
    assert_eq!(results.try_next().unwrap().unwrap().items, [blog]);
}

#[tokio::test]
async fn an_observed_query_that_is_asked_seldom_answers_with_what_there_is() {
    let store = in_memory().await;
    let mut all = store.observe_query(ModelQuery::<Post>::all()).await.unwrap();
    let mut counted = store.observe_query(ModelQuery::<Post>::all()).await.unwrap();
    all.try_next().unwrap().unwrap();
    assert_eq!(counted.next_total().await.unwrap().unwrap(), 0);
    for round in 1..=2 {
        for number in 0..COMMITS {
            save(&store, &number.to_string(), 1).await;
        }
        assert_eq!(all.try_next().unwrap().unwrap().items.len(), round * COMMITS);
        assert!(all.try_next().is_none() && !all.has_ended());
        assert_eq!(counted.next_total().await.unwrap().unwrap(), round * COMMITS);
    }
    let post = save(&store, "after", 1).await;
    let shown = all.try_next().unwrap().unwrap();
    assert!(shown.items.contains(&post), "it follows the changes again");
    store.clear().await.unwrap();
    assert!(all.try_next().is_none() && all.has_ended());
}

#[tokio::test]
async fn a_page_stays_right_when_more_leaves_it_than_is_kept_beside_it() {
    let store = in_memory().await;
    let post = |rating: i32| Post::builder().title("t").rating(rating).build().unwrap();
    let mut posts = store.save_all((0..400).map(post).collect()).await.unwrap();
    let query = || {
        ModelQuery::<Post>::all()
            .sort(Post::rating().asc())
            .limit(5)
            .page(1)
    };
    let mut observer = store.observe_query(query()).await.unwrap();
    let mut counted = store.observe_query(query()).await.unwrap();
    assert_eq!(observer.next().await.unwrap().unwrap().items.len(), 5);
    assert_eq!(counted.next_total().await.unwrap().unwrap(), 400);
    // From the front, where each one moves the page by one; others come and go behind it.
    for (round, gone) in posts.drain(..300).enumerate() {
        store.delete(&gone).await.unwrap();
        if round % 7 == 0 {
            save(&store, "late", 1_000).await;
        }
        let shown = observer.next().await.unwrap().unwrap();
        assert_eq!(shown.items, store.query(query()).unwrap(), "after {round}");
        assert_eq!(
            shown.total as u64,
            store.count(TypedPredicate::<Post>::all()).unwrap()
        );
        assert_eq!(counted.next_total().await.unwrap().unwrap(), shown.total);
    }
}

#[tokio::test]
async fn a_page_far_behind_is_right_in_whatever_order_the_records_lie_on_disk() {
    let store = in_memory().await;
    // Identifiers are made by chance, so no order of ratings is that of the disk.
    let post = |rating: i32| Post::builder().title("t").rating(rating).build().unwrap();
    store.save_all((0..700).map(post).collect()).await.unwrap();
    for (limit, number) in [(10, 9), (10, 10), (10, 30), (150, 2), (200, 3)] {
        let ascending = ModelQuery::<Post>::all().sort(Post::rating().asc());
        let descending = ModelQuery::<Post>::all().sort(Post::rating().desc());
        for query in [ascending, descending] {
            let query = query.limit(limit).page(number);
            let mut observer = store.observe_query(query.clone()).await.unwrap();
            let shown = observer.next().await.unwrap().unwrap();
            assert_eq!(shown.items, store.query(query.clone()).unwrap(), "{query:?}");
            save(&store, "in front for one order", -1).await;
            let shown = observer.next().await.unwrap().unwrap();
            assert_eq!(shown.items, store.query(query.clone()).unwrap(), "{query:?}");
        }
    }
}

/// Takes changes into a copy of a page, as an app would.
fn take_in(page: &mut Vec<Post>, changes: landfall::QueryChanges<Post>) {
    let id = |id: &landfall::RecordId| id.to_string();
    page.retain(|post| !changes.removed.iter().any(|gone| id(gone) == post.id));
    for placed in changes.placed {
        page.retain(|post| post.id != placed.element.id);
        let at = placed.after.map_or(0, |after| {
            1 + page
                .iter()
                .position(|post| post.id == id(&after))
                .expect("it is on the page")
        });
        page.insert(at, placed.element);
    }
}

#[tokio::test]
async fn the_changes_of_a_page_make_the_page() {
    let store = in_memory().await;
    let by_rating = || ModelQuery::<Post>::all().sort(Post::rating().asc());
    let queries = [
        by_rating(),
        by_rating().limit(4).page(2),
        by_rating().filter(Post::blog().exists().not()).limit(9),
    ];
    let mut watched = Vec::new();
    for query in queries {
        let mut observer = store.observe_query(query.clone()).await.unwrap();
        let begins = observer.next_changes().await.unwrap().unwrap();
        assert_eq!((begins.placed.len(), begins.total), (0, 0));
        watched.push((query, observer, Vec::new()));
    }
    let seed = 5_u32;
    let mut state = seed;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    let mut posts: Vec<Post> = Vec::new();
    for step in 0..400 {
        let rating = i32::try_from(random(20)).unwrap();
        match random(4) {
            0 if posts.len() > 6 => {
                let gone = posts.swap_remove(random(posts.len()));
                store.delete(&gone).await.unwrap();
            }
            1 if !posts.is_empty() => {
                let place = random(posts.len());
                posts[place] = rate(&store, &posts[place], rating).await;
            }
            _ => posts.push(save(&store, "t", rating).await),
        }
        if step % 3 != 0 {
            continue;
        }
        for (query, observer, page) in &mut watched {
            let before: Vec<Post> = page.clone();
            let now = store.query(query.clone()).unwrap();
            if before != now {
                take_in(page, observer.next_changes().await.unwrap().unwrap());
            }
            assert_eq!(*page, now, "step {step}, seed {seed}");
        }
    }
}

#[tokio::test]
async fn a_change_of_one_record_hands_out_one() {
    let store = in_memory().await;
    let post = |rating: i32| Post::builder().title("t").rating(rating).build().unwrap();
    let posts = store.save_all((0..500).map(post).collect()).await.unwrap();
    let query = ModelQuery::<Post>::all().sort(Post::rating().asc());
    let mut observer = store.observe_query(query).await.unwrap();
    assert_eq!(observer.next_changes().await.unwrap().unwrap().placed.len(), 500);
    rate(&store, &posts[100], 300).await;
    let changes = observer.next_changes().await.unwrap().unwrap();
    assert_eq!(
        (changes.placed.len(), changes.removed.len(), changes.total),
        (1, 0, 500)
    );
    store.delete(&posts[7]).await.unwrap();
    let changes = observer.next_changes().await.unwrap().unwrap();
    assert_eq!((changes.placed.len(), changes.total), (0, 499));
    assert_eq!(changes.removed, [posts[7].id.as_str().into()]);
}

fn titles(items: &[Post]) -> String {
    let titles: Vec<&str> = items.iter().map(|post| post.title.as_str()).collect();
    titles.join(" ")
}

#[tokio::test]
async fn an_observed_query_begins_with_what_there_is_and_tells_who_enters_and_leaves() {
    let store = in_memory().await;
    let a = save(&store, "a", 5).await;
    save(&store, "b", 1).await;
    let query = ModelQuery::from(Post::rating().gt(3)).sort(Post::title().desc());
    let mut observer = store.observe_query(query).await.unwrap();
    let shown = observer.next().await.unwrap().unwrap();
    assert_eq!((titles(&shown.items).as_str(), shown.is_synced), ("a", false));
    let c = save(&store, "c", 4).await;
    let shown = observer.next().await.unwrap().unwrap();
    assert_eq!(titles(&shown.items), "c a", "it enters at its place");
    let c = rate(&store, &c, 1).await;
    let shown = observer.next().await.unwrap().unwrap();
    assert_eq!(titles(&shown.items), "a", "it leaves when it is changed");
    rate(&store, &c, 5).await;
    let shown = observer.next().await.unwrap().unwrap();
    assert_eq!(titles(&shown.items), "c a", "and comes back");
    store.delete(&a).await.unwrap();
    let shown = observer.next().await.unwrap().unwrap();
    assert_eq!(titles(&shown.items), "c", "it leaves when it is deleted");
}

#[tokio::test]
async fn a_reader_of_an_observed_query_that_was_away_gets_the_newest_result_at_once() {
    let store = in_memory().await;
    let mut observer = store.observe_query(ModelQuery::<Post>::all()).await.unwrap();
    assert_eq!(observer.next().await.unwrap().unwrap().items.len(), 0);
    for number in 0..50 {
        save(&store, &number.to_string(), 1).await;
    }
    let mut results = 1;
    while observer.next().await.unwrap().unwrap().items.len() < 50 {
        results += 1;
    }
    // The last of them may not have been told yet when the first result was asked for.
    assert!(results <= 2, "{results} results, of fifty changes");
}

#[tokio::test]
async fn observers_end_when_the_store_is_cleared_or_closed() {
    let store = in_memory().await;
    let mut cleared = store.observe(TypedPredicate::<Post>::all()).await.unwrap();
    store.clear().await.unwrap();
    assert!(cleared.next().await.is_none());
    let mut closed = store.observe(TypedPredicate::<Post>::all()).await.unwrap();
    store.close().await;
    assert!(closed.next().await.is_none());
}
