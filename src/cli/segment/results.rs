//! The results of one input: pictures frame by frame, and files of all frames at the end.

use super::input::Input;
use super::{Arguments, Failure, Format};
use causalclipseg::Finding;
use causalclipseg::io::metaimage::MaskSequence;
use causalclipseg::io::nrrd::write_label_map;
use causalclipseg::io::source::FrameBuffer;
use causalclipseg::io::{
    OutputNames, is_own_result, write_frame, write_mask, write_overlay, write_probability, write_result_json,
};
use causalclipseg::mask::{Annotation, Overlay, Probability, Record, SequenceRecord};
use std::path::PathBuf;
use std::slice;

/// The most frames of one input whose results are kept until its end.
const MAX_FRAMES: usize = 100_000;

/// One frame under one prompt.
pub(super) struct Found<'a> {
    pub prompt: usize,
    pub record: &'a Record,
    pub finding: &'a Finding,
}

/// Results of one input under all prompts.
pub(super) struct Results<'a> {
    arguments: &'a Arguments,
    names: &'a OutputNames,
    model: &'a str,
    still: bool,
    sequences: Vec<MaskSequence>,
    #[cfg(feature = "dicom")]
    dicom: super::dicom::DicomResults<'a>,
    /// The records of all frames, for each prompt.
    records: Vec<Vec<Record>>,
}

impl<'a> Results<'a> {
    /// # Errors
    /// A DICOM result is requested for an input that is not a DICOM file.
    pub(crate) fn new(
        arguments: &'a Arguments,
        names: &'a OutputNames,
        model: &'a causalclipseg::Model,
        input: &Input,
        path: &std::path::Path,
        #[cfg(feature = "dicom")] deidentification: Option<&'a causalclipseg::io::dicom::Deidentification>,
    ) -> Result<Self, Failure> {
        let prompts = arguments.prompts.len();
        #[cfg(feature = "dicom")]
        let dicom = super::dicom::DicomResults::new(arguments, model, input, path, deidentification)?;
        #[cfg(not(feature = "dicom"))]
        let _ = path;
        Ok(Self {
            arguments,
            names,
            model: &model.description().name,
            still: input.is_still(),
            sequences: (0..prompts).map(|_| MaskSequence::default()).collect(),
            #[cfg(feature = "dicom")]
            dicom,
            records: vec![Vec::new(); prompts],
        })
    }

    /// The paths of results, as far as they are known before the first frame.
    fn places(&self) -> Vec<PathBuf> {
        let first = (!self.still).then_some(0);
        let names = self.names;
        let of_prompt = |format: &Format, prompt: usize| match format {
            Format::Mask => vec![names.mask(first, prompt)],
            Format::Prob => vec![names.probability(first, prompt)],
            Format::Overlay => vec![names.overlay(first, prompt)],
            Format::Json => vec![names.json(prompt)],
            Format::Frame => vec![names.frame(first)],
            // A volume's result is named as a picture's is.
            Format::Mha => [false, true].map(|sequence| names.meta_image(sequence && !self.still, prompt)).into(),
            Format::Nrrd => [false, true].map(|sequence| names.nrrd(sequence && !self.still, prompt)).into(),
            #[cfg(feature = "dicom")]
            Format::DicomSeg => vec![names.dicom_segmentation()],
            #[cfg(feature = "dicom")]
            Format::DicomSr => vec![names.dicom_report()],
        };
        let prompts = 0..self.arguments.prompts.len();
        prompts
            .flat_map(|prompt| self.arguments.format.iter().flat_map(move |format| of_prompt(format, prompt)))
            .collect()
    }

    /// # Errors
    /// A file that this program did not write exists where a result goes, and must not be replaced.
    pub(super) fn check_places(&self) -> Result<(), Failure> {
        self.places().into_iter().try_for_each(|path| self.checked(path).map(drop))
    }

