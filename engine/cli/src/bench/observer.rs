//! Figure of an observer: how soon after a commit it hears of it.
//!
//! Owns the disk that notes when a sync ends, which is when the commit is durable. An app cannot see that moment: the
//! answer of a save comes after it too, and as a rule after the observer was told.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use landfall::{DataStore, Disk, TypedPredicate};
use landfall_storage::StorageBackend;
use redb::backends::FileBackend;

use super::figure::Figure;
use super::rows::{self, Item, Scale, item, report};

pub(super) const NAMES: [&str; 1] = ["commit to observer, p99"];

/// What a person does not notice, in milliseconds.
const TARGET_MS: f64 = 1.0;

/// When the last sync ended.
type LastSync = Arc<Mutex<Option<Instant>>>;

/// A file that notes when it was synced.
#[derive(Debug)]
struct Timed {
    file: FileBackend,
    last: LastSync,
}

impl StorageBackend for Timed {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()?;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }
}

/// A disk that is one file, and when it was last synced.
fn timed_disk(path: &Path) -> (Disk, LastSync) {
    let last = LastSync::default();
    let (path, noted) = (path.to_owned(), Arc::clone(&last));
    let open = move || {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = FileBackend::new(options.open(&path)?).map_err(io::Error::other)?;
        let backend: Box<dyn StorageBackend> = Box::new(Timed {
            file,
            last: Arc::clone(&noted),
        });
        Ok(backend)
    };
    (Disk::Custom(Arc::new(open)), last)
}

/// How long after the end of a commit's sync an observer has the change in hand, in 99 of 100 cases.
pub(super) fn commit_to_observer(directory: &Path, scale: &Scale) -> miette::Result<Vec<Figure>> {
    std::fs::create_dir_all(directory).map_err(report)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(report)?;
    let (disk, last) = timed_disk(&directory.join("store"));
    let p99 = runtime.block_on(async {
        let store = DataStore::builder(rows::schema())
            .disk(disk)
            .open()
            .await
            .map_err(report)?;
        let p99 = p99(&store, scale.saves, &last).await?;
        store.close().await;
        miette::Result::<Duration>::Ok(p99)
    })?;
    let ms = p99.as_secs_f64() * 1e3;
    Ok(vec![Figure::cost(NAMES[0], "ms", ms, TARGET_MS, 1.0)])
}

async fn p99(store: &DataStore, saves: usize, last: &LastSync) -> miette::Result<Duration> {
    let mut observer = store
        .observe(TypedPredicate::<Item>::all())
        .await
        .map_err(report)?;
    let mut took = Vec::with_capacity(saves);
    for number in 0..saves {
        let heard = async {
            let change = observer.next().await;
            // Nothing else is written until the save below was answered, so the last sync is the one of this commit.
            let synced = *last.lock().unwrap_or_else(PoisonError::into_inner);
            (change, synced.map(|synced| synced.elapsed()))
        };
        let ((change, since), saved) = futures_util::future::join(heard, store.save(item(number))).await;
        change
            .ok_or_else(|| miette::miette!("the observer was cut off"))?
            .map_err(report)?;
        saved.map_err(report)?;
        took.push(since.ok_or_else(|| miette::miette!("a save was answered that was not synced"))?);
    }
    took.sort();
    took.get(took.len() * 99 / 100)
        .copied()
        .ok_or_else(|| miette::miette!("nothing was saved"))
}
