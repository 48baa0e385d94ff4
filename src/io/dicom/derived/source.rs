//! References from a written object to its source file.

use super::super::origin::{PATIENT_AND_STUDY, SourceReference};
use super::super::values::text as value;
use super::uid::uid_of;
use super::{Deidentification, NoReference, sequence, text};
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

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

    /// Patient and study as in the source, in its character set; empty where the patient must not be identified.
    pub(super) fn patient_and_study(&self, deidentification: Option<&Deidentification>) -> InMemDicomObject {
        let impersonal = deidentification.is_some();
        let mut object = InMemDicomObject::from_element_iter(self.character_set(impersonal));
        for (tag, vr) in PATIENT_AND_STUDY {
            object.put(if impersonal { DataElement::empty(tag, vr) } else { self.copy(tag, vr) });
        }
        object.put(text(tags::STUDY_INSTANCE_UID, VR::UI, self.study_uid(deidentification)));
        object
    }

    /// The study's UID; where the file has none, one that is the same for all objects derived from the file.
    pub(in super::super) fn study_uid(&self, deidentification: Option<&Deidentification>) -> String {
        match self.uid(tags::STUDY_INSTANCE_UID, deidentification) {
            Some(uid) => uid,
            None => {
                let instance = self.uid(tags::SOP_INSTANCE_UID, deidentification).unwrap_or_default();
                uid_of(&[b"study of", instance.as_bytes()])
            }
        }
    }

    /// A UID of the source, or its replacement.
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
