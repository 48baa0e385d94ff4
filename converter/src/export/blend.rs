//! The upsampled convolution after its rewrite: tap products at low resolution, blended at full resolution.
//!
//! Five ways to express it in standard operators were timed (one thread, f32, 256 channels from 56 to 224 pixels; a
//! machine under load, so that only the ratios count; the last two lack the zero border, which they cannot express):
//!
//! | form | ONNX Runtime 1.32 | OpenVINO 2026.4 |
//! |---|---|---|
//! | two products with constant matrices (here) | 182 ms | 191 ms |
//! | the same, a product for each tap and a sum, without the transpose | 215 ms | 229 ms |
//! | Resize of rows, shifted sum, Resize of columns, shifted sum | 429 ms | 464 ms |
//! | grouped Conv to 4 x 4 phases, DepthToSpace | 157 ms | 188 ms |
//! | grouped ConvTranspose | 141 ms | 1,326 ms |

use super::proto::ints;
use super::writer::{GraphWriteError, OnnxWriter, Site};
use causalclipseg::graph::TAPS;
use causalclipseg::onnx::WeightPart;

/// The number of taps along one side of the kernel.
const SIDE: usize = 3;

/// The tap that reads the pixel below it, and so never reads outside the frame.
const CENTRE: usize = TAPS / 2;

impl OnnxWriter<'_> {
    /// Both blends are products with a constant matrix of the interpolation, the tap's shift and the zeros outside the
    /// frame; a side's three taps are along the inner dimension, so that the product sums them.
    pub(super) fn blend_taps(&mut self, site: &Site, scale: usize, bias: Option<&str>) -> Result<(), GraphWriteError> {
        let [products, height, width] = site.map(0)?;
        let channels = products / TAPS;
        let (tall, wide) = (height * scale, width * scale);
        let [c, side, h, w] = [channels, SIDE, height, width].map(|size| size as i64);

        let map = match bias {
            Some(bias) => self.add_at_centre(site, bias, channels)?,
            None => site.inputs[0].clone(),
        };
        let taps_shape = self.integers(site.part("taps_shape"), &[side, side, c, h, w]);
        let taps = self.step(site, "taps", "Reshape", &[&map, &taps_shape], vec![]);
        // From (ky, kx, channel, y, x) to (channel, ky, y, kx, x).
        let order = vec![ints("perm", &[2, 0, 3, 1, 4])];
        let taps = self.step(site, "taps_by_row", "Transpose", &[&taps], order);
        let rows_shape = self.integers(site.part("rows_shape"), &[c * side * h, side * w]);
        let rows = self.step(site, "rows", "Reshape", &[&taps, &rows_shape], vec![]);
        let across = self.floats(format!("blend_across_{width}_x{scale}"), &[SIDE * width, wide], || {
            let blend = blend_matrix(width, scale);
            (0..SIDE * width).flat_map(|from| blend.iter().map(move |to| to[from])).collect()
        });
        let rows = self.step(site, "blended_rows", "MatMul", &[&rows, &across], vec![]);

        let columns_shape = self.integers(site.part("columns_shape"), &[c, side * h, wide as i64]);
        let columns = self.step(site, "columns", "Reshape", &[&rows, &columns_shape], vec![]);
        let down = self.floats(format!("blend_down_{height}_x{scale}"), &[tall, SIDE * height], || {
            blend_matrix(height, scale).concat()
        });
        let map = self.step(site, "blended_columns", "MatMul", &[&down, &columns], vec![]);
        let map_shape = self.integers(site.part("map_shape"), &[1, c, tall as i64, wide as i64]);
        self.finish(site, "Reshape", &[&map, &map_shape], vec![]);
        Ok(())
    }

    /// A constant is unchanged by interpolation, so the bias can be added to the centre tap's product at low
    /// resolution, where engines fold it into the convolution that computed the products.
    fn add_at_centre(&mut self, site: &Site, bias: &str, channels: usize) -> Result<String, GraphWriteError> {
        let bias_values: Vec<f32> = self.values(site, bias)?.iter().copied().collect();
        let name = format!("{bias}.at_centre_tap");
        self.note(bias, WeightPart { skip: CENTRE * channels, ..WeightPart::rows(name.as_str(), 0, channels) });
        let placed = self.floats(name, &[1, TAPS * channels, 1, 1], || {
            let mut placed = vec![0.0; TAPS * channels];
            placed[CENTRE * channels..][..channels].copy_from_slice(&bias_values);
            placed
        });
        Ok(self.step(site, "biased", "Add", &[&site.inputs[0], &placed], vec![]))
    }
}

/// For each of `size * scale` outputs along one axis: the weight of each of `size` inputs of each of three taps (tap by
/// tap). Tap k reads the bilinearly upsampled line (align_corners = false) at the output's position + k - 1.
fn blend_matrix(size: usize, scale: usize) -> Vec<Vec<f32>> {
    let wide = size * scale;
    let blend_row = |output: usize| {
        let mut row = vec![0.0; SIDE * size];
        for tap in 0..SIDE {
            let Some(place) = (output + tap).checked_sub(1).filter(|place| *place < wide) else { continue };
            let position = ((place as f64 + 0.5) / scale as f64 - 0.5).clamp(0.0, (size - 1) as f64);
            let (near, share) = (position as usize, position.fract());
            row[tap * size + near] += (1.0 - share) as f32;
            row[tap * size + (near + 1).min(size - 1)] += share as f32;
        }
        row
    };
    (0..wide).map(blend_row).collect()
}
