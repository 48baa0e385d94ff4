//! The reader that a path needs, by the file's content and not by its name.

use super::{FrameBuffer, FrameSource, PictureFiles, SourceError};
use crate::io::ReadError;
#[cfg(feature = "dicom")]
use crate::io::dicom::DicomClip;
use crate::io::geometry::Geometry;
use crate::io::{Description, RasterSequence, is_own_result, metaimage, nifti, nrrd, read};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek};
use std::path::{Path, PathBuf};

/// Files as frames. Match on the variant for what some kinds know beyond their frames.
#[non_exhaustive]
pub enum Source {
    /// Pictures, one a file.
    Pictures(Box<PictureFiles>),
    /// A MetaImage, NRRD or NIfTI file: one picture, a volume or a sequence.
    Raster(Box<RasterSequence>),
    /// A DICOM file, one picture or a clip.
    #[cfg(feature = "dicom")]
    Dicom(Box<DicomClip>),
    /// A folder of files, not all of which are plain pictures, one after the other.
    Files(Files),
}

/// Files of any kind in the order given.
pub struct Files {
    rest: std::vec::IntoIter<PathBuf>,
    open: Option<Box<Source>>,
}

impl Files {
    fn description(&self) -> Result<Description, SourceError> {
        let files = self.rest.as_slice();
        let Some(first) = files.first() else { return Ok(Description::default()) };
        let mut description = Source::open(first)?.description()?;
        description.frames = None;
        description.format = format!("{} files, the first of them {}", files.len(), description.format);
        Ok(description)
    }
}

impl FrameSource for Files {
    /// Unknown before the last file was opened.
    fn frame_count(&self) -> Option<usize> {
        None
    }

    fn read_frame(&mut self, into: &mut FrameBuffer) -> Result<bool, SourceError> {
        loop {
            if let Some(source) = &mut self.open {
                match source.read_frame(into) {
                    Ok(true) => return Ok(true),
                    Ok(false) => self.open = None,
                    Err(error) => {
                        self.open = None;
                        return Err(error);
                    }
                }
            }
            let Some(path) = self.rest.next() else { return Ok(false) };
            self.open = Some(Box::new(Source::open(&path)?));
        }
    }
}

/// The bytes of a file that are read to detect its kind: a MetaImage may begin with comments.
const START_BYTES: u64 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Picture,
    MetaImage,
    Nrrd,
    Nifti,
    Dicom,
}

