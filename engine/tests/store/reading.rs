//! Typed reads: relations at once and one by one, aggregates, first, exists, pages and explanations.

use landfall::{ModelQuery, TypedPredicate};

use crate::{Account, Blog, Post, PostTags, Status, Tag, account, in_memory};
use landfall::DataStore;

async fn filled() -> DataStore {
    let store = in_memory().await;
    let mut blogs = Vec::new();
    for (name, stars) in [("a", Some(3)), ("b", None), ("c", Some(1))] {
        let mut blog = Blog::builder().name(name);
        if let Some(stars) = stars {
            blog = blog.stars(stars);
        }
        blogs.push(store.save(blog.build().unwrap()).await.unwrap());
    }
    for number in 0..7_i32 {
        let mut post = Post::builder().title(format!("p{number}")).rating(number);
        post = match number % 4 {
            0 => post.status(Status::Active).blog(&blogs[0]),
            1 => post.status(Status::Draft).blog(&blogs[1]),
            2 => post.blog(&blogs[2]),
            _ => post.status(Status::Active),
        };
        store.save(post.build().unwrap()).await.unwrap();
    }
    store
}

fn titles(mut posts: Vec<Post>) -> Vec<String> {
    posts.sort_by(|a, b| a.title.cmp(&b.title));
    posts.into_iter().map(|post| post.title).collect()
}

#[tokio::test]
async fn the_other_ends_of_a_query_are_those_of_each_record() {
    let store = filled().await;
    let with_parents = store
        .query_with_parents(TypedPredicate::<Post>::all(), Post::blog())
        .unwrap();
    assert_eq!(with_parents.len(), 7);
    for (post, blog) in with_parents {
        assert_eq!(store.parent(&post, Post::blog()).unwrap(), blog);
        assert_eq!(blog.map(|blog| blog.id), post.blog_posts_id);
    }
    let with_children = store
        .query_with_children(TypedPredicate::<Blog>::all(), Blog::posts())
        .unwrap();
    let mut counts = Vec::new();
    for (blog, posts) in with_children {
        assert_eq!(store.children(&blog, Blog::posts()).unwrap(), posts);
        counts.push((blog.name, posts.len()));
    }
    counts.sort();
    assert_eq!(
        counts,
        [("a".to_owned(), 2), ("b".to_owned(), 2), ("c".to_owned(), 2)]
    );
}

#[tokio::test]
async fn queries_follow_relations_both_ways() {
    let store = filled().await;
    let of_a = store.query(Post::blog().any(Blog::name().eq("a"))).unwrap();
    assert_eq!(titles(of_a), ["p0", "p4"]);
    let without = store.query(Post::blog().exists().not()).unwrap();
    assert_eq!(titles(without), ["p3"]);
    let wide = Blog::posts().any(Post::rating().gt(5).and(Post::blog().any(Blog::stars().lt(2))));
    let blogs: Vec<String> = store
        .query(wide)
        .unwrap()
        .into_iter()
        .map(|blog| blog.name)
        .collect();
    assert_eq!(blogs, ["c"]);
    // By a field of the blog, its missing values first, and then by a field of the post.
    let sorted = ModelQuery::<Post>::all()
        .sort(Post::blog().by(Blog::stars().desc()))
        .sort(Post::title().asc());
    let order: Vec<String> = store
        .query(sorted)
        .unwrap()
        .into_iter()
        .map(|post| post.title)
        .collect();
    assert_eq!(order, ["p0", "p4", "p2", "p6", "p1", "p3", "p5"]);
}

#[tokio::test]
async fn conditions_of_writes_cannot_follow_relations() {
    let store = filled().await;
    let post = store.first(TypedPredicate::<Post>::all()).unwrap().unwrap();
    let refused = store.save_if(post, Post::blog().any(Blog::name().eq("a"))).await;
    let text = refused.unwrap_err().to_string();
    assert!(
        text.contains("`Post.blog` is a relation, which only queries"),
        "{text}"
    );
}

