//! What an object says about the file it was derived from.

use super::super::clip::SourceReference;
use super::super::geometry::decimals;
use super::super::values::{reals, text as value};
use super::uid::uid_of;
use super::{Deidentification, NoReference, sequence, text};
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

/// Attributes of patient and study that are the source's own.
const PERSONAL: [(Tag, VR); 9] = [
    (tags::STUDY_DATE, VR::DA),
    (tags::STUDY_TIME, VR::TM),
    (tags::ACCESSION_NUMBER, VR::SH),
    (tags::REFERRING_PHYSICIAN_NAME, VR::PN),
    (tags::PATIENT_NAME, VR::PN),
    (tags::PATIENT_ID, VR::LO),
    (tags::PATIENT_BIRTH_DATE, VR::DA),
    (tags::PATIENT_SEX, VR::CS),
    (tags::STUDY_ID, VR::SH),
];

impl SourceReference {
    /// Whether the file has the UIDs that a reference to it consists of.
    pub(in super::super) fn check(&self) -> Result<(), NoReference> {
        for (tag, name) in [
            (tags::SOP_CLASS_UID, "SOP Class UID"),
            (tags::SOP_INSTANCE_UID, "SOP Instance UID"),
            (tags::SERIES_INSTANCE_UID, "Series Instance UID"),
        ] {
            value(&self.root, tag).ok_or(NoReference(name))?;
        }
        Ok(())
    }

    /// Patient and study as the source has them; empty where a patient must not be recognised.
    pub(super) fn patient_and_study(&self, deidentification: Option<&Deidentification>) -> InMemDicomObject {
        let mut object = InMemDicomObject::new_empty();
        for (tag, vr) in PERSONAL {
            let value = value(&self.root, tag).filter(|_| deidentification.is_none()).unwrap_or_default();
            object.put(text(tag, vr, value));
        }
        object.put(text(tags::STUDY_INSTANCE_UID, VR::UI, self.study_uid(deidentification)));
        object
    }

    /// Where a file lacks its study's UID, one that is the same for all that is derived from the file.
    pub(in super::super) fn study_uid(&self, deidentification: Option<&Deidentification>) -> String {
        match self.uid(tags::STUDY_INSTANCE_UID, deidentification) {
            Some(uid) => uid,
            None => {
                let instance = self.uid(tags::SOP_INSTANCE_UID, deidentification).unwrap_or_default();
                uid_of(&[b"study of", instance.as_bytes()])
            }
        }
    }

    /// Whether the pixels were ever compressed with loss, which holds for what is derived from them too.
    pub(in super::super) fn put_lossy_compression(&self, object: &mut InMemDicomObject) {
        let lossy = value(&self.root, tags::LOSSY_IMAGE_COMPRESSION).is_some_and(|lossy| lossy == "01");
        object.put(text(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, if lossy { "01" } else { "00" }));
        if !lossy {
            return;
        }
        if let Some(ratios) = reals(&self.root, tags::LOSSY_IMAGE_COMPRESSION_RATIO) {
            object.put(DataElement::new(tags::LOSSY_IMAGE_COMPRESSION_RATIO, VR::DS, decimals(&ratios)));
        }
        // Names of standards, such as ISO_10918_1; other text has no place there.
        let methods = value(&self.root, tags::LOSSY_IMAGE_COMPRESSION_METHOD).unwrap_or_default();
        let methods = methods.split('\\').filter(|method| method.starts_with("ISO_") && method.len() <= 16);
        let methods: PrimitiveValue = PrimitiveValue::Strs(methods.map(str::to_string).collect());
        if methods.multiplicity() > 0 {
            object.put(DataElement::new(tags::LOSSY_IMAGE_COMPRESSION_METHOD, VR::CS, methods));
        }
    }

    /// A UID of the source, or what it is replaced by.
    pub(in super::super) fn uid(&self, tag: Tag, deidentification: Option<&Deidentification>) -> Option<String> {
        let uid = value(&self.root, tag)?;
        Some(deidentification.map_or(uid.clone(), |deidentification| deidentification.uid(&uid)))
    }

    /// SOP class and instance, for an item of a sequence that refers to the source.
    pub(in super::super) fn instance(
        &self,
        deidentification: Option<&Deidentification>,
    ) -> [DataElement<InMemDicomObject>; 2] {
        [
            (tags::REFERENCED_SOP_CLASS_UID, tags::SOP_CLASS_UID),
            (tags::REFERENCED_SOP_INSTANCE_UID, tags::SOP_INSTANCE_UID),
        ]
        .map(|(tag, of)| text(tag, VR::UI, self.uid(of, deidentification).unwrap_or_default()))
    }

    /// The source's series with the source as its only instance, which `instances` holds.
    pub(in super::super) fn series(
        &self,
        instances: Tag,
        deidentification: Option<&Deidentification>,
    ) -> InMemDicomObject {
        let uid = self.uid(tags::SERIES_INSTANCE_UID, deidentification).unwrap_or_default();
        InMemDicomObject::from_element_iter([
            text(tags::SERIES_INSTANCE_UID, VR::UI, uid),
            sequence(instances, vec![InMemDicomObject::from_element_iter(self.instance(deidentification))]),
        ])
    }
}
