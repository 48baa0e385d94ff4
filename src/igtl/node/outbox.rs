//! The messages that wait for one peer: the newest of each result, and a few replies.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The most waiting replies; the oldest is dropped.
const MAX_REPLIES: usize = 32;

/// The kind of a message: a newer one replaces one of the same kind that still waits. The numbers are prompts'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    Mask(usize),
    Contours(usize),
    Report(usize),
    Status,
    /// Replies never replace each other.
    Reply,
}

/// The writer's next action.
pub(super) enum Next {
    Send(Arc<Vec<u8>>),
    Nothing,
    Closed,
}

#[derive(Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Slot, Arc<Vec<u8>>)>,
    /// The time until which waiting messages may be sent, once it is closed.
    closed: Option<Instant>,
}

impl Outbox {
    /// Appends a message. Returns whether it replaced an older one in the same slot.
    pub(crate) fn push(&self, slot: Slot, message: Arc<Vec<u8>>) -> bool {
        let mut state = self.lock();
        if state.closed.is_some() {
            return false;
        }
        let older = match slot {
            Slot::Reply => {
                let replies = state.waiting.iter().filter(|(slot, _)| *slot == Slot::Reply).count();
                (replies >= MAX_REPLIES).then_some(Slot::Reply)
            }
            slot => Some(slot),
        };
        let place = older.and_then(|older| state.waiting.iter().position(|(slot, _)| *slot == older));
        if let Some(place) = place {
            state.waiting.remove(place);
        }
        state.waiting.push_back((slot, message));
        drop(state);
        self.changed.notify_one();
        place.is_some()
    }

    /// Accepts no more messages; waiting ones may be sent for the time of `grace`.
    pub(crate) fn close(&self, grace: Duration) {
        let mut state = self.lock();
        state.closed.get_or_insert(Instant::now() + grace);
        if grace.is_zero() {
            state.waiting.clear();
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Whether the time for the last messages is over.
    pub(crate) fn is_over(&self) -> bool {
        self.lock().closed.is_some_and(|until| Instant::now() >= until)
    }

    /// The next message; waits for one, at most `patience`.
    pub(crate) fn next(&self, patience: Duration) -> Next {
        let state = self.lock();
        let idle = |state: &mut State| state.waiting.is_empty() && state.closed.is_none();
        let waited = self.changed.wait_timeout_while(state, patience, idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match state.waiting.pop_front() {
            Some((_, message)) => Next::Send(message),
            None if state.closed.is_some() => Next::Closed,
            None => Next::Nothing,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(byte: u8) -> Arc<Vec<u8>> {
        Arc::new(vec![byte])
    }

    fn sent(outbox: &Outbox) -> Vec<u8> {
        let next = || match outbox.next(Duration::ZERO) {
            Next::Send(message) => Some(message[0]),
            Next::Nothing | Next::Closed => None,
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn the_newest_result_wins_and_replies_stay() {
        let outbox = Outbox::default();
        assert!(!outbox.push(Slot::Mask(0), message(1)));
        assert!(!outbox.push(Slot::Mask(1), message(2)));
        assert!(!outbox.push(Slot::Reply, message(3)) && !outbox.push(Slot::Reply, message(4)));
        assert!(outbox.push(Slot::Mask(0), message(5)));
        assert_eq!(sent(&outbox), [2, 3, 4, 5]);
        for byte in 0..40 {
            assert_eq!(outbox.push(Slot::Reply, message(byte)), byte >= 32);
        }
        assert_eq!(sent(&outbox), (8..40).collect::<Vec<u8>>());
    }

    #[test]
    fn closing_lets_the_last_messages_out() {
        let outbox = Outbox::default();
        outbox.push(Slot::Status, message(1));
        outbox.close(Duration::from_secs(60));
        assert!(!outbox.push(Slot::Status, message(2)) && !outbox.is_over());
        assert!(matches!(outbox.next(Duration::ZERO), Next::Send(_)));
        assert!(matches!(outbox.next(Duration::from_secs(60)), Next::Closed));
        let abandoned = Outbox::default();
        abandoned.push(Slot::Status, message(1));
        abandoned.close(Duration::ZERO);
        assert!(abandoned.is_over() && matches!(abandoned.next(Duration::ZERO), Next::Closed));
    }
}