#[tokio::test]
async fn many_to_many_goes_through_the_join_model() {
    let store = filled().await;
    let posts = store.query(TypedPredicate::<Post>::all()).unwrap();
    let tags = [Tag::builder().label("sea"), Tag::builder().label("land")].map(|tag| tag.build().unwrap());
    let tags = store.save_all(tags.to_vec()).await.unwrap();
    let link = |post: &Post, tag: &Tag| PostTags::builder().post(post).tag(tag).build().unwrap();
    let links = vec![
        link(&posts[0], &tags[0]),
        link(&posts[0], &tags[1]),
        link(&posts[1], &tags[0]),
    ];
    store.save_all(links).await.unwrap();
    let mut labels: Vec<String> = store
        .linked(&posts[0], Post::tags(), PostTags::tag())
        .unwrap()
        .into_iter()
        .map(|tag| tag.label)
        .collect();
    labels.sort();
    assert_eq!(labels, ["land", "sea"]);
    for (tag, linked) in store
        .query_with_linked(TypedPredicate::<Tag>::all(), Tag::posts(), PostTags::post())
        .unwrap()
    {
        assert_eq!(linked.len(), if tag.label == "sea" { 2 } else { 1 });
        assert_eq!(
            titles(linked),
            titles(store.linked(&tag, Tag::posts(), PostTags::post()).unwrap())
        );
    }
    let by_sea = store
        .query(Post::tags().any(PostTags::tag().any(Tag::label().eq("sea"))))
        .unwrap();
    assert_eq!(titles(by_sea), titles(posts[..2].to_vec()));
    // A deleted post takes its links along, not what it was linked to.
    store.delete(&posts[0]).await.unwrap();
    assert_eq!(store.count(TypedPredicate::<PostTags>::all()).unwrap(), 1);
    assert_eq!(store.count(TypedPredicate::<Tag>::all()).unwrap(), 2);
}

#[tokio::test]
async fn aggregates_have_the_types_of_their_fields() {
    let store = filled().await;
    let posts = store.aggregate(TypedPredicate::<Post>::all()).unwrap();
    assert_eq!(posts.count().unwrap(), 7);
    assert_eq!(posts.min(Post::title()).unwrap().as_deref(), Some("p0"));
    assert_eq!(posts.max(Post::rating()).unwrap(), Some(6));
    assert_eq!(posts.sum(Post::rating()).unwrap(), Some(21_i64));
    assert_eq!(posts.avg(Post::rating()).unwrap(), Some(3.0));
    assert_eq!(
        posts.group_by(Post::status()).count().unwrap(),
        [(None, 2), (Some(Status::Active), 3), (Some(Status::Draft), 2)]
    );
    assert_eq!(
        posts.group_by(Post::status()).max(Post::rating()).unwrap(),
        [
            (None, Some(6)),
            (Some(Status::Active), Some(4)),
            (Some(Status::Draft), Some(5))
        ]
    );
    let none = store.aggregate(Post::rating().gt(100)).unwrap();
    assert_eq!(
        (none.count().unwrap(), none.sum(Post::rating()).unwrap()),
        (0, None)
    );
    let of_a = store.aggregate(Post::blog().any(Blog::name().eq("a"))).unwrap();
    assert_eq!(of_a.sum(Post::rating()).unwrap(), Some(4));
}

#[tokio::test]
async fn shortcuts_find_what_the_query_finds() {
    let store = filled().await;
    assert!(store.exists(Post::rating().eq(6)).unwrap());
    assert!(!store.exists(Post::rating().eq(7)).unwrap());
    let best = store
        .first(ModelQuery::<Post>::all().sort(Post::rating().desc()))
        .unwrap();
    assert_eq!(best.unwrap().title, "p6");
    assert!(store.first(Post::rating().gt(6)).unwrap().is_none());
}

#[tokio::test]
async fn pages_by_cursor_go_on_where_they_ended() {
    let store = in_memory().await;
    store
        .save_all((0..10).map(|n| account(&format!("a{n}"), n)).collect())
        .await
        .unwrap();
    let query = ModelQuery::<Account>::all()
        .sort(Account::cents().desc())
        .limit(4);
    let first = store.page(query.clone(), None).unwrap();
    // What is written before the place shifts nothing, what is written behind it is seen.
    store
        .save_all(vec![account("new", 8), account("late", 3)])
        .await
        .unwrap();
    store.delete(&account("a9", 0)).await.unwrap();
    let second = store.page(query.clone(), first.next.as_ref()).unwrap();
    let ids: Vec<&str> = second.items.iter().map(|account| account.id.as_str()).collect();
    assert_eq!(ids, ["a5", "a4", "a3", "late"]);
    let text = second.next.unwrap().to_string();
    let third = store.page(query, Some(&text.parse().unwrap())).unwrap();
    let ids: Vec<&str> = third.items.iter().map(|account| account.id.as_str()).collect();
    assert_eq!((ids, third.next), (vec!["a2", "a1", "a0"], None));
}

#[tokio::test]
async fn a_query_explains_what_it_costs() {
    let store = filled().await;
    let explained = store.explain(Post::blog().any(Blog::name().eq("a"))).unwrap();
    assert_eq!(explained.relations[0].relation, "Post.blog");
    assert!(!explained.scans, "{explained}");
    assert!(store.explain(Post::rating().gt(1)).unwrap().scans);
}
