//! The state that the source, the stream and the page share.

use super::picture::Picture;
use causalclipseg::stream::StreamEvent;
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// What does not change while the page is open.
#[derive(Clone, Serialize)]
pub(super) struct Setting {
    pub source: String,
    pub model: String,
}

/// What the page shows beside the frame.
#[derive(Clone, Default, Serialize)]
pub(super) struct State {
    pub prompts: Vec<String>,
    pub paused: bool,
    /// Why no more frames come.
    pub ended: Option<String>,
    /// Why the newest frame has no result.
    pub problem: Option<String>,
}

pub(super) struct Screen {
    pub setting: Setting,
    state: Mutex<State>,
    newest: watch::Sender<Option<Arc<Picture>>>,
    /// The frame that is shown is to be segmented again.
    again: AtomicBool,
    /// The last frame that was submitted again; locked while it is, so that its result finds it here.
    repeated: Mutex<Option<u64>>,
    /// One more frame is wanted while the screen is paused.
    step: AtomicBool,
}

impl Screen {
    pub(super) fn new(setting: Setting, prompts: Vec<String>) -> Self {
        let state = Mutex::new(State { prompts, ..State::default() });
        let (newest, _) = watch::channel(None);
        Self {
            setting,
            state,
            newest,
            again: AtomicBool::new(false),
            repeated: Mutex::new(None),
            step: AtomicBool::new(false),
        }
    }

    /// The state, locked.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an event of the stream.
    pub(super) fn receive(&self, event: &StreamEvent<'_>) {
        match event {
            StreamEvent::Frame(result) => {
                self.state().problem = None;
                let is_repeated = *self.repeated() == Some(result.sequence);
                self.newest.send_modify(|newest| {
                    let number = newest.as_ref().map_or(1, |picture| picture.number + 1);
                    *newest = Some(Arc::new(Picture::new(number, result, is_repeated)));
                });
            }
            StreamEvent::Failed { sequence, reason, .. } => {
                self.state().problem = Some(format!("frame {sequence} has no result: {reason}"));
            }
            StreamEvent::Stopped { reason } => self.state().ended = Some(format!("segmenting has stopped: {reason}")),
            _ => {}
        }
    }

    /// The newest picture, once it is another than number `seen`; `None` where it stays the same for `patience`.
    pub(super) async fn other_than(&self, seen: u64, patience: Duration) -> Option<Arc<Picture>> {
        let mut newest = self.newest.subscribe();
        let is_other = |picture: &Option<Arc<Picture>>| picture.as_ref().is_some_and(|picture| picture.number != seen);
        let found = tokio::time::timeout(patience, newest.wait_for(is_other)).await;
        found.ok()?.ok()?.clone()
    }

    /// Asks for the frame that is shown to be segmented again, since the prompts have changed.
    pub(super) fn ask_again(&self) {
        self.again.store(true, Ordering::Release);
    }

    pub(super) fn take_again(&self) -> bool {
        self.again.swap(false, Ordering::AcqRel)
    }

    /// The number of the last frame that was submitted again, locked.
    pub(super) fn repeated(&self) -> MutexGuard<'_, Option<u64>> {
        self.repeated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for one more frame.
    pub(super) fn ask_for_step(&self) {
        self.step.store(true, Ordering::Release);
    }

    /// Whether frames are to be left where they are.
    pub(super) fn is_held(&self) -> bool {
        self.state().paused && !self.step.load(Ordering::Acquire)
    }

    /// Notes that a frame was submitted, which carries out a step.
    pub(super) fn note_frame(&self) {
        self.step.store(false, Ordering::Release);
    }
}
