//! Time that a stream adds to the network's, and the delay of frames when prompts change: `cargo bench --bench stream`.
//!
//! The shipped model on one thread, frames of 640 x 480 in grey. Prints microseconds; it asserts nothing, since most of the
//! measured time is the system's latency in waking a thread.

use causalclipseg::frame::{Frame, PixelFormat};
use causalclipseg::stream::{Backlog, Statistics, Stream, StreamOptions, Summary};
use causalclipseg::{Model, ModelOptions};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const WIDTH: usize = 640;
const HEIGHT: usize = 480;
const FRAMES: u64 = 1000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny.ccs");
    let model = Arc::new(Model::open(&path, ModelOptions::default())?);
    println!("microseconds                              p50      p99    p99.9      max");
    let (idle, submitting) = run(&model, Some(Duration::from_millis(20)), None)?;
    print("idle worker: submitting a frame", &submitting);
    print("idle worker: until it has the frame", &idle.queue_ms);
    print("idle worker: everything else", &idle.bookkeeping_ms);
    let (busy, _) = run(&model, None, None)?;
    print("busy worker: everything else", &busy.bookkeeping_ms);
    print("busy worker: the network", &busy.compute_ms);
    // Each has a different text, so that none is in the cache.
    let (changing, _) = run(&model, None, Some(Duration::from_millis(20)))?;
    print("the network, a new prompt every 20 ms", &changing.compute_ms);
    println!("{} changes of prompts in {} frames", changing.prompt_changes, changing.processed);
    Ok(())
}

/// Runs frames at intervals of `pace`, or without pauses, and sets a new prompt each `change`. Returns the stream's
/// counts and the times of submitting.
fn run(
    model: &Arc<Model>,
    pace: Option<Duration>,
    change: Option<Duration>,
) -> Result<(Statistics, Summary), Box<dyn std::error::Error>> {
    let backlog = if pace.is_some() { Backlog::LatestWins } else { Backlog::KeepOrder };
    let options = StreamOptions::default().with_backlog(backlog);
    let stream = Stream::start(vec![model.clone()], &["a dark nodule"], options, |_| {})?;
    let submitting = causalclipseg::stream::Histogram::new();
    let done = AtomicBool::new(false);
    let (stream_ref, done_ref) = (&stream, &done);
    std::thread::scope(|scope| -> Result<(), Box<dyn std::error::Error>> {
        if let Some(change) = change {
            scope.spawn(move || {
                for number in 0.. {
                    if done_ref.load(Ordering::Relaxed) {
                        break;
                    }
                    let text = format!("a dark nodule of {number} millimetres in the upper left part of the image");
                    stream_ref.set_prompts(&[&text]).expect("a sentence of a dozen words");
                    std::thread::sleep(change);
                }
            });
        }
        let begun = Instant::now();
        for number in 0..FRAMES {
            let pixels: Vec<u8> = (0..WIDTH * HEIGHT).map(|at| (at as u64 * 7 + number * 13) as u8).collect();
            let frame = Frame::packed(&pixels, PixelFormat::Gray8, WIDTH, HEIGHT)?;
            match pace {
                Some(pace) => {
                    std::thread::sleep((pace * number as u32).saturating_sub(begun.elapsed()));
                    let submitted = Instant::now();
                    stream.submit(&frame, number)?;
                    submitting.record(submitted.elapsed());
                }
                None => {
                    stream.submit_wait(&frame, number, Duration::from_secs(60))?;
                }
            }
        }
        done.store(true, Ordering::Relaxed);
        Ok(())
    })?;
    Ok((stream.finish(), submitting.summary()))
}

fn print(what: &str, summary: &Summary) {
    let Summary { p50, p99, p999, max, .. } = summary;
    let [p50, p99, p999, max] = [p50, p99, p999, max].map(|ms| ms * 1e3);
    println!("{what:38} {p50:8.1} {p99:8.1} {p999:8.1} {max:8.1}");
}
