//! The source of a stream's frames.

use super::Failure;
use causalclipseg::frame::PixelFormat;
#[cfg(feature = "igtl")]
use causalclipseg::igtl::{ImageSource, Limits};
use causalclipseg::io::source::{FrameBuffer, FrameSource, RawFormat, RawFrames, Source};
use std::io::{self, Stdin};
use std::path::{Path, PathBuf};

/// What stands before the address of an OpenIGTLink server.
const IGTL_PREFIX: &str = "igtl://";
const RAW_ELSEWHERE: &str = "--raw describes standard input; give `-` as the source";

/// Whether a file begins again after its last frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Repeat {
    Never,
    /// Unless it holds a single picture.
    #[cfg(feature = "view")]
    Sequences,
    Always,
}

pub(in super::super) enum Feed {
    File {
        path: PathBuf,
        source: Box<Source>,
        repeat: Repeat,
        read: u64,
    },
    Pipe(RawFrames<Stdin>),
    /// The images of a server, by its address.
    #[cfg(feature = "igtl")]
    Server(String, Box<ImageSource>),
    Synthetic(Synthetic),
}

impl Feed {
    pub(crate) fn open(path: Option<&Path>, raw: Option<RawFormat>, repeat: Repeat) -> Result<Self, Failure> {
        if let Some(address) = path.and_then(Path::to_str).and_then(|path| path.strip_prefix(IGTL_PREFIX)) {
            return match raw {
                None => Self::connect(address),
                Some(_) => Err(RAW_ELSEWHERE.into()),
            };
        }
        match (path, raw) {
            (None, _) => Ok(Self::Synthetic(Synthetic::new())),
            (Some(path), Some(format)) if path == "-" => Ok(Self::Pipe(RawFrames::new(io::stdin(), format))),
            (Some(path), None) if path == "-" => {
                Err("`-` reads frames without a header; say what they are, as in --raw 640x480:gray8".into())
            }
            (Some(_), Some(_)) => Err(RAW_ELSEWHERE.into()),
            (Some(path), None) => {
                let source = Box::new(Source::open(path)?);
                Ok(Self::File { path: path.into(), source, repeat, read: 0 })
            }
        }
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::File { path, .. } => path.display().to_string(),
            Self::Pipe(_) => "standard input".into(),
            #[cfg(feature = "igtl")]
            Self::Server(address, _) => format!("{IGTL_PREFIX}{address}"),
            Self::Synthetic(_) => "synthetic".into(),
        }
    }

    /// Whether frames arrive at the source's own pace. Those of a file, and synthetic ones, are available at once.
    pub(crate) fn has_own_pace(&self) -> bool {
        match self {
            Self::Pipe(_) => true,
            #[cfg(feature = "igtl")]
            Self::Server(..) => true,
            Self::File { .. } | Self::Synthetic(_) => false,
        }
    }

    /// The images of an OpenIGTLink server, `HOST:PORT`; without a port, at OpenIGTLink's.
    #[cfg(feature = "igtl")]
    fn connect(address: &str) -> Result<Self, Failure> {
        let address = super::super::igtl::server(address)?;
        let images = ImageSource::new(address.clone(), Limits::default());
        Ok(Self::Server(address, Box::new(images)))
    }

    #[cfg(not(feature = "igtl"))]
    fn connect(address: &str) -> Result<Self, Failure> {
        Err(format!("{IGTL_PREFIX}{address}: this build has no OpenIGTLink; build it with --features igtl").into())
    }

    /// Reads the next frame; `false` after the last.
    pub(crate) fn next(&mut self, into: &mut FrameBuffer) -> Result<bool, Failure> {
        match self {
            Self::Pipe(frames) => Ok(frames.read_frame(into)?),
            #[cfg(feature = "igtl")]
            Self::Server(_, images) => Ok(images.read_frame(into)?),
            Self::Synthetic(frames) => {
                frames.draw(into)?;
                Ok(true)
            }
            Self::File { path, source, repeat, read } => {
                if source.read_frame(into)? {
                    *read += 1;
                    return Ok(true);
                }
                let begins_again = match repeat {
                    Repeat::Never => false,
                    #[cfg(feature = "view")]
                    Repeat::Sequences => *read > 1,
                    Repeat::Always => *read > 0,
                };
                if !begins_again {
                    return Ok(false);
                }
                **source = Source::open(path)?;
                Ok(source.read_frame(into)?)
            }
        }
    }
}

/// Speckle with a dark ellipse that moves: realistic enough for a network to work on, and cheap to draw.
pub(in super::super) struct Synthetic {
    speckle: Vec<u8>,
    step: usize,
}

const WIDTH: usize = 640;
const HEIGHT: usize = 480;

impl Synthetic {
    fn new() -> Self {
        let mut state = 1u32;
        let speckle = (0..WIDTH * HEIGHT).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            90 + (state >> 26) as u8
        });
        Self { speckle: speckle.collect(), step: 0 }
    }

    fn draw(&mut self, into: &mut FrameBuffer) -> Result<(), Failure> {
        let pixels = into.reset(PixelFormat::Gray8, WIDTH, HEIGHT)?;
        pixels.copy_from_slice(&self.speckle);
        let (centre, middle, half_width, half_height) = (120 + self.step % 400, HEIGHT / 2, 90usize, 60usize);
        for y in middle - half_height..middle + half_height {
            let height = y.abs_diff(middle) as f64 / half_height as f64;
            let half = (half_width as f64 * (1.0 - height * height).sqrt()) as usize;
            let row = y * WIDTH;
            for pixel in &mut pixels[row + centre - half..row + centre + half] {
                *pixel /= 4;
            }
        }
        self.step += 1;
        Ok(())
    }
}
