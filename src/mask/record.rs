//! What is written for programs to read: one JSON object for each input and prompt.

use super::{Contour, Measurements};
use crate::frame::Region;
use serde::{Deserialize, Serialize};

/// One input under one prompt. What is unknown is `null`. Coordinates are pixels of the input, from its upper left corner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The input as the caller named it.
    pub input: String,
    pub prompt: String,
    /// `area_px`, `area_fraction`, `area_mm2`, `bbox`, `mean_probability`, `centroid` and the two diameters.
    #[serde(flatten)]
    pub measurements: Measurements,
    pub contours: Vec<Contour>,
    /// Of the input, in pixels.
    pub width: usize,
    /// Of the input, in pixels.
    pub height: usize,
    /// What the network saw of it.
    pub region: Region,
    /// `[x, y]`.
    pub mm_per_pixel: Option<[f32; 2]>,
    /// A pixel is lesion where its probability is above this.
    pub threshold: f32,
    pub model: Option<String>,
    /// From pixels to mask, reading and writing files left out.
    pub seconds: Option<f64>,
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
            contours,
            width: 2,
            height: 1,
            region: Region::whole(2, 1),
            mm_per_pixel: None,
            threshold: 0.5,
            model: None,
            seconds: Some(0.25),
        };
        let json = serde_json::to_value(&record).unwrap();
        let expected = serde_json::json!({
            "input": "scan.png", "prompt": "a mass", "area_px": 1, "area_fraction": 0.5, "area_mm2": null,
            "bbox": [1, 0, 1, 1], "mean_probability": null, "seconds": 0.25,
            "contours": [{"hole": false, "points": [[1, 0], [2, 0], [2, 1], [1, 1]]}],
        });
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(json.get(key), Some(value), "{key}");
        }
        assert_eq!(serde_json::from_value::<Record>(json).unwrap(), record);
    }
}
