//! The DICOM results of one input: a segmentation and a report that refers to it.

use super::input::Input;
use super::results::Found;
use super::{Arguments, Failure, Format};
use causalclipseg::Model;
use causalclipseg::io::OutputNames;
use causalclipseg::io::dicom::{Algorithm, Deidentification, MeasurementReport, Segmentation};
use causalclipseg::io::source::Source;
use std::path::Path;

/// The segmentation and the report, where requested.
pub(super) struct DicomResults<'a> {
    name: String,
    segmentation: Option<Segmentation>,
    report: Option<MeasurementReport>,
    deidentification: Option<&'a Deidentification>,
}

impl<'a> DicomResults<'a> {
    /// # Errors
    /// The input is not a DICOM file.
    pub(crate) fn new(
        arguments: &Arguments,
        model: &Model,
        input: &Input,
        path: &Path,
        deidentification: Option<&'a Deidentification>,
    ) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let [segmentation, report] = [Format::DicomSeg, Format::DicomSr].map(|of| arguments.format.contains(&of));
        if !segmentation && !report {
            return Ok(Self { name, segmentation: None, report: None, deidentification });
        }
        let Input::File(Source::Dicom(clip)) = input else {
            let (what, format) = if segmentation { ("SEG", "mha") } else { ("SR", "json") };
            return Err(format!("{name}: not a DICOM file, and DICOM {what} needs one; use --format {format}").into());
        };
        let version = model.sha256().to_string().chars().take(12).collect();
        let algorithm = Algorithm { name: model.description().name.clone(), version };
        let all = || (clip.reference().clone(), algorithm.clone(), arguments.prompts.clone());
        let segmentation = segmentation.then(|| {
            let (source, algorithm, prompts) = all();
            Segmentation::new(source, algorithm, prompts)
        });
        let report = report.then(|| {
            let (source, algorithm, prompts) = all();
            MeasurementReport::new(source, algorithm, prompts)
        });
        Ok(Self { name, segmentation, report, deidentification })
    }

    /// Keeps what was found in a frame, counted from 0.
    pub(crate) fn add(&mut self, frame: usize, found: &Found<'_>) -> Result<(), Failure> {
        let Found { prompt, record, finding } = *found;
        if let Some(report) = &mut self.report {
            let added = report.push(prompt, frame, &record.measurements, &record.contours);
            added.map_err(|error| format!("{}: {error}", self.name))?;
        }
        if let Some(segmentation) = &mut self.segmentation {
            segmentation.set_mm_per_pixel(record.mm_per_pixel);
            segmentation.push(prompt, frame, finding.mask()).map_err(|error| format!("{}: {error}", self.name))?;
        }
        Ok(())
    }

    pub(crate) fn finish(self, names: &OutputNames) -> Result<(), Failure> {
        let mut written = None;
        if let Some(segmentation) = self.segmentation {
            written = Some(segmentation.write(&names.dicom_segmentation(), self.deidentification)?);
        }
        if let Some(report) = self.report {
            report.write(&names.dicom_report(), written.as_ref(), self.deidentification)?;
        }
        Ok(())
    }
}
