//! Faults that tests and simulations inject.
//!
//! Owns [`Faults`]: counters that the service asks at the places where the real service can fail. All are off until set;
//! over the network they can be set only on a server in development mode.

mod command;

pub use command::{BadFault, FaultCommand};

/// Longest delay of a reply, in milliseconds: a minute is longer than any client waits.
pub(crate) const DELAY_MS_MAX: u64 = 60_000;

/// What goes wrong with the next calls; set through [`Backend::faults`](crate::Backend::faults).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    failing: Option<(u32, u16)>,
    lost_replies: u32,
    lost_requests: u32,
    field_errors: Option<(u32, FieldError)>,
    dropped_messages: u32,
    duplicated_messages: u32,
    delayed: Option<(u32, u64)>,
    throttle: Option<Throttle>,
    pub(crate) fan_out_paused: bool,
}

/// A limit on calls in a second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Throttle {
    per_second: u32,
    /// The second that is counted, since 1970, and the calls in it.
    second: i64,
    calls: u32,
}

impl Throttle {
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            per_second,
            second: 0,
            calls: 0,
        }
    }

    /// Counts a call; says whether it is one too many in its second.
    pub(crate) fn is_beyond(&mut self, now_ms: i64) -> bool {
        let second = now_ms.div_euclid(1_000);
        if second != self.second {
            (self.second, self.calls) = (second, 0);
        }
        self.calls = self.calls.saturating_add(1);
        self.calls > self.per_second
    }
}

/// An error of the service that a mutation is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldError {
    /// `DeltaSyncWriteError`: the mutation took effect and yet is answered with an error.
    DeltaSyncWrite,
    /// `MaxConflicts`: nothing was written.
    MaxConflicts,
}

impl Faults {
    /// Answers the next calls with a status, such as 401, 429 or 500, without running them.
    pub fn fail_next(&mut self, calls: u32, status: u16) {
        self.failing = Some((calls, status));
    }

    /// Runs the next calls and loses their replies: what they wrote is there.
    pub fn lose_replies(&mut self, calls: u32) {
        self.lost_replies = calls;
    }

    /// Loses the next calls before they run.
    pub fn lose_requests(&mut self, calls: u32) {
        self.lost_requests = calls;
    }

    /// Answers the next requests with mutations with an error of the service.
    pub fn fail_fields(&mut self, requests: u32, error: FieldError) {
        self.field_errors = Some((requests, error));
    }

    /// Loses the next subscription messages, one for each subscriber.
    pub fn drop_messages(&mut self, messages: u32) {
        self.dropped_messages = messages;
    }

    /// Sends the next subscription messages twice.
    pub fn duplicate_messages(&mut self, messages: u32) {
        self.duplicated_messages = messages;
    }

    /// Runs the next calls and holds their replies back, for so many milliseconds each.
    pub fn delay_replies(&mut self, calls: u32, ms: u64) {
        self.delayed = Some((calls, ms.min(DELAY_MS_MAX)));
    }

    /// Answers calls beyond so many in a second with 429; `None` lets all through.
    pub fn throttle(&mut self, per_second: Option<u32>) {
        self.throttle = per_second.map(Throttle::new);
    }

    /// Holds subscription messages back until [`Backend::resume_fan_out`](crate::Backend::resume_fan_out).
    pub fn pause_fan_out(&mut self) {
        self.fan_out_paused = true;
    }

    pub(crate) fn take_status(&mut self) -> Option<u16> {
        let (left, status) = self.failing.as_mut()?;
        let status = *status;
        take(left).then_some(status)
    }

    /// Counts a call; says whether it is one too many in its second.
    pub(crate) fn take_throttled(&mut self, now_ms: i64) -> bool {
        self.throttle
            .as_mut()
            .is_some_and(|throttle| throttle.is_beyond(now_ms))
    }

    pub(crate) fn take_lost_reply(&mut self) -> bool {
        take(&mut self.lost_replies)
    }

    pub(crate) fn take_lost_request(&mut self) -> bool {
        take(&mut self.lost_requests)
    }

    pub(crate) fn take_field_error(&mut self) -> Option<FieldError> {
        let (left, error) = self.field_errors.as_mut()?;
        let error = *error;
        take(left).then_some(error)
    }

    pub(crate) fn take_delay_ms(&mut self) -> u64 {
        let Some((left, ms)) = self.delayed.as_mut() else {
            return 0;
        };
        let ms = *ms;
        if take(left) { ms } else { 0 }
    }

    pub(crate) fn take_duplicated_message(&mut self) -> bool {
        take(&mut self.duplicated_messages)
    }

    pub(crate) fn take_dropped_message(&mut self) -> bool {
        take(&mut self.dropped_messages)
    }
}

fn take(left: &mut u32) -> bool {
    let some = *left > 0;
    // The greatest number stands for every time.
    if *left < u32::MAX {
        *left = left.saturating_sub(1);
    }
    some
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_happens_as_often_as_it_was_set() {
        let mut faults = Faults::default();
        assert_eq!((faults.take_status(), faults.take_lost_reply()), (None, false));
        faults.fail_next(2, 429);
        faults.lose_replies(1);
        assert_eq!(
            [faults.take_status(), faults.take_status(), faults.take_status()],
            [Some(429), Some(429), None]
        );
        assert_eq!(
            [faults.take_lost_reply(), faults.take_lost_reply()],
            [true, false]
        );
        faults.lose_replies(u32::MAX);
        assert!(faults.take_lost_reply());
        assert_eq!(faults.lost_replies, u32::MAX);
    }

    #[test]
    fn a_throttle_lets_so_many_through_in_each_second() {
        let mut faults = Faults::default();
        assert!(!faults.take_throttled(0));
        faults.throttle(Some(2));
        let throttled =
            |faults: &mut Faults, at_ms| (0..3).map(|_| faults.take_throttled(at_ms)).collect::<Vec<_>>();
        assert_eq!(throttled(&mut faults, 1_999), [false, false, true]);
        assert_eq!(throttled(&mut faults, 2_000), [false, false, true]);
        faults.throttle(None);
        assert_eq!(throttled(&mut faults, 2_000), [false; 3]);
    }
}
