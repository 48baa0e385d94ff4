//! What a user gives to `segment`: files, folders, or a pipe.

use super::{Arguments, Failure};
use causalclipseg::io::metaimage::MaskSource;
use causalclipseg::io::source::{FrameBuffer, FrameSource, RawFrames, Source, expand};
use std::io;
use std::path::{Path, PathBuf};

/// What stands for standard input among paths, and what its results are called by.
const PIPE: &str = "-";
const PIPE_NAME: &str = "stdin";

/// One input, opened.
pub(super) enum Input {
    File(Source),
    Pipe(RawFrames<io::Stdin>),
}

/// Folders as their files.
pub(super) fn list(arguments: &Arguments) -> Result<Vec<PathBuf>, Failure> {
    let pipes = arguments.inputs.iter().filter(|path| is_pipe(path)).count();
    if pipes > 1 {
        return Err("`-` is given more than once; standard input is read once".into());
    }
    if pipes == 1 && arguments.raw.is_none() {
        return Err("`-` reads frames without a header; say what they are, as in --raw 640x480:gray8".into());
    }
    if pipes == 0 && arguments.raw.is_some() {
        return Err("--raw describes standard input; give `-` as the input".into());
    }
    let mut paths = Vec::new();
    for path in &arguments.inputs {
        if path.is_dir() && path.file_name().is_some() {
            paths.extend(expand(path)?);
        } else {
            paths.push(path.clone());
        }
    }
    Ok(paths)
}

/// What results of an input are named after.
pub(super) fn name(path: &Path) -> PathBuf {
    if is_pipe(path) { PIPE_NAME.into() } else { path.to_path_buf() }
}

fn is_pipe(path: &Path) -> bool {
    path == Path::new(PIPE)
}

impl Input {
    pub(crate) fn open(path: &Path, arguments: &Arguments) -> Result<Self, Failure> {
        match arguments.raw {
            Some(format) if is_pipe(path) => Ok(Self::Pipe(RawFrames::new(io::stdin(), format))),
            _ => Ok(Self::File(Source::open(path)?)),
        }
    }

    /// Whether results need no frame numbers.
    pub(crate) fn is_still(&self) -> bool {
        matches!(self, Self::File(source) if source.is_still())
    }

    /// What masks lie on, for files that hold all of them.
    pub(crate) fn mask_source(&self, impersonal: bool) -> MaskSource<'_> {
        match self {
            Self::File(source) => MaskSource {
                fields: source.fields(),
                geometry: source.geometry(),
                is_volume: source.is_volume(),
                impersonal,
            },
            Self::Pipe(_) => MaskSource { impersonal, ..MaskSource::default() },
        }
    }

    /// The next frame, with what the user said about it.
    pub(crate) fn read_frame(&mut self, into: &mut FrameBuffer, arguments: &Arguments) -> Result<bool, Failure> {
        let read = match self {
            Self::File(source) => source.read_frame(into)?,
            Self::Pipe(frames) => frames.read_frame(into)?,
        };
        if !read {
            return Ok(false);
        }
        if let Some(mm_per_pixel) = arguments.mm_per_pixel {
            into.set_mm_per_pixel(mm_per_pixel)?;
        }
        if let Some(region) = arguments.region {
            into.set_region(region)?;
        }
        if arguments.deidentify && !into.has_region() {
            return Err("--deidentify blanks what lies outside of the scan, and nothing says where that is; \
                        give --region X,Y,WIDTH,HEIGHT"
                .into());
        }
        Ok(true)
    }
}
