//! One timer for each actor: its machine says when it next wants to be asked, this file sees to it.
//!
//! Owns [`Timer`] and [`Timed`]. Deadlines are milliseconds of the environment's clock; what is due, and what is
//! done about it, is the machine's business.
//!
//! Invariants: 1. at most one deadline is armed, and arming another cancels it; 2. a deadline that stays the same keeps
//! its place among those of other actors; 3. a timer that comes due is traced like a message.

use std::time::Duration;

use actix::prelude::*;

use crate::flight::later;
use crate::port::{Handle, Message};

/// What the trace calls a timer that came due.
const TIMER_DUE: &str = "TimerDue";

/// The deadline of one actor.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    armed: Option<Armed>,
}

#[derive(Debug)]
struct Armed {
    due_ms: u64,
    handle: SpawnHandle,
}

/// An actor with a [`Timer`].
pub(crate) trait Timed: Handle {
    /// The actor's timer.
    fn timer(&mut self) -> &mut Timer;

    /// The deadline that was armed has come. None is armed any more.
    fn timer_due(&mut self, ctx: &mut Context<Self>);
}

/// Has [`Timed::timer_due`] called at `due_ms`, or never for `None`; whatever was armed before no longer counts.
///
/// A deadline in the past comes due at once, but not before this handler has ended.
pub(crate) fn arm<A: Timed>(actor: &mut A, ctx: &mut Context<A>, due_ms: Option<u64>) {
    let armed = actor.timer().armed.take();
    if let (Some(armed), Some(due_ms)) = (&armed, due_ms)
        && armed.due_ms == due_ms
    {
        actor.timer().armed = Some(Armed {
            due_ms,
            handle: armed.handle,
        });
        return;
    }
    if let Some(armed) = armed {
        ctx.cancel_future(armed.handle);
    }
    let Some(due_ms) = due_ms else { return };
    let delay = Duration::from_millis(due_ms.saturating_sub(actor.env().clock.now_ms()));
    let handle = later(actor, ctx, TIMER_DUE, delay, |actor: &mut A, ctx| {
        actor.timer().armed = None;
        let env = actor.env();
        env.trace
            .handled(env.clock.now_ms(), <A::Message as Message>::ACTOR, TIMER_DUE);
        actor.timer_due(ctx);
    });
    actor.timer().armed = Some(Armed { due_ms, handle });
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::env::Env;
    use crate::test_support::{SimTime, on_paused_time, paused_env};

    #[derive(Debug)]
    enum Command {
        Arm(Option<u64>),
    }

    impl Message for Command {
        const ACTOR: &'static str = "Sleeper";

        fn name(&self) -> &'static str {
            "Arm"
        }
    }

    struct Sleeper {
        env: Env,
        timer: Timer,
        due_at: Arc<Mutex<Vec<u64>>>,
    }

    impl Handle for Sleeper {
        type Message = Command;

        fn env(&self) -> &Env {
            &self.env
        }

        fn handle(&mut self, Command::Arm(due_ms): Command, ctx: &mut Context<Self>) {
            arm(self, ctx, due_ms);
        }
    }

    impl Timed for Sleeper {
        fn timer(&mut self) -> &mut Timer {
            &mut self.timer
        }

        fn timer_due(&mut self, _: &mut Context<Self>) {
            self.due_at.lock().unwrap().push(self.env.clock.now_ms());
        }
    }

    crate::actor!(Sleeper);

    /// Arms the deadlines one after the other, and says when the timer came due within a second.
    fn due_at(deadlines: &'static [Option<u64>]) -> Vec<u64> {
        on_paused_time(async move {
            let env = paused_env(None);
            let due_at = Arc::<Mutex<Vec<u64>>>::default();
            let sleeper = Sleeper {
                env: env.clone(),
                timer: Timer::default(),
                due_at: Arc::clone(&due_at),
            };
            let port = crate::Port::new(&sleeper.start(), env);
            for due_ms in deadlines {
                port.tell(Command::Arm(*due_ms)).unwrap();
            }
            SimTime::pass(1_000).await;
            due_at.lock().unwrap().clone()
        })
    }

    #[test]
    fn a_deadline_comes_due_at_its_millisecond_and_once() {
        assert_eq!(due_at(&[Some(250)]), [250]);
        assert_eq!(due_at(&[Some(250), Some(250)]), [250]);
    }

    #[test]
    fn arming_anew_cancels_what_was_armed() {
        assert_eq!(due_at(&[Some(100), Some(300)]), [300]);
        assert_eq!(due_at(&[Some(300), Some(100)]), [100]);
        assert_eq!(due_at(&[Some(100), None]), [0_u64; 0]);
    }

    #[test]
    fn a_deadline_in_the_past_is_due_at_once() {
        assert_eq!(due_at(&[Some(0)]), [0]);
    }
}
