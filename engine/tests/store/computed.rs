//! Computed fields: wherever a stored field can be asked for, what they are asked for is right, and nothing keeps them.

use landfall::{
    DataStore, Error, Field, ModelQuery, Op, Predicate, PredicateError, Query, Scalar, Sort, TypedPredicate,
    Value,
};

use crate::{Blog, Post, schema};

const LETTERS: Field<Post, i32> = Field::new("letters");
const SHOUT: Field<Blog, Option<String>> = Field::new("shout");

fn letters(post: &Post) -> i32 {
    i32::try_from(post.title.len()).unwrap()
}

async fn computing() -> DataStore {
    DataStore::builder(schema())
        .computed(LETTERS, letters)
        .computed(SHOUT, |blog: &Blog| {
            blog.stars
                .map(|stars| blog.name.to_uppercase() + &"!".repeat(usize::try_from(stars).unwrap()))
        })
        .open()
        .await
        .unwrap()
}

async fn save(store: &DataStore, title: &str, rating: i32) -> Post {
    let post = Post::builder().title(title).rating(rating).build().unwrap();
    store.save(post).await.unwrap()
}

fn titles(posts: &[Post]) -> Vec<&str> {
    posts.iter().map(|post| post.title.as_str()).collect()
}

#[tokio::test]
async fn queries_select_and_sort_by_it() {
    let store = computing().await;
    for (title, rating) in [("ccc", 1), ("a", 2), ("bb", 3), ("dddd", 4), ("ee", 5)] {
        save(&store, title, rating).await;
    }
    let query = |predicate: TypedPredicate<Post>| {
        ModelQuery::all()
            .filter(predicate)
            .sort(LETTERS.desc().then(Post::title().asc()))
    };
    let all = TypedPredicate::<Post>::all;
    let found = store.query(query(all())).unwrap();
    assert_eq!(titles(&found), ["dddd", "ccc", "bb", "ee", "a"]);
    let found = store.query(query(LETTERS.between(2, 3))).unwrap();
    assert_eq!(titles(&found), ["ccc", "bb", "ee"]);
    let both = LETTERS.gt(1).and(Post::rating().gt(3));
    assert_eq!(titles(&store.query(query(both.clone())).unwrap()), ["dddd", "ee"]);
    assert_eq!(store.count(both).unwrap(), 2);
    let found = store.query(query(!LETTERS.gt(1))).unwrap();
    assert_eq!(titles(&found), ["a"]);
    // Pages by number and by cursor.
    let page = store.query(query(all()).limit(2).page(1)).unwrap();
    assert_eq!(titles(&page), ["bb", "ee"]);
    let (mut seen, mut next) = (Vec::new(), None);
    loop {
        let page = store.page(query(all()).limit(2), next.as_ref()).unwrap();
        seen.extend(page.items);
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(titles(&seen), ["dddd", "ccc", "bb", "ee", "a"]);
    assert!(store.explain(query(LETTERS.gt(1))).unwrap().scans);
    assert_eq!(store.computed(&found[0], LETTERS).unwrap(), 1);
}

#[tokio::test]
async fn relations_are_followed_to_it_and_missing_values_are_unknown() {
    let store = computing().await;
    let blog = |name: &str, stars: Option<i32>| {
        let blog = Blog::builder().name(name);
        match stars {
            Some(stars) => blog.stars(stars).build().unwrap(),
            None => blog.build().unwrap(),
        }
    };
    let loud = store.save(blog("loud", Some(2))).await.unwrap();
    let quiet = store.save(blog("quiet", None)).await.unwrap();
    for (title, blog) in [("one", &loud), ("two", &quiet)] {
        let post = Post::builder().title(title).blog(blog).build().unwrap();
        store.save(post).await.unwrap();
    }
    let found = store.query(Post::blog().any(SHOUT.eq("LOUD!!"))).unwrap();
    assert_eq!(titles(&found), ["one"]);
    let by_shout = ModelQuery::all().sort(Post::blog().by(SHOUT.asc()));
    assert_eq!(titles(&store.query(by_shout).unwrap()), ["two", "one"]);
    assert_eq!(store.computed(&quiet, SHOUT).unwrap(), None);
    assert_eq!(store.query(SHOUT.is_null()).unwrap(), [quiet]);
    let others = store.query(SHOUT.ne("x")).unwrap();
    assert_eq!(others, [loud]);
    assert_eq!(store.query(SHOUT.begins_with("LO")).unwrap(), others);
}

#[tokio::test]
async fn what_is_observed_follows_it() {
    let store = computing().await;
    let query = ModelQuery::from(LETTERS.gt(1)).sort(LETTERS.asc()).limit(3);
    let mut observed = store.observe_query(query.clone()).await.unwrap();
    let mut changes = store.observe(LETTERS.gt(2)).await.unwrap();
    for (round, title) in ["ccc", "a", "bb", "dddd", "ee", "ff"].into_iter().enumerate() {
        let mut post = save(&store, title, 1).await;
        if round % 2 == 0 {
            post = Post::copy_of(&post, |post| post.title.push_str("xx"));
            store.save(post).await.unwrap();
        }
    }
    let mut shown = observed.next().await.unwrap().unwrap();
    while let Some(next) = observed.try_next() {
        shown = next.unwrap();
    }
    assert_eq!(shown.items, store.query(query).unwrap());
    assert_eq!(shown.total as u64, store.count(LETTERS.gt(1)).unwrap());
    let mut heard = Vec::new();
    while let Some(change) = changes.try_next() {
        heard.push(change.unwrap().element.title);
    }
    assert_eq!(heard, ["ccc", "cccxx", "bbxx", "dddd", "eexx"]);
}

#[tokio::test]
async fn a_transaction_asks_for_it_in_what_it_has_written() {
    let store = computing().await;
    save(&store, "aaa", 1).await;
    let found = store
        .transaction(|tx| {
            tx.save(&Post::builder().title("bbbb").build().unwrap())?;
            tx.save(&Post::builder().title("c").build().unwrap())?;
            tx.query(ModelQuery::from(LETTERS.gt(2)).sort(LETTERS.desc()))
        })
        .await
        .unwrap();
    assert_eq!(titles(&found), ["bbbb", "aaa"]);
}

#[tokio::test]
async fn what_a_server_checks_as_well_refuses_it() {
    let is_refused = |error: &Error| {
        let said = error.to_string();
        assert!(said.contains("`Post.letters` is computed by the app"), "{said}");
    };
    let store = computing().await;
    let post = save(&store, "aaa", 1).await;
    let changed = Post::copy_of(&post, |post| post.rating = Some(2));
    is_refused(&store.save_if(changed, LETTERS.gt(1)).await.unwrap_err());
    is_refused(&store.delete_if(&post, LETTERS.gt(1)).await.unwrap_err());
    is_refused(&store.delete_where(LETTERS.gt(1)).await.unwrap_err());
    is_refused(&store.set_sync_expression(LETTERS.gt(1)).await.unwrap_err());
    let groups = store.aggregate(LETTERS.gt(1)).unwrap().group_by(LETTERS).count();
    is_refused(&groups.unwrap_err());
    assert_eq!(store.query(TypedPredicate::<Post>::all()).unwrap(), [post]);
    let opened = DataStore::builder(schema())
        .computed(LETTERS, letters)
        .sync_expression(LETTERS.gt(1))
        .open()
        .await;
    is_refused(&opened.unwrap_err());
}

#[tokio::test]
async fn nothing_keeps_it_and_it_may_be_another_one_the_next_time() {
    let folder = tempfile::tempdir().unwrap();
    let open = |factor: i64| {
        DataStore::builder(schema())
            .directory(folder.path())
            .computed_named("Post", "letters", Scalar::Int, move |post| {
                match post.get("title") {
                    Some(Value::String(title)) => (i64::try_from(title.len()).unwrap() * factor).into(),
                    _ => Value::Null,
                }
            })
            .open()
    };
    let store = open(1).await.unwrap();
    save(&store, "abc", 1).await;
    let mut exported = Vec::new();
    store.export_json_lines(&mut exported, |_| ()).unwrap();
    assert!(!String::from_utf8(exported).unwrap().contains("letters"));
    store.close().await;
    let store = open(10).await.unwrap();
    let query = Query {
        predicate: Predicate::field("letters", Op::Eq(30.into())),
        sort: vec![Sort::descending("letters")],
        ..Query::all("Post")
    };
    let found = store.records().query(&query).unwrap();
    assert_eq!(store.records().computed(&found[0], "letters").unwrap(), 30.into());
    store.close().await;
    // Without it the data is the same, and nobody knows of it.
    let store = DataStore::builder(schema())
        .directory(folder.path())
        .open()
        .await
        .unwrap();
    let found = store.snapshot().unwrap().verify().unwrap();
    assert!(found.differences.is_empty(), "{found:?}");
    assert!(matches!(
        store.records().query(&query),
        Err(Error::BadPredicate(PredicateError::UnknownField { .. }))
    ));
    store.close().await;
}

#[tokio::test]
async fn a_field_that_cannot_be_keeps_the_store_shut() {
    let title: Field<Post, i32> = Field::new("title");
    let opened = DataStore::builder(schema()).computed(title, letters).open().await;
    let refused = opened.unwrap_err();
    assert!(matches!(refused, Error::BadComputedField(_)), "{refused}");
    assert!(
        refused
            .to_string()
            .contains("`Post.title` cannot be a computed field")
    );
}
