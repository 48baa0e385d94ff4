//! What the element costs above the engine's own time, appsrc to appsink:
//! `cargo run --release --example measure -- [FRAMES] [HZ] [WIDTH] [HEIGHT] [FORMAT] [PROPERTY=VALUE...]`. HZ 0 is as fast as possible.
//!
//! Prints the median and 99th percentile of four times in milliseconds: the engine's, from pushing a frame into appsrc to pulling
//! it from appsink, the difference of the two, and the part of it that passes in the element before its results; then CPU time a frame, and the growth of resident memory from the 500th frame
//! on.

use gst::prelude::*;
use gst_video::{VideoFormat, VideoInfo};
use std::error::Error;
use std::str::FromStr;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    gst::init()?;
    gstcausalclipseg::plugin_register_static()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    fn number<T: FromStr>(arguments: &[String], index: usize, default: T) -> T {
        arguments.get(index).and_then(|text| text.parse().ok()).unwrap_or(default)
    }
    let frames: usize = number(&arguments, 0, 1000);
    let rate: f64 = number(&arguments, 1, 30.0);
    let (width, height): (u32, u32) = (number(&arguments, 2, 640), number(&arguments, 3, 480));
    let format = arguments.get(4).map_or(VideoFormat::Gray8, |name| VideoFormat::from_string(name));
    let info = VideoInfo::builder(format, width, height).fps(gst::Fraction::new(30, 1)).build()?;

    let pipeline = gst::Pipeline::new();
    let source = gst_app::AppSrc::builder().caps(&info.to_caps()?).format(gst::Format::Time).build();
    let element = gst::ElementFactory::make("causalclipseg").build()?;
    for (name, value) in arguments.iter().skip(5).filter_map(|argument| argument.split_once('=')) {
        element.set_property_from_str(name, value);
    }
    let sink = gst_app::AppSink::builder().sync(false).build();
    pipeline.add_many([source.upcast_ref(), &element, sink.upcast_ref()])?;
    gst::Element::link_many([source.upcast_ref(), &element, sink.upcast_ref()])?;
    pipeline.set_state(gst::State::Playing)?;

    let bus = pipeline.bus().ok_or("no bus")?;
    // Written once before, so that this program's own memory does not grow.
    let [mut engine, mut complete, mut above, mut inside] = [(); 4].map(|()| vec![f64::NAN; frames]);
    let (mut memory_then, cpu_then, begun) = (0, cpu_seconds()?, Instant::now());
    for index in 0..frames {
        if rate > 0.0 {
            let due = begun + Duration::from_secs_f64(index as f64 / rate);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let mut buffer = gst::Buffer::with_size(info.size())?;
        {
            let writable = buffer.get_mut().ok_or("a new buffer is writable")?;
            writable.set_pts(gst::ClockTime::from_mseconds(index as u64 * 33));
            let mut map = writable.map_writable()?;
            draw(&mut map, info.stride()[0].unsigned_abs() as usize, index);
        }
        let pushed = Instant::now();
        source.push_buffer(buffer)?;
        sink.pull_sample()?;
        let passed_ms = pushed.elapsed().as_secs_f64() * 1e3;
        let stats: gst::Structure = element.property("stats");
        let engine_ms: f64 = stats.get("engine_ms")?;
        while bus.pop().is_some() {}
        inside[index] = stats.get::<f64>("latency_ms")? - engine_ms;
        engine[index] = engine_ms;
        complete[index] = passed_ms;
        above[index] = passed_ms - engine_ms;
        if index == 500 {
            memory_then = resident_kib()?;
        }
    }
    let cpu_ms = (cpu_seconds()? - cpu_then) * 1e3 / frames as f64;
    for (name, times) in [
        ("engine", &mut engine),
        ("passing", &mut complete),
        ("above the engine", &mut above),
        ("of it in the element", &mut inside),
    ] {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
        println!("{name}: median {:.3} ms, p99 {:.3} ms", at(0.5), at(0.99));
    }
    println!("CPU: {cpu_ms:.2} ms a frame");
    if memory_then > 0 {
        println!("resident: {} KiB, {:+} KiB since frame 500", resident_kib()?, resident_kib()? - memory_then);
    }
    pipeline.set_state(gst::State::Null)?;
    Ok(())
}

/// A dark disc that moves over a bright ground.
fn draw(bytes: &mut [u8], stride: usize, step: usize) {
    for (y, row) in bytes.chunks_mut(stride).enumerate() {
        for (x, byte) in row.iter_mut().enumerate() {
            let away = (x as f32 - stride as f32 / 2.0 - (step % 60) as f32).hypot(y as f32 - 240.0);
            let speckle = (x * 31 + y * 17 + step * 7) % 23;
            *byte = if away < 70.0 { 20 } else { 90 } + speckle as u8;
        }
    }
}

fn status(path: &str) -> Result<String, Box<dyn Error>> {
    Ok(std::fs::read_to_string(path)?)
}

fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = status("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().ok_or("no fields")?.split_whitespace().collect();
    // User and system time, in ticks of 10 ms.
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
}

fn resident_kib() -> Result<i64, Box<dyn Error>> {
    let status = status("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}
