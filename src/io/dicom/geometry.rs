//! The position of a source's planes, as its file says, which a segmentation repeats.

use super::derived::sequence;
use super::values::{Elements, real, reals};
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

/// Positions and orientation of a file's frames. Only for a file that names their frame of reference.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Planes {
    space: Space,
    /// Directions of a row and of a column.
    orientation: [f64; 6],
    /// The position of the upper left pixel, in millimetres: one for all frames, or one for each.
    positions: Vec<[f64; 3]>,
    /// The thickness of a plane in millimetres, where the file gives it.
    thickness_mm: Option<f64>,
}

/// The coordinate system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Space {
    Patient,
    /// The volume of an Enhanced US Volume, whose position in the patient may be unknown.
    Volume,
}

/// Sequence and attribute of a functional group.
type Group = (Tag, Tag);

impl Space {
    const fn position(self) -> Group {
        match self {
            Self::Patient => (tags::PLANE_POSITION_SEQUENCE, tags::IMAGE_POSITION_PATIENT),
            Self::Volume => (tags::PLANE_POSITION_VOLUME_SEQUENCE, tags::IMAGE_POSITION_VOLUME),
        }
    }

    const fn orientation(self) -> Group {
        match self {
            Self::Patient => (tags::PLANE_ORIENTATION_SEQUENCE, tags::IMAGE_ORIENTATION_PATIENT),
            Self::Volume => (tags::PLANE_ORIENTATION_VOLUME_SEQUENCE, tags::IMAGE_ORIENTATION_VOLUME),
        }
    }

    /// Decimal strings for the patient, binary numbers for volumes.
    const fn vr(self) -> VR {
        match self {
            Self::Patient => VR::DS,
            Self::Volume => VR::FD,
        }
    }
}

impl Planes {
    /// Reads functional groups, or the file's own attributes. `None` where the position of a frame is unknown.
    pub fn read(root: &Elements, frames: u64) -> Option<Self> {
        root.get(tags::FRAME_OF_REFERENCE_UID)?;
        let shared = root.items(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE).first();
        let measures = shared.and_then(|groups| groups.items(tags::PIXEL_MEASURES_SEQUENCE).first());
        let thickness_mm = [measures, Some(root)].into_iter().flatten().find_map(|of| real(of, tags::SLICE_THICKNESS));
        let thickness_mm = thickness_mm.filter(|mm| *mm > 0.0);
        let per_frame = root.items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
        let in_groups = [Space::Patient, Space::Volume].into_iter().find_map(|space| {
            let orientation = [shared, per_frame.first()].into_iter().flatten();
            let orientation = orientation.into_iter().find_map(|groups| of_group(groups, space.orientation()))?;
            // Frames with different orientations have none in common.
            let others = per_frame.iter().filter_map(|groups| of_group::<6>(groups, space.orientation()));
            if others.into_iter().any(|other| other != orientation) {
                return None;
            }
            let each: Vec<_> = per_frame.iter().map_while(|groups| of_group(groups, space.position())).collect();
            let positions = match shared.and_then(|groups| of_group(groups, space.position())) {
                Some(position) => vec![position],
                None => each,
            };
            Some(Self { space, orientation, positions, thickness_mm })
        });
        let planes = in_groups.or_else(|| {
            let position = array(root, tags::IMAGE_POSITION_PATIENT)?;
            let orientation = array(root, tags::IMAGE_ORIENTATION_PATIENT)?;
            Some(Self { space: Space::Patient, orientation, positions: vec![position], thickness_mm })
        })?;
        (planes.positions.len() == 1 || planes.positions.len() as u64 == frames).then_some(planes)
    }

    /// The thickness of a plane, in millimetres; `None` where the file does not give it.
    pub fn thickness_mm(&self) -> Option<f64> {
        self.thickness_mm
    }

    /// The functional group that all frames share.
    pub fn orientation(&self) -> DataElement<InMemDicomObject> {
        self.group(self.space.orientation(), &self.orientation)
    }

    /// The functional group of a frame, counted from 1.
    pub fn position(&self, frame: u32) -> Option<DataElement<InMemDicomObject>> {
        let index = if self.positions.len() == 1 { 0 } else { usize::try_from(frame).ok()?.checked_sub(1)? };
        Some(self.group(self.space.position(), self.positions.get(index)?))
    }

