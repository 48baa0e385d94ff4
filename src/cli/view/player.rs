//! Frames from a source to the stream, at a pace that can be watched, until the command ends.

use super::super::interrupts::{Interrupts, Signal};
use super::super::one_line;
use super::super::stream::{Next, Reader};
use super::screen::Screen;
use causalclipseg::frame::Region;
use causalclipseg::io::source::FrameBuffer;
use causalclipseg::stream::{Stream, Submission};
use std::thread;
use std::time::{Duration, Instant};

/// How often the player looks for what the page or the user asks.
const TICK: Duration = Duration::from_millis(20);
/// The time of a frame whose source states none.
const UNTIMED: Duration = Duration::from_secs(1);
/// The longest time between two frames of a file, whatever their timestamps say.
const LONGEST: Duration = Duration::from_secs(2);

pub(super) struct Player<'a> {
    pub screen: &'a Screen,
    pub stream: &'a Stream,
    /// Whether frames arrive at the source's own pace, and are lost while the screen is paused.
    pub is_live: bool,
    pub rate: Option<f64>,
    pub region: Option<Region>,
}

/// The frame that is shown, the next one, and when it is due.
struct Reel {
    shown: Option<FrameBuffer>,
    next: Option<FrameBuffer>,
    due: Instant,
}

impl Player<'_> {
    /// Plays until a signal ends the command; the page stays after the source's end.
    pub(super) fn run(&self, reader: &Reader, interrupts: &Interrupts) -> Signal {
        let mut reel = Reel { shown: None, next: None, due: Instant::now() };
        let mut has_ended = false;
        loop {
            if let Some(signal) = interrupts.signal() {
                return signal;
            }
            if self.screen.take_again()
                && let Some(shown) = &reel.shown
            {
                let mut repeated = self.screen.repeated();
                *repeated = self.submit(shown);
            }
            match reel.next.take() {
                _ if has_ended => thread::sleep(TICK),
                // A live source goes on while the screen does not.
                Some(next) if self.is_live && self.screen.is_held() => reader.give_back(next),
                Some(next) if !self.is_live && (self.screen.is_held() || Instant::now() < reel.due) => {
                    reel.next = Some(next);
                    let left = reel.due.saturating_duration_since(Instant::now());
                    thread::sleep(if left.is_zero() { TICK } else { left.min(TICK) });
                }
                Some(next) => {
                    self.submit(&next);
                    self.screen.note_frame();
                    reel.due = reel.due.max(Instant::now());
                    if let Some(old) = reel.shown.replace(next) {
                        reader.give_back(old);
                    }
                }
                None => match reader.next(TICK) {
                    Next::Frame(frame) => {
                        if let Some(shown) = &reel.shown {
                            reel.due += self.pause_between(shown, &frame);
                        }
                        reel.next = Some(frame);
                    }
                    Next::End => {
                        has_ended = true;
                        self.screen.state().ended = Some("the source has ended".into());
                    }
                    Next::Failed(reason) => {
                        has_ended = true;
                        log::warn!("{reason}");
                        self.screen.state().ended = Some(reason);
                    }
                    Next::Nothing => {}
                },
            }
        }
    }

    fn pause_between(&self, shown: &FrameBuffer, next: &FrameBuffer) -> Duration {
        match (self.rate, shown.timestamp_s, next.timestamp_s) {
            (Some(hz), ..) => Duration::from_secs_f64(1.0 / hz),
            // A file that begins again goes back in time.
            (None, Some(before), Some(after)) if after > before => {
                Duration::try_from_secs_f64(after - before).unwrap_or(LONGEST).min(LONGEST)
            }
            _ => UNTIMED,
        }
    }

    /// Returns the frame's number.
    fn submit(&self, buffer: &FrameBuffer) -> Option<u64> {
        let submitted = buffer.frame().map_err(|error| one_line(&error)).and_then(|frame| {
            let frame = match self.region {
                Some(region) => frame.with_region(region).map_err(|error| one_line(&error))?,
                None => frame,
            };
            let timestamp_us = (buffer.timestamp_s.unwrap_or_default().max(0.0) * 1e6) as u64;
            self.stream.submit(&frame, timestamp_us).map_err(|error| one_line(&error))
        });
        match submitted {
            Ok(Submission::Queued { sequence }) => Some(sequence),
            Ok(_) => None,
            Err(reason) => {
                self.screen.state().problem = Some(reason);
                None
            }
        }
    }
}
