//! Live frames through a complete model whose results are known.

use causalclipseg::bundle::Bundle;
use causalclipseg::frame::{Frame, PixelFormat, Region};
use causalclipseg::mask::Flag;
use causalclipseg::stream::{
    Backlog, DegradePolicy, Level, Statistics, Stream, StreamError, StreamEvent, StreamOptions, Submission,
};
use causalclipseg::{Finding, Model, ModelOptions, SessionOptions};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use toy_networks::toy;

fn model() -> Arc<Model> {
    let bundle = Bundle::from_bytes(toy::builder().to_bytes().unwrap()).unwrap();
    Arc::new(Model::from_bundle(Arc::new(bundle), ModelOptions::default()).unwrap())
}

/// The parts of an event that tests compare.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Frame {
        sequence: u64,
        timestamp_us: u64,
        size: [usize; 2],
        lesion_px: usize,
        prompts: Vec<String>,
        generation: u64,
        late: bool,
        level: Level,
        first_probability: f32,
    },
    Failed(String),
    Level(Level),
    Stopped(String),
}

impl Seen {
    fn of(event: &StreamEvent<'_>) -> Self {
        match event {
            StreamEvent::Frame(result) => Self::Frame {
                sequence: result.sequence,
                timestamp_us: result.timestamp_us,
                size: [result.frame.width(), result.frame.height()],
                lesion_px: result.report.findings[0].mask().pixels().iter().filter(|pixel| **pixel != 0).count(),
                prompts: result.prompts.iter().map(|prompt| prompt.text().to_string()).collect(),
                generation: result.prompt_generation,
                late: result.late,
                level: result.level,
                first_probability: result.report.findings[0].probability().values()[[0, 0]],
            },
            StreamEvent::Failed { reason, .. } => Self::Failed(reason.to_string()),
            StreamEvent::LevelChanged { to, .. } => Self::Level(*to),
            StreamEvent::Stopped { reason } => Self::Stopped(reason.to_string()),
            _ => panic!("an event that the test does not know"),
        }
    }

    fn sequence(&self) -> u64 {
        let Self::Frame { sequence, .. } = self else { panic!("{self:?}") };
        *sequence
    }
}

fn watched(options: StreamOptions) -> (Stream, Receiver<Seen>) {
    let (seen, events) = mpsc::channel();
    let receive = move |event: StreamEvent<'_>| drop(seen.send(Seen::of(&event)));
    (Stream::start(vec![model()], &["a bright mass"], options, receive).unwrap(), events)
}

/// A stream whose receiver waits for a signal before it returns from each frame.
fn gated(options: StreamOptions) -> (Stream, Receiver<Seen>, Sender<()>) {
    let (seen, events) = mpsc::channel();
    let (go, gate) = mpsc::channel();
    let receive = move |event: StreamEvent<'_>| {
        let _ = seen.send(Seen::of(&event));
        let _ = gate.recv();
    };
    (Stream::start(vec![model()], &["a bright mass"], options, receive).unwrap(), events, go)
}

/// Processes every frame, in order.
fn in_order(session: SessionOptions) -> StreamOptions {
    StreamOptions::default().with_backlog(Backlog::KeepOrder).with_session(session)
}

fn grey(pixels: &[u8], width: usize) -> Frame<'_> {
    Frame::packed(pixels, PixelFormat::Gray8, width, pixels.len() / width).unwrap()
}

fn next(events: &Receiver<Seen>) -> Seen {
    events.recv_timeout(Duration::from_secs(60)).unwrap()
}

fn assert_adds_up(statistics: &Statistics) {
    let Statistics { submitted, processed, dropped, skipped, failed, .. } = *statistics;
    assert_eq!(submitted, processed + dropped + skipped + failed, "{statistics:?}");
    assert_eq!(statistics.processed == 0, statistics.latency_ms.max == 0.0);
}

#[test]
fn results_carry_their_frame() {
    let (stream, events) = watched(StreamOptions::default());
    let mut pixels = [0; 64 * 48];
    pixels[..64 * 24].fill(255);
    stream.submit(&grey(&pixels, 64), 77_000).unwrap();
    let Seen::Frame { sequence, timestamp_us, size, lesion_px, prompts, late, .. } = next(&events) else { panic!() };
    assert_eq!((sequence, timestamp_us, size, late), (0, 77_000, [64, 48], false));
    assert!(lesion_px.abs_diff(64 * 24) <= 64, "{lesion_px}");
    assert_eq!(prompts, ["a bright mass"]);
    let statistics = stream.finish();
    assert_eq!((statistics.submitted, statistics.processed, statistics.late), (1, 1, 0));
    assert_adds_up(&statistics);
}