impl Source {
    /// Opens a picture, a DICOM, MetaImage, NRRD or NIfTI file, or a folder: all of a folder's files, by name, as the
    /// frames of one sequence. Folders within it are left out, and so are other files.
    ///
    /// # Errors
    /// A file cannot be read, or has another kind; a folder has no file of these kinds.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        if path.is_dir() {
            let files = expand(path)?;
            return match files.as_slice() {
                // One clip in a folder is that clip.
                [file] => Self::open(file),
                _ if files.iter().any(|file| !matches!(kind(file), Ok(Some(Kind::Picture)))) => {
                    Ok(Self::Files(Files { rest: files.into_iter(), open: None }))
                }
                _ => Ok(Self::Pictures(PictureFiles::new(files).into())),
            };
        }
        match kind(path)? {
            // An unknown file is read as a picture too, for its error message.
            Some(Kind::Picture) | None => Ok(Self::Pictures(PictureFiles::new(vec![path.into()]).into())),
            Some(Kind::MetaImage) => Ok(Self::Raster(Box::new(metaimage::open(path)?))),
            Some(Kind::Nrrd) => Ok(Self::Raster(Box::new(nrrd::open(path)?))),
            Some(Kind::Nifti) => Ok(Self::Raster(Box::new(nifti::open(path)?))),
            #[cfg(feature = "dicom")]
            Some(Kind::Dicom) => Ok(Self::Dicom(Box::new(DicomClip::open(path)?))),
            #[cfg(not(feature = "dicom"))]
            Some(Kind::Dicom) => Err(SourceError::WithoutDicom(path.into())),
        }
    }

    /// As [`Source::open`], from a file's bytes; `name` is its name in errors. A file with its pixels in another file
    /// is refused.
    ///
    /// # Errors
    /// The bytes have an unsupported kind, or are damaged.
    pub fn from_bytes(name: &Path, bytes: Vec<u8>) -> Result<Self, SourceError> {
        // Reading memory does not fail.
        match kind_of(&mut Cursor::new(&bytes)).unwrap_or_default() {
            None => {
                // For its error message.
                read::describe(name, Cursor::new(&bytes))?;
                Ok(Self::Pictures(PictureFiles::from_bytes(name, bytes).into()))
            }
            Some(Kind::Picture) => Ok(Self::Pictures(PictureFiles::from_bytes(name, bytes).into())),
            Some(Kind::MetaImage) => Ok(Self::Raster(Box::new(metaimage::from_bytes(name, bytes)?))),
            Some(Kind::Nrrd) => Ok(Self::Raster(Box::new(nrrd::from_bytes(name, bytes)?))),
            Some(Kind::Nifti) => Ok(Self::Raster(Box::new(nifti::from_bytes(name, bytes)?))),
            #[cfg(feature = "dicom")]
            Some(Kind::Dicom) => Ok(Self::Dicom(Box::new(DicomClip::from_bytes(name, bytes)?))),
            #[cfg(not(feature = "dicom"))]
            Some(Kind::Dicom) => Err(SourceError::WithoutDicom(name.into())),
        }
    }

    /// Whether this is one picture, so that its results need no frame numbers.
    pub fn is_still(&self) -> bool {
        match self {
            Self::Pictures(pictures) => pictures.frame_count() == Some(1),
            Self::Raster(sequence) => sequence.is_still(),
            #[cfg(feature = "dicom")]
            Self::Dicom(clip) => clip.is_still(),
            Self::Files(_) => false,
        }
    }

    /// Whether frames are the slices of a volume, and not successive pictures in time.
    pub fn is_volume(&self) -> bool {
        match self {
            Self::Raster(sequence) => sequence.is_volume(),
            _ => false,
        }
    }

    /// The file's fields of all frames that are not interpreted here, as `key, value`, for MetaImage and NRRD. For
    /// results that pass them on, not for logs.
    pub fn fields(&self) -> &[(String, String)] {
        match self {
            Self::Raster(sequence) => sequence.fields(),
            _ => &[],
        }
    }

    /// The position of the pixels in space, as far as the file states it, for MetaImage, NRRD and NIfTI.
    pub fn geometry(&self) -> Geometry {
        match self {
            Self::Raster(sequence) => *sequence.geometry(),
            _ => Geometry::default(),
        }
    }

    /// The contents of the file that are not used, a line each, for DICOM, MetaImage, NRRD and NIfTI. For a picture
    /// only [`Source::description`], which decodes it, has them.
    pub fn ignored(&self) -> &[String] {
        match self {
            Self::Raster(sequence) => sequence.ignored(),
            #[cfg(feature = "dicom")]
            Self::Dicom(clip) => &clip.description().ignored,
            Self::Pictures(_) | Self::Files(_) => &[],
        }
    }

    /// The description of the file; for a folder, of its first file. A picture is decoded for that.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn description(&self) -> Result<Description, SourceError> {
        match self {
            Self::Pictures(pictures) => pictures.description(),
            Self::Raster(sequence) => Ok(sequence.description()),
            #[cfg(feature = "dicom")]
            Self::Dicom(clip) => Ok(clip.description().into()),
            Self::Files(files) => files.description(),
        }
    }
}

/// Whether a file is an image that [`Source::open`] has a reader for, or that a build with all features has.
///
/// # Errors
/// The path is not a file, or cannot be read.
pub fn is_image(path: &Path) -> Result<bool, SourceError> {
    kind(path).map(|kind| kind.is_some())
}

impl FrameSource for Source {
    fn frame_count(&self) -> Option<usize> {
        match self {
            Self::Pictures(pictures) => pictures.frame_count(),
            Self::Raster(sequence) => sequence.frame_count(),
            #[cfg(feature = "dicom")]
            Self::Dicom(clip) => clip.frame_count(),
            Self::Files(files) => files.frame_count(),
        }
    }

    fn read_frame(&mut self, into: &mut FrameBuffer) -> Result<bool, SourceError> {
        match self {
            Self::Pictures(pictures) => pictures.read_frame(into),
            Self::Raster(sequence) => sequence.read_frame(into),
            #[cfg(feature = "dicom")]
            Self::Dicom(clip) => clip.read_frame(into),
            Self::Files(files) => files.read_frame(into),
        }
    }
}

/// A folder's files that can be opened, by name; numbers in names count as numbers, so that `f10` comes after `f9`.
/// Hidden files, files that cannot be opened, and results that were written here are left out.
///
/// # Errors
/// The folder cannot be listed, or has nothing to open.
pub fn expand(folder: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let listed = list(folder, false)?;
    if listed.is_empty() { Err(SourceError::EmptyFolder(folder.into())) } else { Ok(listed) }
}

/// As [`expand`], with the files of all folders within it, each after the files beside it. Links to folders are not
/// followed.
///
/// # Errors
/// As [`expand`].
pub fn expand_tree(folder: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let listed = list(folder, true)?;
    if listed.is_empty() { Err(SourceError::EmptyFolder(folder.into())) } else { Ok(listed) }
}

