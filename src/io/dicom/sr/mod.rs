//! DICOM SR: areas and diameters as a Measurement Report (PS3.16, TID 1500) in a Comprehensive SR.
//!
//! ```text
//! Imaging Measurement Report
//!   language, the model as the observing device, the procedure
//!   Image Library: the source
//!   Imaging Measurements
//!     Measurement Group, one of every finding in every frame
//!       tracking identifier and UID, the same in all frames of a prompt and in the segmentation
//!       Finding: Lesion, and the prompt in words
//!       the frames of segmentation and source
//!       Area, Long Axis, Short Axis, in mm2 and mm, with the lines that were measured
//! ```

mod codes;
mod content;
mod group;

use super::derived::{self, Algorithm, Deidentification, Header, NoReference, new_uid, sequence, text, uid_of};
use super::origin::SourceReference;
use super::segmentation::{WrittenSegmentation, tracking_id};
use crate::io::WriteError;
use crate::mask::{Contour, Diameter, Measurements};
use content::Relation::{Contains, HasConceptModifier, HasObservationContext};
use content::{ImageReference, Words, code, container, image, uid};
use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use group::{Finding, Line, Tracked};
use std::path::Path;

/// The most findings of one report, and the most points of their outlines together.
const MAX_FINDINGS: usize = 200_000;
const MAX_OUTLINE_POINTS: usize = 16 << 20;

/// Measurements of one DICOM file under any number of prompts, until they are written.
pub struct MeasurementReport {
    source: SourceReference,
    algorithm: Algorithm,
    prompts: Vec<String>,
    findings: Vec<Finding>,
    points: usize,
}

/// Why measurements cannot be written as a report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ReportError {
    #[error(
        "the size of its pixels is unknown, and a DICOM SR measures in millimetres; give --mm-per-pixel, \
         or leave out dicom-sr"
    )]
    Millimetres,
    #[error("the measurements are too many for one DICOM SR: cut the clip")]
    TooLarge,
    #[error("prompt {0} cannot be written into a DICOM SR: it does not exist")]
    Prompt(usize),
    #[error(transparent)]
    Source(#[from] NoReference),
}

impl MeasurementReport {
    /// An empty report about `source`.
    pub fn new(source: SourceReference, algorithm: Algorithm, prompts: Vec<String>) -> Self {
        Self { source, algorithm, prompts, findings: Vec::new(), points: 0 }
    }

    /// Adds what prompt `prompt` found in the source's frame `frame`, both counted from 0. An empty mask adds nothing.
    ///
    /// # Errors
    /// The measurements are in pixels only, the prompt is not one of this report's, there are more findings than a file
    /// should hold, or the source lacks the UIDs that refer to it.
    pub fn push(
        &mut self,
        prompt: usize,
        frame: usize,
        measurements: &Measurements,
        contours: &[Contour],
    ) -> Result<(), ReportError> {
        self.source.check()?;
        if prompt >= self.prompts.len() {
            return Err(ReportError::Prompt(prompt));
        }
        let area_mm2 = measurements.area_mm2.ok_or(ReportError::Millimetres)?;
        if measurements.area_px == 0 {
            return Ok(());
        }
        let outlines: Vec<Vec<[f32; 2]>> = contours.iter().map(closed).collect();
        self.points += outlines.iter().map(Vec::len).sum::<usize>();
        if self.findings.len() >= MAX_FINDINGS || self.points > MAX_OUTLINE_POINTS {
            return Err(ReportError::TooLarge);
        }
        self.findings.push(Finding {
            prompt,
            frame,
            area_mm2,
            longest_diameter: measurements.longest_diameter.and_then(line),
            perpendicular_diameter: measurements.perpendicular_diameter.and_then(line),
            outlines,
        });
        Ok(())
    }

