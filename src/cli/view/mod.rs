//! `causalclipseg view`: a page on this machine that shows frames, masks and latencies as they come, and changes the prompts.

mod picture;
mod player;
mod screen;
mod site;

use super::Failure;
use super::device::DeviceArguments;
use super::http::Server;
use super::interrupts::Interrupts;
use super::model_source::ModelSource;
use super::stream::{Feed, Reader, Repeat, milliseconds, rate, region, share};
use causalclipseg::frame::Region;
use causalclipseg::io::source::RawFormat;
use causalclipseg::kernels::MAX_THREADS;
use causalclipseg::stream::{Stream, StreamOptions};
use causalclipseg::{Model, ModelOptions, SessionOptions};
use player::Player;
use screen::{Screen, Setting};
use site::ViewSite;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// A folder, a DICOM clip, a `.mha`, a picture, `-` for raw frames on standard input, or igtl://HOST:PORT for the images of
    /// an OpenIGTLink server
    #[arg(value_name = "SOURCE")]
    input: PathBuf,
    /// Prompt, a sentence that describes the lesion; several prompts share one pass over each frame. The page changes them
    #[arg(short, long = "prompt", required = true, value_name = "PROMPT")]
    prompts: Vec<String>,
    #[command(flatten)]
    source: ModelSource,
    #[command(flatten)]
    device: DeviceArguments,
    /// Port of the page on 127.0.0.1; 0 for any that is free
    #[arg(long, default_value_t = 8735, value_name = "PORT")]
    port: u16,
    /// Show the frames of a file at this rate [default: by their times; one a second where they have none]
    #[arg(long, value_name = "HZ", value_parser = rate)]
    rate: Option<f64>,
    /// Show the frames of a file once; without this they begin again after the last one
    #[arg(long)]
    once: bool,
    /// Time from a frame to its result; a frame that takes longer is late
    #[arg(long, value_name = "MS", value_parser = milliseconds)]
    deadline_ms: Option<f64>,
    /// Probability above which a pixel is lesion [default: the model's]
    #[arg(long, value_parser = super::threshold)]
    threshold: Option<f32>,
    /// Share of each pixel's probability that comes from the frames before
    #[arg(long, default_value = "0", value_parser = share, value_name = "SHARE")]
    smoothing: f32,
    /// Region of each frame that the network sees, in pixels [default: the source's]
    #[arg(long, value_name = "X,Y,WIDTH,HEIGHT", value_parser = region)]
    region: Option<Region>,
    #[arg(long, value_name = "WxH:FORMAT[/STRIDE][@HZ]", help = super::raw_help())]
    raw: Option<RawFormat>,
    /// Threads that share the work on one frame; results do not depend on it
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MAX_THREADS as i64))]
    threads: u16,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let interrupts = Interrupts::listen()?;
    let options = ModelOptions::default().with_threads(usize::from(arguments.threads));
    let model = Arc::new(Model::from_file(arguments.source.open()?, arguments.device.options(options)?)?);
    let repeat = if arguments.once { Repeat::Never } else { Repeat::Sequences };
    let feed = Feed::open(Some(&arguments.input), arguments.raw, repeat)?;
    let setting = Setting { source: feed.name(), model: model.description().name.clone() };
    let screen = Arc::new(Screen::new(setting, arguments.prompts.clone()));
    let prompts: Vec<&str> = arguments.prompts.iter().map(String::as_str).collect();
    let receiver = screen.clone();
    let stream = Stream::start(vec![model], &prompts, arguments.options(), move |event| receiver.receive(&event))?;
    let stream = Arc::new(stream);
    let server = Server::start(arguments.port, Arc::new(ViewSite::new(screen.clone(), stream.clone())))?;
    let is_live = feed.has_own_pace();
    let reader =
        Reader::start(feed).map_err(|error| format!("the thread that reads frames cannot be started: {error}"))?;
    super::say(server.url())?;

    let player = Player { screen: &screen, stream: &stream, is_live, rate: arguments.rate, region: arguments.region };
    let signal = player.run(&reader, &interrupts);
    stream.end(false);
    Ok(signal.exit_code())
}

impl Arguments {
    fn options(&self) -> StreamOptions {
        let session = SessionOptions::default().with_threshold(self.threshold).with_smoothing(self.smoothing);
        StreamOptions::default()
            .with_deadline(self.deadline_ms.map(|ms| Duration::from_secs_f64(ms / 1e3)))
            .with_session(session)
    }
}