/// The most levels of nested folders; links are not followed, so no real tree has more.
const MAX_DEPTH: usize = 64;

fn list(folder: &Path, recursive: bool) -> Result<Vec<PathBuf>, SourceError> {
    let mut files = Vec::new();
    let mut results = 0;
    let mut open = vec![(folder.to_path_buf(), 0)];
    while let Some((folder, depth)) = open.pop() {
        let failed = |source| SourceError::Folder { path: folder.clone(), source };
        let (mut here, mut below) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            if path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.')) {
                continue;
            }
            if recursive && depth < MAX_DEPTH && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                below.push(path);
            } else if path.is_file() && matches!(kind(&path), Ok(Some(_))) {
                if is_own_result(&path) {
                    results += 1;
                } else {
                    here.push(path);
                }
            }
        }
        let by_name = |path: &PathBuf| natural(&path.file_name().unwrap_or_default().to_string_lossy());
        here.sort_by_cached_key(by_name);
        below.sort_by_cached_key(by_name);
        files.extend(here);
        // The first of them is the next that is taken.
        open.extend(below.into_iter().rev().map(|path| (path, depth + 1)));
    }
    if results > 0 {
        log::info!("{}: results of an earlier run are left out: {results}", folder.display());
        if files.is_empty() {
            return Err(SourceError::OnlyResults(folder.into()));
        }
    }
    Ok(files)
}

/// A name's parts: text, then a number's digits by length and value.
fn natural(name: &str) -> Vec<(String, usize, String)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let (text, after) = rest.split_at(rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len()));
        let (digits, after) = after.split_at(after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len()));
        let number = digits.trim_start_matches('0');
        parts.push((text.to_string(), number.len(), number.to_string()));
        rest = after;
    }
    parts
}

fn kind(path: &Path) -> Result<Option<Kind>, SourceError> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => ReadError::Missing(path.into()),
        _ => ReadError::Io { path: path.into(), source },
    };
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(ReadError::NotAFile(path.into()).into());
    }
    kind_of(&mut BufReader::new(File::open(path).map_err(failed)?)).map_err(|error| failed(error).into())
}

fn kind_of(source: &mut (impl BufRead + Seek)) -> io::Result<Option<Kind>> {
    let mut start = Vec::new();
    source.by_ref().take(START_BYTES).read_to_end(&mut start)?;
    if start.get(128..132) == Some(b"DICM") {
        return Ok(Some(Kind::Dicom));
    }
    #[cfg(feature = "dicom")]
    if crate::io::dicom::begins_with_elements(&start) {
        return Ok(Some(Kind::Dicom));
    }
    if start.starts_with(nrrd::MAGIC) {
        return Ok(Some(Kind::Nrrd));
    }
    if metaimage::starts_like_one(&start) {
        return Ok(Some(Kind::MetaImage));
    }
    source.rewind()?;
    // Within a gzip stream as well; a damaged one does not count.
    if nifti::start_of(source).is_ok_and(|start| nifti::starts_like_one(&start)) {
        return Ok(Some(Kind::Nifti));
    }
    let is_picture = read::is_tiff(&start) || image::guess_format(&start).is_ok_and(|format| format.reading_enabled());
    Ok(is_picture.then_some(Kind::Picture))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::GrayImage;

    #[test]
    fn folders_are_read_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Source::open(folder.path()), Err(SourceError::EmptyFolder(_))));
        for (name, shade) in [("f10.png", 10), ("f9.png", 9), (".f1.png", 1)] {
            GrayImage::from_pixel(2, 1, image::Luma([shade])).save(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("notes.txt"), "nothing").unwrap();
        fs::create_dir(folder.path().join("f0.png")).unwrap();
        let mut source = Source::open(folder.path()).unwrap();
        assert_eq!((source.frame_count(), source.is_still()), (Some(2), false));
        let mut buffer = FrameBuffer::default();
        for shade in [9, 10] {
            assert!(source.read_frame(&mut buffer).unwrap());
            assert_eq!(buffer.pixels(), [shade; 2]);
        }
        assert!(!source.read_frame(&mut buffer).unwrap());
        assert!(matches!(
            Source::open(&folder.path().join("none.png")),
            Err(SourceError::Picture(ReadError::Missing(_)))
        ));
    }

    #[test]
    fn numbers_in_names_are_numbers() {
        let mut names = ["b1", "a10", "a2", "a02b", "a", "a9"];
        names.sort_by_key(|name| natural(name));
        assert_eq!(names, ["a", "a2", "a02b", "a9", "a10", "b1"]);
    }
}