    /// The path, unless a file that this program did not write is there.
    fn checked(&self, path: PathBuf) -> Result<PathBuf, Failure> {
        if !self.arguments.overwrite && path.is_file() && !is_own_result(&path) {
            let path = path.display();
            return Err(format!(
                "{path}: already exists and was not written by this program; choose another folder with -o, or replace it \
                 with --overwrite"
            )
            .into());
        }
        Ok(path)
    }

    /// Writes the files of one frame, and keeps what is written at the end. `frame` counts from 0.
    pub(crate) fn add(&mut self, frame: usize, pixels: &FrameBuffer, found: &Found<'_>) -> Result<(), Failure> {
        if frame >= MAX_FRAMES {
            return Err(format!("more than {MAX_FRAMES} frames in one input; cut it, or use `stream`").into());
        }
        let Found { prompt, record, finding } = *found;
        let mask = finding.mask();
        let number = (!self.still).then_some(frame);
        #[cfg(feature = "dicom")]
        self.dicom.add(frame, found)?;
        let Arguments { format, deidentify, .. } = self.arguments;
        if format.iter().any(|format| matches!(format, Format::Mha | Format::Nrrd))
            && let Some(sequence) = self.sequences.get_mut(prompt)
        {
            sequence.push(mask, pixels, *deidentify)?;
        }
        for format in format {
            match format {
                Format::Mask => write_mask(&self.checked(self.names.mask(number, prompt))?, mask)?,
                Format::Prob => {
                    let path = self.checked(self.names.probability(number, prompt))?;
                    write_probability(&path, finding.probability(), self.arguments.depth())?;
                }
                // The same under all prompts.
                Format::Frame if prompt == 0 => write_frame(&self.checked(self.names.frame(number))?, pixels)?,
                Format::Frame => {}
                Format::Overlay => {
                    let annotation = Annotation {
                        prompt: &record.prompt,
                        mask,
                        contours: finding.contours(),
                        measurements: finding.measurements(),
                    };
                    let overlay = Overlay {
                        frame: &pixels.frame()?,
                        findings: slice::from_ref(&annotation),
                        confounders: finding.confounders().map(Probability::values),
                        threshold: record.threshold,
                        model: self.model,
                    };
                    write_overlay(&self.checked(self.names.overlay(number, prompt))?, &overlay.draw()?)?;
                }
                Format::Json if self.still => write_result_json(&self.names.json(prompt), record)?,
                Format::Json => {
                    self.records.get_mut(prompt).into_iter().for_each(|records| records.push(record.clone()));
                }
                // Kept until the end; both of these are written from one collection of masks.
                Format::Mha | Format::Nrrd => {}
                #[cfg(feature = "dicom")]
                Format::DicomSeg | Format::DicomSr => {}
            }
        }
        Ok(())
    }

    /// Writes the files of all frames.
    pub(crate) fn finish(self, input: &Input) -> Result<(), Failure> {
        let Arguments { format, deidentify, .. } = self.arguments;
        if format.contains(&Format::Json) && !self.still {
            let source_ignored = input.ignored();
            for (prompt, (frames, text)) in self.records.into_iter().zip(&self.arguments.prompts).enumerate() {
                let input = frames.first().map(|record| record.input.clone()).unwrap_or_default();
                let record = SequenceRecord { input, prompt: text.clone(), ignored: source_ignored.clone(), frames };
                write_result_json(&self.names.json(prompt), &record)?;
            }
        }
        let source = input.mask_source(*deidentify);
        // A volume's masks are a volume, as a picture's are a picture.
        let is_sequence = !self.still && !source.is_volume;
        for (prompt, mut sequence) in self.sequences.into_iter().enumerate() {
            if format.contains(&Format::Mha) {
                sequence.write(&self.names.meta_image(is_sequence, prompt), &source)?;
            }
            if format.contains(&Format::Nrrd) {
                write_label_map(&self.names.nrrd(is_sequence, prompt), &mut sequence, &source)?;
            }
        }
        #[cfg(feature = "dicom")]
        self.dicom.finish(self.names)?;
        Ok(())
    }
}
