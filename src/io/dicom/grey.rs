//! Converts stored grey values to displayed ones: Modality LUT, VOI LUT, Presentation LUT Shape (DICOM PS3.3, C.11;
//! PS3.4, N.2).

use super::palette::Lut;
use super::values::{Elements, real, text};
use dicom_core::Tag;
use dicom_dictionary_std::tags;

/// The file's grey scale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grey {
    /// The displayed value of every stored value from the lowest on; `None` where neither a window nor a table nor
    /// eight bits give a scale.
    pub table: Option<Vec<u8>>,
    pub inverted: bool,
}

impl Grey {
    /// Reads the grey scale. `bits` carry a value, `lowest` is the smallest one.
    pub fn read(root: &Elements, bits: u32, lowest: i32, inverted: bool, notes: &mut Vec<String>) -> Self {
        let mut inverted = inverted || text(root, tags::PRESENTATION_LUT_SHAPE).as_deref() == Some("INVERSE");
        let signed = lowest < 0;
        let of_values = groups(root, tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE);
        let rescale = |tag| of_values.iter().find_map(|group| real(group, tag));
        let mut slope = rescale(tags::RESCALE_SLOPE).unwrap_or(1.0);
        let intercept = rescale(tags::RESCALE_INTERCEPT).unwrap_or(0.0);
        if slope == 0.0 {
            notes.push("its rescale slope is zero and was ignored".into());
            slope = 1.0;
        }
        let mut table_of = |sequence, signed, what: &str| {
            let item = root.items(sequence).first()?;
            let table = Lut::read(item, signed);
            if table.is_none() {
                notes.push(format!("its {what} is unusable and was ignored"));
            }
            table
        };
        let modality = table_of(tags::MODALITY_LUT_SEQUENCE, signed, "Modality LUT");
        let rescaled_below_zero = modality.is_none() && (signed || intercept < 0.0 || slope < 0.0);
        let voi = table_of(tags::VOILUT_SEQUENCE, rescaled_below_zero, "VOI LUT");
        let window = if voi.is_none() { Window::read(root, notes) } else { None };

        let real_value = |stored: i32| match &modality {
            Some(table) => table.at(stored.into()),
            None => f64::from(stored) * slope + intercept,
        };
        let every = |share: &dyn Fn(i32) -> f64| {
            let values = (0..1i32 << bits).map(|index| index + lowest);
            Some(values.map(|stored| (share(stored).clamp(0.0, 1.0) * 255.0).round() as u8).collect())
        };
        let table = match (&voi, &window, &modality) {
            (Some(table), _, _) => every(&|stored| table.at(real_value(stored)) / table.most),
            (None, Some(window), _) => every(&|stored| window.share(real_value(stored))),
            (None, None, Some(table)) => every(&|stored| real_value(stored) / table.most),
            (None, None, None) => {
                // A scale leaves the picture unchanged, unless it turns dark into bright.
                inverted ^= slope < 0.0;
                let most = f64::from((1i32 << bits) - 1);
                if bits <= 8 && !signed { every(&|stored| f64::from(stored) / most) } else { None }
            }
        };
        Self { table, inverted }
    }
}

/// The places where an attribute may be: the file itself, the groups that its frames share, those of the first frame.
pub(super) fn groups(root: &Elements, sequence: Tag) -> Vec<&Elements> {
    let groups = [tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE];
    std::iter::once(root).chain(groups.iter().filter_map(|group| root.nested(*group, sequence))).collect()
}

enum Function {
    Linear,
    LinearExact,
    Sigmoid,
}

/// The first of the windows in a file.
struct Window {
    centre: f64,
    width: f64,
    function: Function,
}

impl Window {
    fn read(root: &Elements, notes: &mut Vec<String>) -> Option<Self> {
        let groups = groups(root, tags::FRAME_VOILUT_SEQUENCE);
        let group = groups.iter().find(|group| group.get(tags::WINDOW_WIDTH).is_some())?;
        let function = match text(group, tags::VOILUT_FUNCTION).as_deref() {
            Some("LINEAR_EXACT") => Function::LinearExact,
            Some("SIGMOID") => Function::Sigmoid,
            _ => Function::Linear,
        };
        let least = if matches!(function, Function::Linear) { 1.0 } else { f64::MIN_POSITIVE };
        let window = real(group, tags::WINDOW_CENTER)
            .zip(real(group, tags::WINDOW_WIDTH))
            .filter(|(_, width)| *width >= least)
            .map(|(centre, width)| Self { centre, width, function });
        if window.is_none() && !group.get(tags::WINDOW_WIDTH).is_some_and(|width| width.bytes.is_empty()) {
            notes.push("its window is unusable and was ignored".into());
        }
        window
    }

    /// The displayed value, 0 black to 1 white (PS3.3, C.11.2.1.2 and C.11.2.1.3); values outside are cut off by the
    /// window.
    fn share(&self, value: f64) -> f64 {
        let Self { centre, width, .. } = *self;
        match self.function {
            Function::Linear if width > 1.0 => (value - (centre - 0.5)) / (width - 1.0) + 0.5,
            Function::Linear => f64::from(u8::from(value > centre - 0.5)),
            Function::LinearExact => (value - centre) / width + 0.5,
            Function::Sigmoid => 1.0 / (1.0 + (-4.0 * (value - centre) / width).exp()),
        }
    }
}
