//! The source of a stream's frames.

use super::Failure;
use causalclipseg::frame::PixelFormat;
use causalclipseg::io::source::{FrameBuffer, FrameSource, RawFormat, RawFrames, Source};
use std::io::{self, Stdin};
use std::path::{Path, PathBuf};

pub(super) enum Feed {
    File { path: PathBuf, source: Box<Source>, over_and_over: bool, read: u64 },
    Pipe(RawFrames<Stdin>),
    Synthetic(Synthetic),
}

impl Feed {
    pub(crate) fn open(path: Option<&Path>, raw: Option<RawFormat>, over_and_over: bool) -> Result<Self, Failure> {
        match (path, raw) {
            (None, _) => Ok(Self::Synthetic(Synthetic::new())),
            (Some(path), Some(format)) if path == "-" => Ok(Self::Pipe(RawFrames::new(io::stdin(), format))),
            (Some(path), None) if path == "-" => {
                Err("`-` reads frames without a header; say what they are, as in --raw 640x480:gray8".into())
            }
            (Some(_), Some(_)) => Err("--raw describes standard input; give `-` as the source".into()),
            (Some(path), None) => {
                let source = Box::new(Source::open(path)?);
                Ok(Self::File { path: path.into(), source, over_and_over, read: 0 })
            }
        }
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::File { path, .. } => path.display().to_string(),
            Self::Pipe(_) => "standard input".into(),
            Self::Synthetic(_) => "synthetic".into(),
        }
    }

    /// Whether frames arrive at the source's own pace. Those of a file, and synthetic ones, are available at once.
    pub(super) fn has_own_pace(&self) -> bool {
        matches!(self, Self::Pipe(_))
    }

    /// Reads the next frame; `false` after the last.
    pub(crate) fn next(&mut self, into: &mut FrameBuffer) -> Result<bool, Failure> {
        match self {
            Self::Pipe(frames) => Ok(frames.read_frame(into)?),
            Self::Synthetic(frames) => {
                frames.draw(into)?;
                Ok(true)
            }
            Self::File { path, source, over_and_over, read } => {
                if source.read_frame(into)? {
                    *read += 1;
                    return Ok(true);
                }
                if !*over_and_over || *read == 0 {
                    return Ok(false);
                }
                **source = Source::open(path)?;
                Ok(source.read_frame(into)?)
            }
        }
    }
}

/// Speckle with a dark ellipse that moves: realistic enough for a network to work on, and cheap to draw.
pub(super) struct Synthetic {
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
