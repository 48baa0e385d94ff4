//! Sequence of Ultrasound Regions (DICOM PS3.3, C.8.5.5): the region of the scan in the picture, and the size of its
//! pixels.

use super::grey::groups;
use super::values::{Elements, integer, real, reals};
use crate::frame::Region;
use dicom_dictionary_std::tags;

/// Region Spatial Format: two-dimensional, not a Doppler or M-mode trace.
const SPATIAL_2D: i64 = 1;

/// Region Data Type: tissue.
const DATA_TISSUE: i64 = 1;

/// Physical Units: centimetres.
const UNITS_CM: i64 = 3;

/// One of the regions that a file lists.
#[derive(Clone, Debug, PartialEq)]
pub struct ScanRegion {
    /// The region, cut to the picture.
    pub place: Region,
    /// Whether it is a two-dimensional image, not a trace.
    pub is_2d: bool,
    /// Whether it shows tissue, not flow or a waveform.
    pub is_tissue: bool,
    /// The size of a pixel, `[x, y]`, where the region's units are centimetres.
    pub mm_per_pixel: Option<[f32; 2]>,
}

/// The regions of a file; those outside the picture, or of one row or column at most, are left out.
pub(super) fn read(root: &Elements, width: usize, height: usize, notes: &mut Vec<String>) -> Vec<ScanRegion> {
    let listed = root.items(tags::SEQUENCE_OF_ULTRASOUND_REGIONS);
    let usable = |item| {
        let place = place(item, width, height).filter(|place| place.width > 1 && place.height > 1)?;
        Some(ScanRegion {
            place,
            is_2d: integer(item, tags::REGION_SPATIAL_FORMAT) == Some(SPATIAL_2D),
            is_tissue: integer(item, tags::REGION_DATA_TYPE) == Some(DATA_TISSUE),
            mm_per_pixel: mm_per_pixel(item),
        })
    };
    let regions: Vec<ScanRegion> = listed.iter().filter_map(usable).collect();
    if regions.len() < listed.len() {
        let count = listed.len() - regions.len();
        notes.push(format!(
            "regions that are empty or outside of the picture were ignored: {count} of {}",
            listed.len()
        ));
    }
    regions
}

/// The scan: the largest two-dimensional region, of tissue where a region says so, the first of equal ones.
pub(super) fn scan<'a>(regions: &'a [ScanRegion], notes: &mut Vec<String>) -> Option<&'a ScanRegion> {
    let tissue: Vec<&ScanRegion> = regions.iter().filter(|region| region.is_2d && region.is_tissue).collect();
    let candidates = if tissue.is_empty() { regions.iter().filter(|region| region.is_2d).collect() } else { tissue };
    let largest = candidates.iter().map(|region| region.place.area()).max()?;
    let mut equal = candidates.into_iter().filter(|region| region.place.area() == largest);
    let first = equal.next()?;
    let others: Vec<String> = equal
        .filter(|other| other.place != first.place)
        .map(|other| {
            format!("--region {},{},{},{}", other.place.x, other.place.y, other.place.width, other.place.height)
        })
        .collect();
    if !others.is_empty() {
        let Region { x, y, width, height } = first.place;
        let others = others.join(" or ");
        notes.push(format!(
            "it has {} scan regions of one size, as biplane probes have; only that at {x},{y} of {width} x {height} is used, \
             {others} takes another",
            others.split(" or ").count() + 1
        ));
    }
    Some(first)
}

/// The size of a pixel, `[x, y]`, of pictures that have no regions but a spacing, of their own or in the groups that
/// frames share.
pub(super) fn pixel_spacing(root: &Elements, notes: &mut Vec<String>) -> Option<[f32; 2]> {
    // Rows first: the distance from row to row is the one along y.
    let spacing = |group: &Elements| match reals(group, tags::PIXEL_SPACING)?.as_slice() {
        &[y, x] => usable([x, y]),
        _ => None,
    };
    let found = groups(root, tags::PIXEL_MEASURES_SEQUENCE).into_iter().find_map(spacing)?;
    let per_frame = root.items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).iter();
    let mut others =
        per_frame.filter_map(|frame| frame.items(tags::PIXEL_MEASURES_SEQUENCE).first()).filter_map(spacing);
    if others.any(|other| other != found) {
        notes.push("its frames differ in the size of their pixels, which was ignored".into());
        return None;
    }
    Some(found)
}

/// Both corners belong to the region. In some files it ends one pixel outside, so it is cut to the picture.
fn place(region: &Elements, width: usize, height: usize) -> Option<Region> {
    let corner = |tag| usize::try_from(integer(region, tag)?).ok();
    let (x, y) = (corner(tags::REGION_LOCATION_MIN_X0)?, corner(tags::REGION_LOCATION_MIN_Y0)?);
    let right = corner(tags::REGION_LOCATION_MAX_X1)?.min(width.checked_sub(1)?);
    let lower = corner(tags::REGION_LOCATION_MAX_Y1)?.min(height.checked_sub(1)?);
    Some(Region { x, y, width: right.checked_sub(x)? + 1, height: lower.checked_sub(y)? + 1 })
}

fn mm_per_pixel(region: &Elements) -> Option<[f32; 2]> {
    let cm = |units, delta| {
        let units = integer(region, units)?;
        real(region, delta).filter(|_| units == UNITS_CM)
    };
    let x = cm(tags::PHYSICAL_UNITS_X_DIRECTION, tags::PHYSICAL_DELTA_X)?;
    let y = cm(tags::PHYSICAL_UNITS_Y_DIRECTION, tags::PHYSICAL_DELTA_Y)?;
    usable([x.abs() * 10.0, y.abs() * 10.0])
}

fn usable(mm: [f64; 2]) -> Option<[f32; 2]> {
    let mm = mm.map(|mm| mm as f32);
    mm.iter().all(|mm| mm.is_finite() && *mm > 0.0).then_some(mm)
}
