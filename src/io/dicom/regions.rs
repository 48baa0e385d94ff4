//! Sequence of Ultrasound Regions (DICOM PS3.3, C.8.5.5): where the scan lies in the picture, and how large its pixels are.

use super::values::{integer, real, reals};
use crate::frame::Region;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

/// Region Spatial Format: two-dimensional, not a Doppler or M-mode trace.
const SPATIAL_2D: i64 = 1;

/// Region Data Type: tissue.
const DATA_TISSUE: i64 = 1;

/// Physical Units: centimetres.
const UNITS_CM: i64 = 3;

/// The scan: the largest two-dimensional region, of tissue where one says so, and `[x, y]` millimetres per pixel where it
/// gives them. Nothing where no region lies in the picture.
pub(super) fn scan(regions: &[InMemDicomObject], width: usize, height: usize) -> Option<(Region, Option<[f32; 2]>)> {
    let of_kind = |tissue: bool| {
        regions
            .iter()
            .filter(move |region| integer(region, tags::REGION_SPATIAL_FORMAT) == Some(SPATIAL_2D))
            .filter(move |region| !tissue || integer(region, tags::REGION_DATA_TYPE) == Some(DATA_TISSUE))
            .filter_map(|region| Some((place(region, width, height)?, mm_per_pixel(region))))
            .max_by_key(|(place, _)| place.area())
    };
    of_kind(true).or_else(|| of_kind(false))
}

/// `[x, y]` of pictures that have no regions but a spacing.
pub(super) fn pixel_spacing(root: &InMemDicomObject) -> Option<[f32; 2]> {
    // Rows first: the distance from row to row is that along y.
    match reals(root, tags::PIXEL_SPACING)?.as_slice() {
        &[y, x] => usable([x, y]),
        _ => None,
    }
}

/// Both corners belong to the region. Some machines let it end one pixel outside, so it is cut to the picture.
fn place(region: &InMemDicomObject, width: usize, height: usize) -> Option<Region> {
    let corner = |tag| usize::try_from(integer(region, tag)?).ok();
    let (x, y) = (corner(tags::REGION_LOCATION_MIN_X0)?, corner(tags::REGION_LOCATION_MIN_Y0)?);
    let right = corner(tags::REGION_LOCATION_MAX_X1)?.min(width.checked_sub(1)?);
    let lower = corner(tags::REGION_LOCATION_MAX_Y1)?.min(height.checked_sub(1)?);
    Some(Region { x, y, width: right.checked_sub(x)? + 1, height: lower.checked_sub(y)? + 1 })
}

fn mm_per_pixel(region: &InMemDicomObject) -> Option<[f32; 2]> {
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
