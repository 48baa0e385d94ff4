//! The common attributes of a written object.

use super::super::origin::SourceReference;
use super::clock::now;
use super::deidentification::{DUMMY_DATE, DUMMY_TIME};
use super::{Algorithm, Deidentification, plain, text};
use crate::io::{WriteError, replace_file};
use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use std::io;
use std::path::Path;

/// The most characters of a Long String, LO.
pub const MAX_LABEL: usize = 64;

/// The attributes that identify the kind of a written object, and the object.
pub struct Header<'a> {
    pub sop_class: &'a str,
    pub instance_uid: &'a str,
    pub series_uid: &'a str,
    pub modality: &'a str,
    pub series_description: &'a str,
    /// Whether it has a Content Sequence, for which de-identification has a rule of its own.
    pub structured_content: bool,
}

impl Header<'_> {
    /// An object with patient, study, series, equipment and instance.
    pub fn object(
        &self,
        source: &SourceReference,
        algorithm: &Algorithm,
        deidentification: Option<&Deidentification>,
    ) -> InMemDicomObject {
        let mut object = source.patient_and_study(deidentification);
        let (date, time) = match deidentification {
            None => now(),
            Some(_) => (DUMMY_DATE.to_string(), DUMMY_TIME.to_string()),
        };
        let model = source.own_text(&plain(&algorithm.name, MAX_LABEL), deidentification.is_some());
        for (tag, vr, value) in [
            (tags::SOP_CLASS_UID, VR::UI, self.sop_class),
            (tags::SOP_INSTANCE_UID, VR::UI, self.instance_uid),
            (tags::SERIES_INSTANCE_UID, VR::UI, self.series_uid),
            (tags::MODALITY, VR::CS, self.modality),
            (tags::SERIES_NUMBER, VR::IS, "1"),
            (tags::INSTANCE_NUMBER, VR::IS, "1"),
            (tags::CONTENT_DATE, VR::DA, &date),
            (tags::CONTENT_TIME, VR::TM, &time),
            (tags::MANUFACTURER, VR::LO, "causalclipseg"),
            (tags::MANUFACTURER_MODEL_NAME, VR::LO, &model),
            (tags::DEVICE_SERIAL_NUMBER, VR::LO, "none"),
            (tags::SOFTWARE_VERSIONS, VR::LO, env!("CARGO_PKG_VERSION")),
        ] {
            object.put(text(tag, vr, value));
        }
        if deidentification.is_some() {
            Deidentification::declare(&mut object, self.structured_content);
        } else {
            object.put(text(tags::SERIES_DESCRIPTION, VR::LO, self.series_description));
            object.put(text(tags::TIMEZONE_OFFSET_FROM_UTC, VR::SH, "+0000"));
            object.put(text(tags::SERIES_DATE, VR::DA, date));
            object.put(text(tags::SERIES_TIME, VR::TM, time));
        }
        object
    }
}

/// Writes an object as a file, completely or not at all.
pub fn write(object: InMemDicomObject, path: &Path) -> Result<(), WriteError> {
    let failed = |source| WriteError::Io { path: path.into(), source };
    let meta = FileMetaTableBuilder::new().transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
    let file = object.with_meta(meta).map_err(|error| failed(io::Error::other(error)))?;
    // The library writes in small pieces, and hides an error's kind: the file is written at once.
    let mut bytes = Vec::new();
    file.write_all(&mut bytes).map_err(|error| failed(io::Error::other(error)))?;
    replace_file(path, |file| io::Write::write_all(file, &bytes))
}