    fn group(&self, (group, attribute): Group, values: &[f64]) -> DataElement<InMemDicomObject> {
        let vr = self.space.vr();
        let value = match vr {
            VR::DS => decimals(values),
            _ => PrimitiveValue::F64(values.iter().copied().collect()),
        };
        sequence(group, vec![InMemDicomObject::from_element_iter([DataElement::new(attribute, vr, value)])])
    }
}

/// Decimal strings, each of at most sixteen characters, as the standard limits them.
pub(super) fn decimals(values: &[f64]) -> PrimitiveValue {
    PrimitiveValue::Strs(values.iter().copied().map(decimal).collect())
}

/// The closest number to a value in sixteen characters.
pub(super) fn decimal(value: f64) -> String {
    let short = value.to_string();
    if short.len() <= 16 {
        return short;
    }
    let written = (0..=14).flat_map(|digits| [format!("{value:.digits$}"), format!("{value:.digits$e}")]);
    let error = |text: &String| text.parse::<f64>().map_or(f64::INFINITY, |read| (read - value).abs());
    let closest = written.filter(|text| text.len() <= 16).min_by(|a, b| error(a).total_cmp(&error(b)));
    closest.unwrap_or_else(|| "0".into())
}

fn of_group<const N: usize>(groups: &Elements, (group, attribute): Group) -> Option<[f64; N]> {
    array(groups.items(group).first()?, attribute)
}

fn array<const N: usize>(object: &Elements, tag: Tag) -> Option<[f64; N]> {
    let values: [f64; N] = reals(object, tag)?.try_into().ok()?;
    values.iter().all(|value| value.is_finite()).then_some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_keep_what_sixteen_characters_hold() {
        assert_eq!(decimal(0.5), "0.5");
        assert_eq!(decimal(-12.0), "-12");
        for value in [0.1f64 + 0.2, -1.0 / 3.0, 1e-20 / 3.0, 1e20 / 3.0, f64::from(0.07f32), -12_345.678_901_234_567] {
            let text = decimal(value);
            assert!(text.len() <= 16, "{text}");
            let close = (text.parse::<f64>().unwrap() - value).abs() <= value.abs() * 1e-8;
            assert!(close, "{text} for {value}");
        }
    }

    use super::super::values::Value;

    fn with(mut elements: Elements, tag: Tag, vr: VR, bytes: Vec<u8>) -> Elements {
        elements.put(tag, Value { vr, big_endian: false, bytes });
        elements
    }

    fn group(mut into: Elements, (group, attribute): Group, values: &[f64]) -> Elements {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        into.put_items(group, vec![with(Elements::default(), attribute, VR::FD, bytes)]);
        into
    }

    #[test]
    fn planes_of_a_volume_are_read_frame_by_frame() {
        let turned = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
        let shared = group(Elements::default(), Space::Volume.orientation(), &turned);
        let shared = group(shared, (tags::PIXEL_MEASURES_SEQUENCE, tags::SLICE_THICKNESS), &[1.5]);
        let frames = [1.5, 3.0].map(|z| group(Elements::default(), Space::Volume.position(), &[0.0, 0.0, z]));
        let mut root = Elements::default();
        root.put_items(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![shared]);
        root.put_items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, frames.to_vec());
        assert_eq!(Planes::read(&root, 2), None);
        let root = with(root, tags::FRAME_OF_REFERENCE_UID, VR::UI, b"1.2.3\0".to_vec());
        let planes = Planes::read(&root, 2).unwrap();
        assert_eq!((planes.space, planes.positions.len()), (Space::Volume, 2));
        assert_eq!(planes.thickness_mm(), Some(1.5));
        let written = planes.position(2).unwrap();
        let position = written.items().unwrap()[0].element(tags::IMAGE_POSITION_VOLUME).unwrap();
        assert_eq!(position.to_multi_float64().unwrap(), [0.0, 0.0, 3.0]);
        assert_eq!(planes.position(3), None);
        // A frame without a position.
        assert_eq!(Planes::read(&root, 3), None);
    }
}
