//! What observers say of a store whose disk cannot be read for once: the error, and then everything that they owe.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use landfall::{DataStore, Disk, Error, ModelQuery, TypedPredicate};
use landfall_storage::{InMemoryBackend, StorageBackend};

use crate::{Blog, Post, schema};

/// A disk in memory of which as many reads fail as it is told, from that moment on.
#[derive(Clone, Debug, Default)]
struct Failing {
    bytes: Arc<InMemoryBackend>,
    failures: Arc<AtomicUsize>,
}

impl StorageBackend for Failing {
    fn len(&self) -> io::Result<u64> {
        self.bytes.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let one_less = |left: usize| left.checked_sub(1);
        if self
            .failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
            .is_ok()
        {
            return Err(io::Error::other("the sector is bad for now"));
        }
        self.bytes.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.bytes.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.bytes.write(offset, data)
    }
}

impl Failing {
    /// Opens the store on it with next to no memory, so that records are read from the disk.
    async fn open(&self) -> DataStore {
        let disk = self.clone();
        DataStore::builder(schema())
            .disk(Disk::Custom(Arc::new(move || Ok(Box::new(disk.clone())))))
            .cache_bytes(0)
            .local_only()
            .open()
            .await
            .unwrap()
    }

    /// Has the next read fail, and no other.
    fn fail_once(&self) {
        self.failures.store(1, Ordering::SeqCst);
    }

    fn has_failed(&self) -> bool {
        self.failures.load(Ordering::SeqCst) == 0
    }
}

/// Waits for something that has to come without anybody's doing.
async fn soon<T>(comes: impl Future<Output = Option<T>>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(30), comes).await;
    waited.expect("it waits for another change").expect("it goes on")
}

/// A store with many posts of one blog, opened anew so that nothing of them is in memory.
async fn with_posts() -> (Failing, DataStore, Blog) {
    let disk = Failing::default();
    let store = disk.open().await;
    let blog = store
        .save(Blog::builder().name("b").stars(5).build().unwrap())
        .await
        .unwrap();
    let post = |number: usize| post_of(&blog, &format!("{number:04}"));
    store.save_all((0..300).map(post).collect()).await.unwrap();
    store.close().await;
    let store = disk.open().await;
    (disk, store, blog)
}

fn post_of(blog: &Blog, title: &str) -> Post {
    Post::builder()
        .title(title)
        .blog_posts_id(blog.id.clone())
        .build()
        .unwrap()
}

#[tokio::test]
async fn an_observed_query_through_relations_that_could_not_be_read_is_read_again_by_the_next_call() {
    let (disk, store, blog) = with_posts().await;
    let query = || {
        ModelQuery::<Post>::all()
            .filter(Post::blog().any(Blog::stars().gt(3)))
            .sort(Post::title().asc())
    };
    let mut posts = store.observe_query(query()).await.unwrap();
    assert_eq!(soon(posts.next()).await.unwrap().total, 300);
    for round in 1..=3 {
        store.save(post_of(&blog, "new")).await.unwrap();
        disk.fail_once();
        let failed = match round {
            1 => soon(posts.next()).await.map(drop),
            2 => soon(posts.next_changes()).await.map(drop),
            _ => soon(posts.next_total()).await.map(drop),
        };
        assert!(matches!(failed, Err(Error::Storage(_))), "{failed:?}");
        assert!(disk.has_failed());
        let shown = match round {
            1 => soon(posts.next()).await.unwrap().items.len(),
            2 => posts.try_next().unwrap().unwrap().items.len(),
            _ => soon(posts.next_total()).await.unwrap(),
        };
        assert_eq!(shown, 300 + round);
        assert!(posts.try_next().is_none(), "it is told once");
    }
    store.close().await;
    assert!(posts.next().await.is_none());
}

#[tokio::test]
async fn a_page_that_could_not_be_read_again_is_read_by_the_next_call() {
    let (disk, store, _) = with_posts().await;
    let query = ModelQuery::<Post>::all().sort(Post::title().asc()).limit(5);
    let mut page = store.observe_query(query).await.unwrap();
    soon(page.next()).await.unwrap();
    // More than is kept beside a page.
    let gone = store.delete_where(Post::title().lt("0200")).await.unwrap();
    assert_eq!(gone.len(), 200);
    disk.fail_once();
    let failed = soon(page.next()).await.map(drop);
    assert!(matches!(failed, Err(Error::Storage(_))), "{failed:?}");
    let shown = soon(page.next()).await.unwrap();
    assert_eq!((shown.total, shown.items[0].title.as_str()), (100, "0200"));
    store.close().await;
    assert!(page.next().await.is_none());
}

#[tokio::test]
async fn an_observer_through_relations_says_that_it_could_not_look_at_a_change_and_that_it_left_it_out() {
    let (disk, store, blog) = with_posts().await;
    let of_good_blogs: TypedPredicate<Post> = Post::blog().any(Blog::stars().gt(3));
    let mut posts = store.observe(of_good_blogs).await.unwrap();
    for round in 0..3 {
        store.save(post_of(&blog, "lost")).await.unwrap();
        disk.fail_once();
        let failed = match round {
            0 => soon(posts.next()).await.map(drop),
            1 => soon(posts.next_set()).await.map(drop),
            _ => posts.try_next().unwrap().map(drop),
        };
        assert!(matches!(failed, Err(Error::Storage(_))), "{failed:?}");
        assert!(!posts.has_ended());
        let behind = match round {
            0 => soon(posts.next()).await.map(drop),
            1 => soon(posts.next_set()).await.map(drop),
            _ => posts.try_next().unwrap().map(drop),
        };
        assert!(matches!(behind, Err(Error::FellBehind { .. })), "{behind:?}");
        assert!(posts.try_next().is_none(), "it says so once");
        store.save(post_of(&blog, "next")).await.unwrap();
        assert_eq!(soon(posts.next()).await.unwrap().element.title, "next");
    }
    store.close().await;
    assert!(posts.next().await.is_none() && posts.has_ended());
}