#[test]
fn the_newest_frame_wins() {
    let (stream, events, go) = gated(StreamOptions::default());
    let pixels = [0; 16];
    stream.submit(&grey(&pixels, 4), 0).unwrap();
    assert_eq!(next(&events).sequence(), 0);
    // The worker is blocked: only the last of these is kept.
    for timestamp_us in 1..=10 {
        let begun = Instant::now();
        assert!(matches!(stream.submit(&grey(&pixels, 4), timestamp_us), Ok(Submission::Queued { .. })));
        assert!(begun.elapsed() < Duration::from_secs(5), "submitting waited");
    }
    go.send(()).unwrap();
    let Seen::Frame { sequence, timestamp_us, .. } = next(&events) else { panic!() };
    assert_eq!((sequence, timestamp_us), (10, 10));
    drop(go);
    let statistics = stream.finish();
    assert_eq!((statistics.submitted, statistics.processed, statistics.dropped), (11, 2, 9));
    assert_adds_up(&statistics);
}

#[test]
fn a_full_queue_holds_back_a_recording() {
    let options = StreamOptions::default().with_backlog(Backlog::KeepOrder).with_queued_frames(2);
    let (stream, events, go) = gated(options);
    let pixels = [0; 16];
    let frame = grey(&pixels, 4);
    stream.submit(&frame, 0).unwrap();
    assert_eq!(next(&events).sequence(), 0);
    for sequence in 1..=2 {
        assert_eq!(stream.submit(&frame, 0).unwrap(), Submission::Queued { sequence });
    }
    assert_eq!(stream.submit(&frame, 0).unwrap(), Submission::Full);
    let patience = Duration::from_millis(30);
    let begun = Instant::now();
    assert_eq!(stream.submit_wait(&frame, 0, patience).unwrap(), Submission::Full);
    assert!(begun.elapsed() >= patience);
    // A waiting submitter continues as soon as the queue has space.
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| stream.submit_wait(&frame, 0, Duration::from_secs(60)).unwrap());
        go.send(()).unwrap();
        assert_eq!(waiting.join().unwrap(), Submission::Queued { sequence: 3 });
    });
    drop(go);
    let statistics = stream.finish();
    assert_eq!((statistics.submitted, statistics.processed, statistics.dropped), (4, 4, 0));
    let order: Vec<u64> = events.try_iter().map(|seen| seen.sequence()).collect();
    assert_eq!(order, [1, 2, 3]);
}

#[test]
fn prompts_change_between_frames() {
    let options = StreamOptions::default().with_backlog(Backlog::KeepOrder);
    let (stream, events) = watched(options);
    let black = [0; 64];
    let submit = || {
        stream.submit_wait(&grey(&black, 8), 0, Duration::from_secs(60)).unwrap();
        let Seen::Frame { lesion_px, generation, prompts, .. } = next(&events) else { panic!() };
        (lesion_px, generation, prompts.len())
    };
    assert_eq!(submit(), (0, 0, 1));
    assert_eq!(stream.set_prompts(&["dark"]).unwrap(), 1);
    assert_eq!(submit(), (64, 1, 1));
    // The worker reads none of these but the last.
    for round in 2..=7 {
        assert_eq!(stream.set_prompts(&["a bright mass", "dark"][..1 + round as usize % 2]).unwrap(), round);
    }
    assert_eq!(submit(), (0, 7, 2));
    // Refused prompts leave the previous ones in place.
    assert!(matches!(stream.set_prompts(&[]), Err(StreamError::NoPrompt)));
    assert!(matches!(stream.set_prompts(&["dark", " "]), Err(StreamError::Model(_))));
    assert_eq!(submit(), (0, 7, 2));
    assert_eq!(stream.close().prompt_changes, 2);
}

