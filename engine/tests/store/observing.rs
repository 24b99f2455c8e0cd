//! Observed queries are, after each write, what the query finds when it is run again.

use landfall::{DataStore, ModelQuery, QueryObserver, QuerySnapshot, TypedPredicate};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::{Blog, Post, block_on, in_memory, proptest_config};

/// One record to be saved or deleted.
#[derive(Clone, Debug)]
enum Step {
    Blog(usize, i32),
    Post(usize, Option<i32>, usize),
    DeletePost(usize),
    DeleteBlog(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..3_usize, 0..3_i32).prop_map(|(blog, stars)| Step::Blog(blog, stars)),
        8 => (0..8_usize, option::of(0..5_i32), 0..4_usize).prop_map(|(p, r, b)| Step::Post(p, r, b)),
        2 => (0..8_usize).prop_map(Step::DeletePost),
        1 => (0..3_usize).prop_map(Step::DeleteBlog),
    ]
}

/// Records by number, as last read.
struct World {
    store: DataStore,
    blogs: Vec<Blog>,
    posts: Vec<Post>,
}

impl World {
    async fn new() -> Self {
        let blog = |_| Blog::builder().name("B").build().unwrap();
        let post = |number| Post::builder().title(format!("t{}", number % 3)).build().unwrap();
        Self {
            store: in_memory().await,
            blogs: (0..3).map(blog).collect(),
            posts: (0..8).map(post).collect(),
        }
    }

    async fn take(&self, steps: &[Step]) {
        let done = self.store.transaction(|tx| {
            for step in steps {
                match step {
                    Step::Blog(number, stars) => {
                        let blog = tx.get::<Blog>(self.blogs[*number].id.as_str())?;
                        let blog = blog.unwrap_or_else(|| self.blogs[*number].clone());
                        tx.save(&Blog::copy_of(&blog, |blog| blog.stars = Some(*stars)))?;
                    }
                    Step::Post(number, rating, blog) => {
                        let post = tx.get::<Post>(self.posts[*number].id.as_str())?;
                        let post = post.unwrap_or_else(|| self.posts[*number].clone());
                        tx.save(&Post::copy_of(&post, |post| {
                            post.rating = *rating;
                            post.blog_posts_id = self.blogs.get(*blog).map(|blog| blog.id.clone());
                        }))?;
                    }
                    Step::DeletePost(number) => tx.delete(&self.posts[*number])?,
                    Step::DeleteBlog(number) => tx.delete(&self.blogs[*number])?,
                }
            }
            Ok(())
        });
        // A post that a deleted blog took along may be saved again in the same transaction, which is refused as a
        // whole; then nothing has changed, which is as good a step as any.
        done.await.ok();
        // Whoever observes now has been told of everything before.
        self.store.observe(TypedPredicate::<Post>::all()).await.unwrap();
    }
}

fn newest(observer: &mut QueryObserver<Post>, last: &mut QuerySnapshot<Post>) {
    while let Some(next) = observer.try_next() {
        *last = next.unwrap();
    }
}

fn query(number: usize, limit: Option<usize>, page: usize) -> ModelQuery<Post> {
    let query = match number {
        0 => ModelQuery::all(),
        1 => ModelQuery::all()
            .filter(Post::rating().gt(1))
            .sort(Post::rating().desc()),
        2 => ModelQuery::all().sort(Post::title().asc().then(Post::rating().asc())),
        3 => Post::blog().any(Blog::stars().gt(0)).into(),
        _ => ModelQuery::all().sort(Post::blog().by(Blog::stars().desc())),
    };
    match limit {
        Some(limit) => query.limit(limit).page(page),
        None => query,
    }
}

