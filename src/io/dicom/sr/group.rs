//! Measurement groups: one for every finding in every frame.
//!
//! If a segmentation was written in the same run, a group uses TID 1410, planar region of interest: it refers to the
//! segmentation's frame. Otherwise it uses TID 1501, measurements of an image, and the area is inferred from the
//! outlines of its parts, since TID 1410 allows one outline, and a mask may have several.

use super::super::derived::Algorithm;
use super::super::segmentation::{CATEGORY, LESION};
use super::codes;
use super::content::Relation::{Contains, HasConceptModifier, HasObservationContext, InferredFrom};
use super::content::{ImageReference, MAX_POINTS, Words, code, container, image, measurement, polyline, uid};
use dicom_object::InMemDicomObject;

/// The finding of one prompt in one frame.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The prompt's number, from 0.
    pub prompt: usize,
    /// The frame's number in the source, from 0.
    pub frame: usize,
    pub area_mm2: f64,
    pub longest_diameter: Option<Line>,
    pub perpendicular_diameter: Option<Line>,
    /// Borders of the parts and of their holes, `[x, y]` in pixels, each closed.
    pub outlines: Vec<Vec<[f32; 2]>>,
}

/// A diameter.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    pub length_mm: f64,
    /// The two ends, `[x, y]` in pixels.
    pub ends: [[f32; 2]; 2],
}

/// The common data of the groups of one prompt.
pub struct Tracked<'a> {
    pub words: Words<'a>,
    pub prompt: &'a str,
    pub tracking_id: String,
    pub tracking_uid: &'a str,
    pub algorithm: &'a Algorithm,
}

impl Tracked<'_> {
    /// A group for one finding. `segmentation` is the frame with the finding's mask.
    pub fn found(
        &self,
        finding: &Finding,
        source: &ImageReference,
        segmentation: Option<&ImageReference>,
    ) -> InMemDicomObject {
        let mut items = self.context();
        items.push(code(Contains, codes::FINDING_CATEGORY, CATEGORY));
        items.push(code(Contains, codes::FINDING, LESION));
        items.extend(self.prompt());
        items.extend(self.algorithm());
        if let Some(segmentation) = segmentation {
            items.push(image(Contains, Some(codes::SEGMENTATION_FRAME), segmentation));
            items.push(image(Contains, Some(codes::SOURCE_OF_SEGMENTATION), source));
        }
        let on = |points: &[[f32; 2]]| polyline(InferredFrom, codes::SOURCE_OF_MEASUREMENT, points, source);
        let outlines = finding.outlines.iter().filter(|_| segmentation.is_none());
        let outlines: Vec<_> = outlines.filter(|points| points.len() <= MAX_POINTS).map(|points| on(points)).collect();
        items.push(measurement(codes::AREA, finding.area_mm2, codes::MM2, outlines));
        for (name, line) in
            [(codes::LONG_AXIS, finding.longest_diameter), (codes::SHORT_AXIS, finding.perpendicular_diameter)]
        {
            items.extend(line.map(|line| measurement(name, line.length_mm, codes::MM, vec![on(&line.ends)])));
        }
        let template = if segmentation.is_some() { "1410" } else { "1501" };
        container(Some(Contains), codes::MEASUREMENT_GROUP, Some(template), items)
    }

    /// The group of a prompt that found nothing in any frame: an area of zero, and the statement that it was looked
    /// for.
    pub fn absent(&self) -> InMemDicomObject {
        let mut items = self.context();
        items.extend(self.prompt());
        items.extend(self.algorithm());
        items.push(measurement(codes::AREA, 0.0, codes::MM2, Vec::new()));
        items.push(code(Contains, codes::PRESENCE, codes::ABSENT));
        container(Some(Contains), codes::MEASUREMENT_GROUP, Some("1501"), items)
    }

    fn context(&self) -> Vec<InMemDicomObject> {
        vec![
            self.words.item(HasObservationContext, codes::TRACKING_IDENTIFIER, &self.tracking_id),
            uid(HasObservationContext, codes::TRACKING_UID, self.tracking_uid),
        ]
    }

    /// The prompt in words; an item cannot hold an empty one.
    fn prompt(&self) -> Option<InMemDicomObject> {
        let prompt = self.prompt.trim();
        (!prompt.is_empty()).then(|| self.words.item(Contains, codes::FINDING, prompt))
    }

    fn algorithm(&self) -> [InMemDicomObject; 2] {
        [(codes::ALGORITHM_NAME, &self.algorithm.name), (codes::ALGORITHM_VERSION, &self.algorithm.version)]
            .map(|(name, value)| self.words.item(HasConceptModifier, name, value))
    }
}