#[test]
fn size_and_format_change_in_the_middle() {
    let options = StreamOptions::default().with_backlog(Backlog::KeepOrder).with_max_frame_bytes(1 << 20);
    let (stream, events) = watched(options);
    let white = vec![255u8; 1 << 20];
    let mut sizes = Vec::new();
    for (format, width, height, stride) in [
        (PixelFormat::Gray8, 640, 480, 700),
        (PixelFormat::Bgra8, 31, 77, 31 * 4),
        (PixelFormat::Gray16Le, 1, 1, 2),
        (PixelFormat::Rgb8, 300, 2, 1000),
        (PixelFormat::Gray8, 640, 480, 640),
    ] {
        let frame = Frame::new(&white, format, width, height, stride).unwrap();
        stream.submit_wait(&frame, 0, Duration::from_secs(60)).unwrap();
        let Seen::Frame { size, lesion_px, .. } = next(&events) else { panic!() };
        assert_eq!(lesion_px, width * height);
        sizes.push(size);
    }
    assert_eq!(sizes, [[640, 480], [31, 77], [1, 1], [300, 2], [640, 480]]);
    // A region of interest: pixels outside it are not lesion.
    let region = Region { x: 10, y: 20, width: 30, height: 40 };
    let frame = Frame::packed(&white, PixelFormat::Gray8, 640, 480).unwrap().with_region(region).unwrap();
    stream.submit_wait(&frame, 0, Duration::from_secs(60)).unwrap();
    assert!(matches!(next(&events), Seen::Frame { lesion_px: 1200, .. }));
    // Invalid frames are refused, and so are those that are too large.
    assert!(Frame::packed(&white, PixelFormat::Gray8, 0, 4).is_err());
    assert!(Frame::new(&white, PixelFormat::Rgb8, 100, 100, 299).is_err());
    assert!(Frame::packed(&white, PixelFormat::Gray8, 20_000, 20_000).is_err());
    let huge = Frame::packed(&white, PixelFormat::Gray8, 16_384, 64).unwrap();
    stream.submit_wait(&huge, 0, Duration::from_secs(60)).unwrap();
    let wide = vec![0u8; 2 << 20];
    let wide = Frame::packed(&wide, PixelFormat::Gray16Le, 16_384, 64).unwrap();
    assert!(matches!(stream.submit(&wide, 0), Err(StreamError::FrameBytes { bytes: 2_097_152, limit: 1_048_576 })));
    assert_adds_up(&stream.finish());
}

#[test]
fn late_frames_make_the_stream_give_way() {
    let (seen, events) = mpsc::channel();
    let options = StreamOptions::default()
        // No model is that fast: the second model is switched to first, then the rate is lowered.
        .with_deadline(Some(Duration::from_nanos(1)))
        .with_degrade(DegradePolicy::FULL.with_window_frames(4))
        .with_backlog(Backlog::KeepOrder);
    let receive = move |event: StreamEvent<'_>| drop(seen.send(Seen::of(&event)));
    let stream = Stream::start(vec![model(), model()], &["a bright mass"], options, receive).unwrap();
    for timestamp_us in 0..200 {
        stream.submit_wait(&grey(&[0; 16], 4), timestamp_us, Duration::from_secs(60)).unwrap();
    }
    let statistics = stream.finish();
    assert_adds_up(&statistics);
    assert_eq!(statistics.late, statistics.processed);
    assert_eq!((statistics.degraded, statistics.level), (4, Level { model: 1, every_nth: 8 }));
    assert!(statistics.skipped > 0);
    let seen: Vec<Seen> = events.try_iter().collect();
    let levels: Vec<_> =
        seen.iter().filter_map(|s| if let Seen::Level(level) = s { Some(*level) } else { None }).collect();
    let level = |model, every_nth| Level { model, every_nth };
    assert_eq!(levels, [level(1, 1), level(1, 2), level(1, 4), level(1, 8)]);
    assert!(seen.iter().all(|seen| !matches!(seen, Seen::Frame { late: false, .. })));
}

#[test]
fn smoothing_is_off_unless_asked_for() {
    for (smoothing, expected) in [(0.0, 1.0), (0.5, 0.5)] {
        let options = in_order(SessionOptions::default().with_smoothing(smoothing));
        let (stream, events) = watched(options);
        let mut last = 0.0;
        for brightness in [0, 255] {
            stream.submit_wait(&grey(&[brightness; 16], 4), 0, Duration::from_secs(60)).unwrap();
            let Seen::Frame { first_probability, .. } = next(&events) else { panic!() };
            last = first_probability;
        }
        assert!((last - expected).abs() < 0.01, "{smoothing}: {last}");
    }
}

#[test]
fn results_carry_their_quality() {
    for quality in [true, false] {
        let (seen, events) = mpsc::channel();
        let receive = move |event: StreamEvent<'_>| {
            if let StreamEvent::Frame(result) = event {
                let flags = |finding: &Finding| finding.quality().map(|quality| quality.flags.clone());
                seen.send(result.report.findings.iter().map(flags).collect()).unwrap();
            }
        };
        let options = in_order(SessionOptions::default().with_quality(quality));
        let stream = Stream::start(vec![model()], &["a bright mass", "dark"], options, receive).unwrap();
        let mut pixels = [0; 64 * 48];
        pixels[..64 * 24].fill(255);
        // The last one again.
        for data in [&[0; 64 * 48], &pixels, &pixels] {
            stream.submit_wait(&grey(data, 64), 0, Duration::from_secs(60)).unwrap();
        }
        stream.finish();
        let flags: Vec<[Option<Vec<Flag>>; 2]> =
            events.iter().map(|all: Vec<_>| <[_; 2]>::try_from(all).unwrap()).collect();
        let judged = [
            [Some(vec![Flag::NothingFound, Flag::BlankFrame]), Some(vec![Flag::BlankFrame])],
            [Some(vec![]), Some(vec![])],
            [Some(vec![Flag::FrozenFrame]), Some(vec![Flag::FrozenFrame])],
        ];
        let expected = if quality { judged } else { [const { [const { None }; 2] }; 3] };
        assert_eq!(flags, expected);
    }
}

