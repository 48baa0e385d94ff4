//! The inputs of `segment`: files, folders, or a pipe.

use super::{Arguments, Failure};
use causalclipseg::io::metaimage::MaskSource;
use causalclipseg::io::source::{FrameBuffer, FrameSource, RawFrames, Source, SourceError, expand, expand_tree};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The path that means standard input, and the name of its results.
const PIPE: &str = "-";
const PIPE_NAME: &str = "stdin";

/// The longest file on standard input; it is held in memory.
const MAX_PIPED_BYTES: u64 = 1 << 30;

/// One input, opened.
pub(super) enum Input {
    File(Source),
    Pipe(RawFrames<io::Stdin>),
}

/// Files to segment, and where the results of each go below the output folder.
pub(super) struct Listed {
    pub paths: Vec<PathBuf>,
    pub subfolders: Vec<PathBuf>,
}

/// Lists the inputs, folders replaced by their files.
pub(super) fn list(arguments: &Arguments) -> Result<Listed, Failure> {
    let pipes = arguments.inputs.iter().filter(|path| is_pipe(path)).count();
    if pipes > 1 {
        return Err("`-` is given more than once; standard input is read once".into());
    }
    if pipes == 0 && arguments.raw.is_some() {
        return Err("--raw describes standard input; give `-` as the input".into());
    }
    let mut listed = Listed { paths: Vec::new(), subfolders: Vec::new() };
    for path in &arguments.inputs {
        let files = match path.is_dir() {
            true if arguments.recursive => expand_tree(path)?,
            true => expand(path)?,
            false => vec![path.clone()],
        };
        for file in files {
            let below = file.strip_prefix(path).ok().and_then(Path::parent).filter(|_| arguments.recursive);
            listed.subfolders.push(below.unwrap_or(Path::new("")).into());
            listed.paths.push(file);
        }
    }
    Ok(listed)
}

/// The path that an input's results are named after.
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
            None if is_pipe(path) => Ok(Self::File(piped_file()?)),
            _ => Ok(Self::File(Source::open(path)?)),
        }
    }

    /// Whether results need no frame numbers.
    pub(crate) fn is_still(&self) -> bool {
        matches!(self, Self::File(source) if source.is_still())
    }

    /// The contents of a file that are not used.
    pub(super) fn ignored(&self) -> Vec<String> {
        match self {
            Self::File(source) => source.ignored().to_vec(),
            Self::Pipe(_) => Vec::new(),
        }
    }

    /// The source that masks refer to, for files that hold all of them.
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

    /// The next frame, with the user's settings applied.
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
            return Err("--deidentify blanks everything outside the scan, and the scan's region is unknown; \
                        give --region X,Y,WIDTH,HEIGHT"
                .into());
        }
        Ok(true)
    }
}

/// A file of any kind on standard input.
fn piped_file() -> Result<Source, Failure> {
    let mut bytes = Vec::new();
    let failed = |error| format!("standard input: cannot be read ({error}); check the command before the pipe");
    io::stdin().lock().take(MAX_PIPED_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.is_empty() {
        return Err("standard input: is empty; check the command before the pipe".into());
    }
    if bytes.len() as u64 > MAX_PIPED_BYTES {
        return Err(format!("standard input: more than {} MiB; save it as a file", MAX_PIPED_BYTES >> 20).into());
    }
    Source::from_bytes(Path::new("standard input"), bytes).map_err(|error| match error {
        SourceError::Picture(error) => {
            format!("{error}; for frames without a header say what they are, as in --raw 640x480:gray8").into()
        }
        error => error.into(),
    })
}
