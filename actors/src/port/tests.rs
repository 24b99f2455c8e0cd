use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::env::Schedule;
use crate::test_support::{SimTime, ear, on_paused_time, paused_env};

/// What an ear hears of in these tests.
#[derive(Debug)]
enum Word {
    Said(u32),
    Asked(Reply<u32>),
}

impl Message for Word {
    const ACTOR: &'static str = "Ear";

    fn name(&self) -> &'static str {
        "Word"
    }
}

/// Holds what it is told to hold.
#[derive(Default)]
struct Turnstile {
    message_ms: AtomicU64,
    answer_ms: AtomicU64,
}

impl Schedule for Turnstile {
    fn hold_ms(&self, _: &'static str) -> u64 {
        self.message_ms.load(Ordering::SeqCst)
    }

    fn hold_answer_ms(&self, _: &'static str) -> u64 {
        self.answer_ms.load(Ordering::SeqCst)
    }
}

fn held_env(turnstile: &Arc<Turnstile>) -> Env {
    Env {
        schedule: Arc::clone(turnstile) as Arc<dyn Schedule>,
        ..paused_env(None)
    }
}

#[test]
fn what_is_not_held_does_not_pass_what_is_due_at_that_very_moment() {
    on_paused_time(async {
        let turnstile = Arc::new(Turnstile::default());
        let (port, mut told) = ear::<Word>(&held_env(&turnstile));
        let sender = port.clone();
        let holding = Arc::clone(&turnstile);
        // Its alarm is set before that of the turnstile, so that at that time the sender is the first to wake.
        let woken = actix::spawn(async move {
            SimTime::pass(10).await;
            holding.message_ms.store(0, Ordering::SeqCst);
            sender.tell(Word::Said(2)).unwrap();
        });
        SimTime::pass(1).await;
        turnstile.message_ms.store(9, Ordering::SeqCst);
        port.tell(Word::Said(1)).unwrap();
        woken.await.unwrap();
        port.tell(Word::Said(3)).unwrap();
        for expected in 1..=3 {
            let (at_ms, word) = told.recv().await.unwrap();
            assert!(matches!(word, Word::Said(said) if said == expected), "{word:?}");
            assert_eq!(at_ms, 10);
        }
    });
}

#[test]
fn an_answer_that_is_held_comes_after_what_was_said_meanwhile() {
    on_paused_time(async {
        let turnstile = Arc::new(Turnstile::default());
        turnstile.answer_ms.store(5, Ordering::SeqCst);
        let env = held_env(&turnstile);
        let (port, mut told) = ear::<Word>(&env);
        let (listener, mut overheard) = ear::<Word>(&env);
        let asking = actix::spawn({
            let (port, clock) = (port.clone(), Arc::clone(&env.clock));
            async move { (port.ask(Word::Asked).await, clock.now_ms()) }
        });
        let Some((0, Word::Asked(reply))) = told.recv().await else {
            panic!("it is asked at once")
        };
        reply.send(7);
        listener.tell(Word::Said(1)).unwrap();
        let (heard_ms, _) = overheard.recv().await.unwrap();
        assert_eq!((heard_ms, asking.await.unwrap()), (0, (Ok(7), 5)));
    });
}
