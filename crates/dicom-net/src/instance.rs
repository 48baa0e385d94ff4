//! The head of an instance's file (PS3.10, 7.1): what it is, and where its data set begins.

use dicom_object::{FileMetaTable, FileMetaTableBuilder};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::uid::{self, IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION};

const PREAMBLE: usize = 128;
const MAGIC: [u8; 4] = *b"DICM";
/// Bytes of the element that states the length of the head.
const GROUP_LENGTH: u64 = 12;

/// A file of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InstanceFile {
    pub path: PathBuf,
    pub sop_class: String,
    pub sop_instance: String,
    pub transfer_syntax: String,
    /// Where its data set begins.
    offset: u64,
}

impl InstanceFile {
    /// Reads a file's head; for files that this node's handler wrote.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()));
        let mut file = BufReader::new(File::open(path)?);
        file.seek(SeekFrom::Start(PREAMBLE as u64))?;
        let meta = FileMetaTable::from_reader(&mut file).map_err(|error| wrong(&error.to_string()))?;
        let uid =
            |text: &str| uid::checked(text).map(str::to_string).ok_or_else(|| wrong("its UIDs are missing or wrong"));
        let offset = (PREAMBLE + MAGIC.len()) as u64 + GROUP_LENGTH + u64::from(meta.information_group_length);
        if offset >= file.get_ref().metadata()?.len() {
            return Err(wrong("it has no data set"));
        }
        Ok(Self {
            path: path.into(),
            sop_class: uid(meta.media_storage_sop_class_uid())?,
            sop_instance: uid(meta.media_storage_sop_instance_uid())?,
            transfer_syntax: uid(meta.transfer_syntax())?,
            offset,
        })
    }

    /// The same file in another folder.
    pub(crate) fn moved_to(self, folder: &Path) -> Self {
        let path = self.path.file_name().map(|name| folder.join(name)).unwrap_or_default();
        Self { path, ..self }
    }

    /// Its data set as it is stored.
    pub(crate) fn data_set(&self) -> io::Result<impl Read> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        Ok(BufReader::with_capacity(128 << 10, file))
    }

    /// Its data set in Implicit VR Little Endian.
    pub(crate) fn implicit_data_set(&self) -> io::Result<Vec<u8>> {
        let failed = |error: &dyn std::fmt::Display| io::Error::other(error.to_string());
        let object = dicom_object::open_file(&self.path).map_err(|error| failed(&error))?;
        let mut bytes = Vec::new();
        let implicit = dicom_transfer_syntax_registry::entries::IMPLICIT_VR_LITTLE_ENDIAN.erased();
        object.write_dataset_with_ts(&mut bytes, &implicit).map_err(|error| failed(&error))?;
        Ok(bytes)
    }
}

/// Writes the head of a received instance's file.
pub(crate) fn write_head(
    into: &mut dyn Write,
    class: &str,
    instance: &str,
    transfer_syntax: &str,
    from: &str,
) -> io::Result<()> {
    let meta = FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(class)
        .media_storage_sop_instance_uid(instance)
        .transfer_syntax(transfer_syntax)
        .implementation_class_uid(IMPLEMENTATION_CLASS)
        .implementation_version_name(IMPLEMENTATION_VERSION)
        .source_application_entity_title(from);
    let meta = meta.build().map_err(|error| io::Error::other(error.to_string()))?;
    // The library hides why a write failed: the head is written at once.
    let mut head = [&[0; PREAMBLE][..], &MAGIC].concat();
    meta.write(&mut head).map_err(|error| io::Error::other(error.to_string()))?;
    into.write_all(&head)
}
