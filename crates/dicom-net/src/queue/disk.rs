//! Changes on disk that are complete or did not happen, also after a power failure.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

/// Flushes a folder's entries: what was renamed into it is there after a power failure.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Writes a file in `workshop`, a folder of the same file system, flushes it and renames it.
pub(super) fn replace(path: &Path, contents: &[u8], workshop: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".unfinished-").tempfile_in(workshop)?;
    file.write_all(contents)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)
}

/// Removes a folder and all in it; that there is none is fine.
pub(super) fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a file or a folder.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    if path.symlink_metadata()?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

/// Removes a folder so that it vanishes at once: it is moved into `bin` first.
pub(super) fn discard(folder: &Path, bin: &Path) -> io::Result<()> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let target = bin.join(format!(".discarded-{name}"));
    remove_folder(&target)?;
    fs::rename(folder, &target)?;
    remove_folder(&target)
}