proptest! {
    #![proptest_config(proptest_config(64))]

    #[test]
    fn an_observed_query_is_the_query_run_again(
        steps in vec(vec(step(), 1..4), 1..25),
        number in 0..5_usize,
        limit in option::of(1..4_usize),
        page in 0..2_usize,
        first in 0..5_usize,
    ) {
        block_on(async {
            let world = World::new().await;
            let (before, after) = steps.split_at(first.min(steps.len()));
            for steps in before {
                world.take(steps).await;
            }
            let query = query(number, limit, page);
            let mut observer = world.store.observe_query(query.clone()).await.unwrap();
            let mut last = observer.next().await.unwrap().unwrap();
            for steps in [Vec::new()].iter().chain(after) {
                world.take(steps).await;
                newest(&mut observer, &mut last);
                let all = world.store.query(query.clone()).unwrap();
                prop_assert_eq!(&last.items, &all);
                if limit.is_none() {
                    prop_assert_eq!(last.total, all.len());
                }
            }
            world.store.close().await;
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_page_tells_how_many_there_are_in_all() {
    let store = in_memory().await;
    let mut observer = store
        .observe_query(ModelQuery::<Post>::all().sort(Post::title().asc()).limit(1))
        .await
        .unwrap();
    assert_eq!(observer.next().await.unwrap().unwrap().total, 0);
    for title in ["b", "c", "a"] {
        store
            .save(Post::builder().title(title).build().unwrap())
            .await
            .unwrap();
        let shown = observer.next().await.unwrap().unwrap();
        assert_eq!(shown.items.len(), 1);
        assert_eq!(
            shown.total as u64,
            store.count(TypedPredicate::<Post>::all()).unwrap()
        );
    }
}

#[tokio::test]
async fn a_query_that_follows_relations_is_run_again_only_for_models_that_it_involves() {
    let store = in_memory().await;
    let blog = store
        .save(Blog::builder().name("S").stars(5).build().unwrap())
        .await
        .unwrap();
    let post = store
        .save(Post::builder().title("one").blog(&blog).build().unwrap())
        .await
        .unwrap();
    let mut observer = store
        .observe_query(Post::blog().any(Blog::stars().gt(3)))
        .await
        .unwrap();
    assert_eq!(
        observer.next().await.unwrap().unwrap().items,
        std::slice::from_ref(&post)
    );
    let account = store.save(crate::account("a", 1)).await.unwrap();
    store.delete(&account).await.unwrap();
    assert!(
        observer.try_next().is_none(),
        "accounts have nothing to do with it"
    );
    store
        .save(Blog::copy_of(&blog, |blog| blog.stars = Some(1)))
        .await
        .unwrap();
    assert!(observer.next().await.unwrap().unwrap().items.is_empty());
}

#[tokio::test]
async fn changes_are_told_by_what_their_record_is_related_to() {
    let store = in_memory().await;
    let starred = store
        .save(Blog::builder().name("S").stars(5).build().unwrap())
        .await
        .unwrap();
    let plain = store
        .save(Blog::builder().name("P").build().unwrap())
        .await
        .unwrap();
    let mut changes = store
        .observe(Post::blog().any(Blog::stars().gt(3)))
        .await
        .unwrap();
    for (title, blog) in [("one", &plain), ("two", &starred)] {
        store
            .save(Post::builder().title(title).blog(blog).build().unwrap())
            .await
            .unwrap();
    }
    assert_eq!(changes.next().await.unwrap().unwrap().element.title, "two");
}

#[tokio::test]
async fn a_count_is_kept_without_the_records() {
    let store = in_memory().await;
    let mut observer = store.observe_query(Post::rating().gt(2)).await.unwrap();
    assert_eq!(observer.next_total().await.unwrap().unwrap(), 0);
    for rating in [1, 3, 5] {
        store
            .save(Post::builder().title("t").rating(rating).build().unwrap())
            .await
            .unwrap();
    }
    while observer.next_total().await.unwrap().unwrap() < 2 {}
    let best = store.first(Post::rating().eq(5)).unwrap().unwrap();
    store.delete(&best).await.unwrap();
    assert_eq!(observer.next_total().await.unwrap().unwrap(), 1);
}