    /// Writes the file. `segmentation` has the masks that were measured, of the same source and prompts, if it was
    /// written. With a de-identification nothing identifies the patient, and UIDs are replaced as in that segmentation.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn write(
        mut self,
        path: &Path,
        segmentation: Option<&WrittenSegmentation>,
        deidentification: Option<&Deidentification>,
    ) -> Result<(), WriteError> {
        self.findings.sort_by_key(|finding| (finding.prompt, finding.frame));
        let header = Header {
            sop_class: uids::COMPREHENSIVE_SR_STORAGE,
            instance_uid: &new_uid(),
            series_uid: &new_uid(),
            modality: "SR",
            series_description: "Measurements of text-prompted segmentation, research use only",
            structured_content: true,
        };
        let mut object = header.object(&self.source, &self.algorithm, deidentification);
        object.put(sequence(tags::REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE, Vec::new()));
        object.put(sequence(tags::PERFORMED_PROCEDURE_CODE_SEQUENCE, Vec::new()));
        object.put(text(tags::COMPLETION_FLAG, VR::CS, "COMPLETE"));
        object.put(text(tags::VERIFICATION_FLAG, VR::CS, "UNVERIFIED"));
        object.put(text(tags::PRELIMINARY_FLAG, VR::CS, "PRELIMINARY"));
        let evidence = self.evidence(segmentation, deidentification);
        object.put(sequence(tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE, vec![evidence]));
        for element in self.content(segmentation, deidentification) {
            object.put(element);
        }
        derived::write(object, path)
    }

    /// All instances that the content refers to.
    fn evidence(
        &self,
        segmentation: Option<&WrittenSegmentation>,
        deidentification: Option<&Deidentification>,
    ) -> InMemDicomObject {
        let mut series = vec![self.source.series(tags::REFERENCED_SOP_SEQUENCE, deidentification)];
        series.extend(segmentation.map(|written| {
            let instance = InMemDicomObject::from_element_iter([
                text(tags::REFERENCED_SOP_CLASS_UID, VR::UI, uids::SEGMENTATION_STORAGE),
                text(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, written.instance_uid.as_str()),
            ]);
            InMemDicomObject::from_element_iter([
                text(tags::SERIES_INSTANCE_UID, VR::UI, written.series_uid.as_str()),
                sequence(tags::REFERENCED_SOP_SEQUENCE, vec![instance]),
            ])
        }));
        InMemDicomObject::from_element_iter([
            text(tags::STUDY_INSTANCE_UID, VR::UI, self.source.study_uid(deidentification)),
            sequence(tags::REFERENCED_SERIES_SEQUENCE, series),
        ])
    }

    /// The tree; its root is the report itself.
    fn content(
        &self,
        segmentation: Option<&WrittenSegmentation>,
        deidentification: Option<&Deidentification>,
    ) -> InMemDicomObject {
        let source = ImageReference {
            sop_class: self.source.uid(tags::SOP_CLASS_UID, deidentification).unwrap_or_default(),
            instance_uid: self.source.uid(tags::SOP_INSTANCE_UID, deidentification).unwrap_or_default(),
            frame: None,
        };
        let library = image(Contains, None, &source);
        let library = container(Some(Contains), codes::IMAGE_LIBRARY_GROUP, None, vec![library]);
        let words = Words { source: &self.source, impersonal: deidentification.is_some() };
        let groups = self.groups(words, &source, segmentation);
        let mut items = self.context(words);
        items.push(container(Some(Contains), codes::IMAGE_LIBRARY, Some("1600"), vec![library]));
        items.push(container(Some(Contains), codes::IMAGING_MEASUREMENTS, None, groups));
        container(None, codes::MEASUREMENT_REPORT, Some("1500"), items)
    }

    /// Language, observer and procedure.
    fn context(&self, words: Words<'_>) -> Vec<InMemDicomObject> {
        let Algorithm { name, version } = &self.algorithm;
        // The same in every report by this model.
        let device = uid_of(&[b"causalclipseg", name.as_bytes(), version.as_bytes()]);
        vec![
            code(HasConceptModifier, codes::LANGUAGE, codes::ENGLISH),
            code(HasObservationContext, codes::OBSERVER_TYPE, codes::DEVICE),
            uid(HasObservationContext, codes::DEVICE_UID, &device),
            words.item(HasObservationContext, codes::DEVICE_NAME, "causalclipseg"),
            words.item(HasObservationContext, codes::DEVICE_MANUFACTURER, "causalclipseg"),
            words.item(HasObservationContext, codes::DEVICE_MODEL, name),
            code(HasConceptModifier, codes::PROCEDURE_REPORTED, codes::ULTRASONOGRAPHY),
        ]
    }

    fn groups(
        &self,
        words: Words<'_>,
        source: &ImageReference,
        segmentation: Option<&WrittenSegmentation>,
    ) -> Vec<InMemDicomObject> {
        let mut groups = Vec::new();
        for (prompt, text) in self.prompts.iter().enumerate() {
            let own;
            let tracking_uid = match segmentation.and_then(|written| written.tracking_uids.get(prompt)) {
                Some(uid) => uid,
                None => {
                    own = new_uid();
                    &own
                }
            };
            // As many as a segmentation can have segments.
            let number = u16::try_from(prompt + 1).unwrap_or(u16::MAX);
            let tracking_id = tracking_id(number, text);
            let tracked = Tracked { words, prompt: text, tracking_id, tracking_uid, algorithm: &self.algorithm };
            let before = groups.len();
            for finding in self.findings.iter().filter(|finding| finding.prompt == prompt) {
                let frame = u32::try_from(finding.frame + 1).ok().filter(|_| self.source.frames > 1);
                let on = ImageReference { frame, ..source.clone() };
                let of_segmentation = segmentation.and_then(|written| {
                    Some(ImageReference {
                        sop_class: uids::SEGMENTATION_STORAGE.into(),
                        instance_uid: written.instance_uid.clone(),
                        frame: Some(written.frame(prompt, finding.frame)?),
                    })
                });
                groups.push(tracked.found(finding, &on, of_segmentation.as_ref()));
            }
            if groups.len() == before {
                groups.push(tracked.absent());
            }
        }
        groups
    }
}

fn line(diameter: Diameter) -> Option<Line> {
    Some(Line { length_mm: diameter.length_mm?, ends: diameter.ends.map(|end| end.map(|at| at as f32)) })
}

/// The corners in their order, the first repeated at the end, by which readers recognise a closed line.
fn closed(contour: &Contour) -> Vec<[f32; 2]> {
    contour.points.iter().chain(contour.points.first()).map(|point| point.map(|at| at as f32)).collect()
}
