//! Writes files completely or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Why a result was not written. An earlier file at its path is still there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum WriteError {
    #[error("{}: the folder cannot be written to ({source}); create it or choose another", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("{}: the disk is full; free some space or choose another folder", .0.display())]
    Full(PathBuf),
    #[error("{}: already exists and is not a regular file; choose another name", .0.display())]
    NotAFile(PathBuf),
    #[error("{}: cannot be written ({source}); check the folder", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Writes a temporary file beside `path` and renames it when it is complete: a reader sees the old file or the new one.
pub fn replace_file(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
) -> Result<(), WriteError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => WriteError::Full(path.into()),
        _ => WriteError::Io { path: path.into(), source },
    };
    // A device or pipe must not be replaced by a file, nor can a folder be.
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return Err(WriteError::NotAFile(path.into()));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = beside(folder).map_err(|source| match failed(source) {
        WriteError::Io { source, .. } => WriteError::Folder { path: folder.into(), source },
        full => full,
    })?;
    let mut writer = BufWriter::with_capacity(1 << 16, file.as_file_mut());
    fill(&mut writer).and_then(|()| writer.flush()).map_err(failed)?;
    drop(writer);
    // Some file systems report a full disk only here.
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map(drop).map_err(|error| failed(error.error))
}

fn beside(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".unfinished-");
    // Temporary files are private by default; results get the user's default permissions.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}
