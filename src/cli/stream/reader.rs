//! A thread that reads frames ahead of the stream, so that a stalled source cannot keep the command from ending.

use super::feed::Feed;
use causalclipseg::io::source::FrameBuffer;
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

/// The number of frames that are read and wait, beside one that is being read.
const READ_AHEAD: usize = 1;

/// The reader's next result.
pub(in super::super) enum Next {
    Frame(FrameBuffer),
    End,
    /// The source failed, and why.
    Failed(String),
    /// No frame arrived in time.
    Nothing,
}

pub(in super::super) struct Reader {
    frames: Receiver<Result<FrameBuffer, String>>,
    empty: SyncSender<FrameBuffer>,
}

impl Reader {
    /// Starts the thread. It ends with the source, or when no more frames are wanted; one that waits for its source is
    /// left behind.
    pub(crate) fn start(mut feed: Feed) -> io::Result<Self> {
        let (send, frames) = mpsc::sync_channel(READ_AHEAD);
        let (empty, used) = mpsc::sync_channel::<FrameBuffer>(READ_AHEAD + 2);
        let read = move || {
            loop {
                let mut buffer = used.try_recv().unwrap_or_default();
                let (next, is_last) = match feed.next(&mut buffer) {
                    Ok(true) => (Ok(buffer), false),
                    Ok(false) => return,
                    Err(failure) => (Err(super::super::one_line(failure.as_ref())), true),
                };
                if send.send(next).is_err() || is_last {
                    return;
                }
            }
        };
        thread::Builder::new().name("causalclipseg-reader".into()).spawn(read)?;
        Ok(Self { frames, empty })
    }

    pub(crate) fn next(&self, patience: Duration) -> Next {
        match self.frames.recv_timeout(patience) {
            Ok(Ok(buffer)) => Next::Frame(buffer),
            Ok(Err(reason)) => Next::Failed(reason),
            Err(RecvTimeoutError::Timeout) => Next::Nothing,
            Err(RecvTimeoutError::Disconnected) => Next::End,
        }
    }

    /// Returns a buffer to read into again.
    pub(crate) fn give_back(&self, buffer: FrameBuffer) {
        // The thread may have ended, or have enough buffers.
        let _ = self.empty.try_send(buffer);
    }
}
