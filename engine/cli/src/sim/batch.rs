//! Seeds of a batch on one or several threads, with a progress bar.
//!
//! Owns [`each`]. A simulation is one thread, whichever; what it comes to does not depend on how many there are.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::SeedArgs;

/// Measures what one thread costs.
pub(super) struct Timer {
    start: Instant,
    cpu_ns: Option<u64>,
}

impl Timer {
    /// Begins now.
    pub(super) fn start() -> Self {
        Self {
            start: Instant::now(),
            cpu_ns: cpu_ns(),
        }
    }

    /// Seconds on the wall.
    pub(super) fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Seconds of one core that this thread had; those on the wall where the system does not say. Whatever else the
    /// machine does is not in it.
    pub(super) fn core_seconds(&self) -> f64 {
        match (self.cpu_ns, cpu_ns()) {
            (Some(before), Some(now)) if now > before => (now - before) as f64 / 1e9,
            _ => self.seconds(),
        }
    }
}

/// Time of this thread on a processor, in nanoseconds, where Linux says it.
fn cpu_ns() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// A bar for so many, or a spinner if nobody knows how many; hidden for one alone.
pub(super) fn bar(total: Option<u64>, what: &str) -> ProgressBar {
    match total {
        Some(0 | 1) => ProgressBar::hidden(),
        Some(total) => {
            let style = format!("{{bar:40}} {{pos}} of {{len}} {what}, {{per_sec}}, {{eta}} left");
            let bar = ProgressBar::new(total);
            bar.set_style(
                ProgressStyle::with_template(&style).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar
        }
        None => ProgressBar::new_spinner(),
    }
}

/// Does the work of each seed, and takes what comes of it, in the order in which it comes; with one thread that is the
/// order of the seeds. Ends early when `take` breaks. Shows a bar unless it is to be `quiet`. Returns how many were taken.
///
/// # Errors
/// The first error of `work` or `take`.
pub(super) fn each<T: Send>(
    args: &SeedArgs,
    quiet: bool,
    what: &str,
    work: impl Fn(u64) -> miette::Result<T> + Sync,
    mut take: impl FnMut(&ProgressBar, T) -> miette::Result<ControlFlow<()>>,
) -> miette::Result<u64> {
    args.plant.put()?;
    let progress = if quiet {
        ProgressBar::hidden()
    } else {
        bar(args.time.is_none().then_some(args.runs), what)
    };
    let until = args
        .time
        .map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let end = match until {
        Some(_) => u64::MAX,
        None => args.seed.saturating_add(args.runs),
    };
    let (next, over) = (AtomicU64::new(args.seed), AtomicBool::new(false));
    let (sender, results) = mpsc::sync_channel(usize::from(args.jobs));
    let (mut taken, mut result) = (0, Ok(()));
    std::thread::scope(|scope| {
        for _ in 0..args.jobs {
            let (sender, work, next, over) = (sender.clone(), &work, &next, &over);
            scope.spawn(move || {
                // It was planted on the calling thread before, so that a wrong name is told there.
                args.plant.put().unwrap_or(());
                loop {
                    let late = until.is_some_and(|until| Instant::now() >= until);
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if late || seed >= end || over.load(Ordering::SeqCst) || sender.send(work(seed)).is_err()
                    {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for done in results {
            taken += 1;
            progress.inc(1);
            let flow = done.and_then(|done| take(&progress, done));
            if !matches!(flow, Ok(ControlFlow::Continue(()))) {
                result = flow.map(|_| ());
                over.store(true, Ordering::SeqCst);
                break;
            }
        }
    });
    progress.finish_and_clear();
    result.map(|()| taken)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        args: SeedArgs,
    }

    fn args(text: &str) -> SeedArgs {
        Only::parse_from(text.split(' ')).args
    }

    #[test]
    fn each_seed_is_worked_on_once_on_any_number_of_threads() {
        for jobs in [1, 4] {
            let args = args(&format!("sim --seed 5 --runs 100 --jobs {jobs}"));
            let mut seeds = Vec::new();
            let count = each(&args, true, "seeds", Ok, |_, seed| {
                seeds.push(seed);
                Ok(ControlFlow::Continue(()))
            });
            assert_eq!(count.expect("nothing fails"), 100);
            assert_eq!(seeds.iter().copied().collect::<BTreeSet<_>>(), (5..105).collect());
            assert!(jobs > 1 || seeds.is_sorted());
        }
    }

    #[test]
    fn a_batch_ends_at_a_break_and_at_an_error() {
        let args = args("sim --runs 100 --jobs 3");
        let count = each(&args, true, "seeds", Ok, |_, _| Ok(ControlFlow::Break(())));
        assert_eq!(count.expect("nothing fails"), 1);
        let failing = |_| Err::<(), _>(miette::miette!("no"));
        assert!(
            each(&args, true, "seeds", failing, |_, ()| Ok(ControlFlow::Continue(
                ()
            )))
            .is_err()
        );
    }
}
