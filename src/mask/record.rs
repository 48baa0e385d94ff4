//! The output for programs: one JSON object for each input and prompt.

use super::{Contour, Measurements, Quality};
use crate::frame::{Orientation, Region};
use serde::{Deserialize, Serialize};

/// One input under one prompt. Unknown values are `null`. Coordinates are pixels of the input, from its upper left corner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The input as the caller named it.
    pub input: String,
    /// The text of the prompt.
    pub prompt: String,
    /// `area_px`, `area_fraction`, `area_mm2`, `bbox`, `mean_probability`, `centroid` and the two diameters.
    #[serde(flatten)]
    pub measurements: Measurements,
    /// The mask's boundaries.
    pub contours: Vec<Contour>,
    /// The contours' corners in millimetres from the upper left corner, `[x, y]`, in the contours' order; `null` where the
    /// pixels' size is unknown.
    #[serde(default)]
    pub contours_mm: Option<Vec<Vec<[f64; 2]>>>,
    /// How reliable the result is.
    #[serde(default)]
    pub quality: Option<Quality>,
    /// The number of the frame in a sequence, from 1; absent where the input is a single picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<usize>,
    /// When the frame was taken, by its source's clock; absent where the source does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_s: Option<f64>,
    /// The width of the input, in pixels.
    pub width: usize,
    /// The height of the input, in pixels.
    pub height: usize,
    /// The part of the input that the network saw.
    pub region: Region,
    /// The size of a pixel in millimetres, `[x, y]`.
    pub mm_per_pixel: Option<[f32; 2]>,
    /// How the input's pixels were turned to be upright for the network; absent where they are stored upright. All
    /// coordinates, and masks, refer to the pixels as they are stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orientation: Option<Orientation>,
    /// A pixel is lesion where its probability is above this.
    pub threshold: f32,
    /// The model's name.
    pub model: Option<String>,
    /// The time from pixels to mask, without reading and writing files.
    pub seconds: Option<f64>,
    /// The device that ran the network: cpu or gpu.
    #[serde(default)]
    pub device: Option<String>,
    /// Why the model fell back to the CPU although a GPU was requested; absent where it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_fallback: Option<String>,
    /// The contents of the input that are not used, such as a second scan region; absent where there are none, and in
    /// the frames of a sequence, which has them once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored: Vec<String>,
}

/// A sequence under one prompt: the content of its JSON file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SequenceRecord {
    /// The input as the caller named it.
    pub input: String,
    /// The text of the prompt.
    pub prompt: String,
    /// As [`Record::ignored`], for the complete input.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored: Vec<String>,
    /// The frames, in the sequence's order.
    pub frames: Vec<Record>,
}

/// The corners in millimetres, where a pixel's size `[x, y]` is known.
pub fn contours_in_mm(contours: &[Contour], mm_per_pixel: Option<[f32; 2]>) -> Option<Vec<Vec<[f64; 2]>>> {
    let [unit_x, unit_y] = mm_per_pixel?.map(f64::from);
    let corners = |contour: &Contour| {
        contour.points.iter().map(|[x, y]| [f64::from(*x) * unit_x, f64::from(*y) * unit_y]).collect()
    };
    Some(contours.iter().map(corners).collect())
}

#[cfg(test)]
mod tests {
    use super::super::Mask;
    use super::*;
    use ndarray::array;

    #[test]
    fn keys_are_the_contract() {
        let mask = Mask::from_pixels(array![[0, 1]]);
        let contours = mask.contours();
        let record = Record {
            input: "scan.png".into(),
            prompt: "a mass".into(),
            measurements: Measurements::of(&mask, &contours, None, None).unwrap(),
            contours_mm: contours_in_mm(&contours, Some([0.5, 0.25])),
            contours,
            quality: None,
            frame: None,
            timestamp_s: None,
            width: 2,
            height: 1,
            region: Region::whole(2, 1),
            mm_per_pixel: None,
            orientation: None,
            threshold: 0.5,
            model: None,
            seconds: Some(0.25),
            device: Some("cpu".into()),
            device_fallback: None,
            ignored: vec!["the fourth channel".into()],
        };
        let json = serde_json::to_value(&record).unwrap();
        let expected = serde_json::json!({
            "input": "scan.png", "prompt": "a mass", "area_px": 1, "area_fraction": 0.5, "area_mm2": null,
            "bbox": [1, 0, 1, 1], "mean_probability": null, "seconds": 0.25, "device": "cpu",
            "ignored": ["the fourth channel"],
            "contours": [{"hole": false, "points": [[1, 0], [2, 0], [2, 1], [1, 1]]}],
            "contours_mm": [[[0.5, 0.0], [1.0, 0.0], [1.0, 0.25], [0.5, 0.25]]],
        });
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(json.get(key), Some(value), "{key}");
        }
        assert_eq!(serde_json::from_value::<Record>(json).unwrap(), record);
    }
}
