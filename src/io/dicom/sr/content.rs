//! Content items: the nodes of a structured report's tree (PS3.3, C.17.3).

use super::super::derived::{Code, sequence, text};
use super::super::geometry::decimal;
use super::super::origin::SourceReference;
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

/// How an item relates to the one above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    Contains,
    HasConceptModifier,
    HasObservationContext,
    InferredFrom,
    SelectedFrom,
}

impl Relation {
    const fn name(self) -> &'static str {
        match self {
            Self::Contains => "CONTAINS",
            Self::HasConceptModifier => "HAS CONCEPT MOD",
            Self::HasObservationContext => "HAS OBS CONTEXT",
            Self::InferredFrom => "INFERRED FROM",
            Self::SelectedFrom => "SELECTED FROM",
        }
    }
}

/// The most points of one polyline: such a value has a length of sixteen bits, and a point needs eight bytes.
pub const MAX_POINTS: usize = u16::MAX as usize / 8;

/// An image that an item refers to.
#[derive(Clone, Debug)]
pub struct ImageReference {
    pub sop_class: String,
    pub instance_uid: String,
    /// The frame's number from 1; absent for an image without frames. For a segmentation this identifies the segment
    /// too, which must not be named beside it (PS3.3, 10.3).
    pub frame: Option<u32>,
}

fn item(
    relation: Option<Relation>,
    kind: &str,
    name: Option<Code>,
    value: impl IntoIterator<Item = DataElement<InMemDicomObject>>,
    children: Vec<InMemDicomObject>,
) -> InMemDicomObject {
    let mut item = InMemDicomObject::from_element_iter(value);
    item.put(text(tags::VALUE_TYPE, VR::CS, kind));
    if let Some(relation) = relation {
        item.put(text(tags::RELATIONSHIP_TYPE, VR::CS, relation.name()));
    }
    if let Some(name) = name {
        item.put(name.sequence(tags::CONCEPT_NAME_CODE_SEQUENCE));
    }
    if !children.is_empty() {
        item.put(sequence(tags::CONTENT_SEQUENCE, children));
    }
    item
}

/// A heading with items below it; `template` is the number of the template that defines them.
pub fn container(
    relation: Option<Relation>,
    name: Code,
    template: Option<&str>,
    children: Vec<InMemDicomObject>,
) -> InMemDicomObject {
    let mut value = vec![text(tags::CONTINUITY_OF_CONTENT, VR::CS, "SEPARATE")];
    if let Some(template) = template {
        let template = InMemDicomObject::from_element_iter([
            text(tags::MAPPING_RESOURCE, VR::CS, "DCMR"),
            text(tags::TEMPLATE_IDENTIFIER, VR::CS, template),
        ]);
        value.push(sequence(tags::CONTENT_TEMPLATE_SEQUENCE, vec![template]));
    }
    item(relation, "CONTAINER", Some(name), value, children)
}

/// Generated text beside the source's names.
#[derive(Clone, Copy)]
pub struct Words<'a> {
    pub source: &'a SourceReference,
    /// Whether nothing of the source is repeated.
    pub impersonal: bool,
}

impl Words<'_> {
    pub fn item(self, relation: Relation, name: Code, value: &str) -> InMemDicomObject {
        let mut item = item(Some(relation), "TEXT", Some(name), [], Vec::new());
        self.source.put_own_text(&mut item, &[(tags::TEXT_VALUE, VR::UT, value.to_string())], self.impersonal);
        item
    }
}

pub fn code(relation: Relation, name: Code, value: Code) -> InMemDicomObject {
    item(Some(relation), "CODE", Some(name), [value.sequence(tags::CONCEPT_CODE_SEQUENCE)], Vec::new())
}

pub fn uid(relation: Relation, name: Code, value: &str) -> InMemDicomObject {
    item(Some(relation), "UIDREF", Some(name), [text(tags::UID, VR::UI, value)], Vec::new())
}

/// A number with its unit, once in decimal digits and once exactly.
pub fn measurement(name: Code, value: f64, unit: Code, children: Vec<InMemDicomObject>) -> InMemDicomObject {
    let measured = InMemDicomObject::from_element_iter([
        text(tags::NUMERIC_VALUE, VR::DS, decimal(value)),
        DataElement::new(tags::FLOATING_POINT_VALUE, VR::FD, PrimitiveValue::from(value)),
        unit.sequence(tags::MEASUREMENT_UNITS_CODE_SEQUENCE),
    ]);
    let value = [sequence(tags::MEASURED_VALUE_SEQUENCE, vec![measured])];
    item(Some(Relation::Contains), "NUM", Some(name), value, children)
}

pub fn image(relation: Relation, name: Option<Code>, reference: &ImageReference) -> InMemDicomObject {
    let mut referenced = InMemDicomObject::from_element_iter([
        text(tags::REFERENCED_SOP_CLASS_UID, VR::UI, reference.sop_class.as_str()),
        text(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, reference.instance_uid.as_str()),
    ]);
    if let Some(frame) = reference.frame {
        referenced.put(text(tags::REFERENCED_FRAME_NUMBER, VR::IS, frame.to_string()));
    }
    item(Some(relation), "IMAGE", name, [sequence(tags::REFERENCED_SOP_SEQUENCE, vec![referenced])], Vec::new())
}

/// A line on an image through points `[x, y]`, in pixels from its upper left corner, as reports and this library count
/// them.
pub fn polyline(relation: Relation, name: Code, points: &[[f32; 2]], on: &ImageReference) -> InMemDicomObject {
    let data = points.iter().flatten().copied().collect();
    let value = [
        DataElement::new(tags::GRAPHIC_DATA, VR::FL, PrimitiveValue::F32(data)),
        text(tags::GRAPHIC_TYPE, VR::CS, "POLYLINE"),
    ];
    item(Some(relation), "SCOORD", Some(name), value, vec![image(Relation::SelectedFrom, None, on)])
}