#[test]
fn a_threshold_of_ones_own() {
    let options = in_order(SessionOptions::default().with_threshold(Some(1e-5)));
    let (stream, events) = watched(options);
    stream.submit(&grey(&[0; 16], 4), 0).unwrap();
    assert!(matches!(next(&events), Seen::Frame { lesion_px: 16, .. }));
}

#[test]
fn a_panic_costs_one_frame_and_many_cost_the_stream() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (log, options) = (seen.clone(), StreamOptions::default().with_backlog(Backlog::KeepOrder));
    let receive = move |event: StreamEvent<'_>| {
        let event = Seen::of(&event);
        log.lock().unwrap().push(event.clone());
        if let Seen::Frame { timestamp_us: 1.., .. } = event {
            panic!("the receiver has a defect");
        }
    };
    let stream = Stream::start(vec![model()], &["a bright mass"], options, receive).unwrap();
    let pixels = [0; 16];
    let mut refused = None;
    for timestamp_us in [0, 1, 0, 1, 1, 1, 0, 0, 0] {
        if let Err(error) = stream.submit_wait(&grey(&pixels, 4), timestamp_us, Duration::from_secs(5)) {
            refused = Some(error);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let statistics = stream.close();
    assert!(matches!(refused, Some(StreamError::Stopped(_))), "{refused:?}");
    assert_eq!(statistics.failed, 4);
    let seen = seen.lock().unwrap();
    assert!(seen.contains(&Seen::Failed("it panicked: the receiver has a defect".into())));
    assert_eq!(seen.last(), Some(&Seen::Stopped("3 frames in a row panicked".into())));
}

#[test]
fn closing_drops_what_waits_and_returns() {
    let options = StreamOptions::default().with_backlog(Backlog::KeepOrder).with_queued_frames(8);
    let (stream, events, go) = gated(options);
    let stream = Arc::new(stream);
    for _ in 0..9 {
        stream.submit_wait(&grey(&[0; 16], 4), 0, Duration::from_secs(60)).unwrap();
    }
    next(&events);
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| stream.end(false));
        // The current frame is finished first.
        while stream.submit(&grey(&[0; 16], 4), 0).is_ok() {}
        drop(go);
        closing.join().unwrap();
    });
    let statistics = stream.statistics();
    assert_eq!((statistics.processed, statistics.dropped), (1, 8));
    assert!(matches!(stream.submit(&grey(&[0; 16], 4), 0), Err(StreamError::Stopped(_))));
    // Stopping twice, and dropping a stopped stream.
    stream.end(true);
    drop(stream);
}

#[test]
fn streams_that_do_not_start() {
    let start = |models, prompts: &[&str], options| Stream::start(models, prompts, options, |_| {}).err().unwrap();
    let default = StreamOptions::default;
    assert!(matches!(start(vec![], &["dark"], default()), StreamError::NoModel));
    assert!(matches!(start(vec![model()], &[], default()), StreamError::NoPrompt));
    assert!(matches!(start(vec![model()], &[""], default()), StreamError::Model(_)));
    for options in [
        default().with_queued_frames(0),
        default().with_queued_frames(9),
        default().with_deadline(Some(Duration::ZERO)),
        default().with_degrade(DegradePolicy::OFF.with_late_share(2.0)),
    ] {
        let error = start(vec![model()], &["dark"], options.clone());
        assert!(matches!(error, StreamError::Option { .. }), "{options:?}");
    }
    let session = SessionOptions::default;
    for options in [
        session().with_smoothing(1.0),
        session().with_smoothing(f32::NAN),
        session().with_threshold(Some(0.0)),
        session().with_threshold(Some(1.5)),
    ] {
        let error = start(vec![model()], &["dark"], in_order(options.clone()));
        assert!(matches!(error, StreamError::Session(_)), "{options:?}");
    }
}

/// With any order of frames, prompts and statistics from several threads, every frame is counted.
#[test]
fn several_threads_at_once() {
    let (stream, _events) = watched(StreamOptions::default().with_queued_frames(3));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for timestamp_us in 0..500 {
                    stream.submit(&grey(&[0; 64], 8), timestamp_us).unwrap();
                }
            });
        }
        scope.spawn(|| {
            (0..50).for_each(|_| {
                stream.set_prompts(&["dark", "a bright mass"]).unwrap();
            });
        });
        scope.spawn(|| {
            for _ in 0..100 {
                let Statistics { submitted, processed, dropped, .. } = stream.statistics();
                assert!(processed + dropped <= submitted);
            }
        });
    });
    let statistics = stream.finish();
    assert_eq!(statistics.submitted, 1500);
    assert_adds_up(&statistics);
}
