//! Simulates a scanner's conversion of echoes to grey: log compression and time-gain compensation.

use crate::data::Picture;
use crate::data::augment::to_byte;

/// The assumed dynamic range of stored images, in dB from black to white.
const STORED_RANGE_DB: f32 = 60.0;

/// Shows the picture with a dynamic range of `range_db` from black to white, brighter by `gain_db`. White stays white
/// without a gain: a narrow range loses the weak echoes first. Black stays black, as beside a scan.
pub fn change_range(picture: &mut Picture, range_db: f32, gain_db: f32) {
    let table: [u8; 256] = std::array::from_fn(|value| {
        let below_white_db = (value as f32 / 255.0 - 1.0) * STORED_RANGE_DB + gain_db;
        if value == 0 { 0 } else { to_byte(255.0 * (1.0 + below_white_db / range_db.max(1.0))) }
    });
    picture.pixels.iter_mut().for_each(|value| *value = table[usize::from(*value)]);
}

/// Adds decibels that depend on the depth: sliders from the first row to the last, evenly between. Black stays black.
pub fn change_time_gain(picture: &mut Picture, sliders_db: [f32; 6]) {
    let (width, height) = (picture.width, picture.height);
    for (row, line) in picture.pixels.chunks_exact_mut(width).enumerate() {
        let position = (row % height) as f32 / (height.max(2) - 1) as f32 * (sliders_db.len() - 1) as f32;
        let slider = (position as usize).min(sliders_db.len() - 2);
        let part = position - slider as f32;
        let db = sliders_db[slider] * (1.0 - part) + sliders_db[slider + 1] * part;
        let levels = db / STORED_RANGE_DB * 255.0;
        for value in line.iter_mut().filter(|value| **value > 0) {
            *value = to_byte(f32::from(*value) + levels);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::augment::tests::picture;
    use super::*;

    #[test]
    fn a_narrow_range_has_more_contrast_and_gain_is_in_decibels() {
        let original = picture(8, 0, 0, 2, 8);
        let changed = |range, gain| {
            let mut changed = original.clone();
            changed.pixels[63] = 0;
            change_range(&mut changed, range, gain);
            [changed.pixels[0], changed.pixels[7], changed.pixels[63]]
        };
        assert_eq!(changed(60.0, 0.0), [40, 100, 0]);
        // 40 of 255 is 9.4 of 60 dB above black, and 30 dB more than that are lost.
        assert_eq!(changed(30.0, 0.0), [0, 0, 0]);
        assert_eq!(changed(60.0, 6.0), [66, 126, 0], "6 of 60 dB are 25.5 levels");
        let [lesion, tissue, _] = changed(90.0, 0.0);
        assert!(tissue - lesion < 60 && lesion > 40, "{lesion} {tissue}");
    }

    #[test]
    fn time_gain_follows_its_sliders() {
        let mut changed = picture(11, 0, 0, 0, 0);
        changed.pixels[120] = 0;
        change_time_gain(&mut changed, [0.0, 6.0, 0.0, 0.0, 0.0, -6.0]);
        let column: Vec<u8> = changed.pixels.iter().copied().step_by(11).collect();
        assert_eq!((column[0], column[2], column[4], column[10]), (100, 126, 100, 75));
        assert_eq!(column[1], 113, "halfway between two sliders");
        assert_eq!(changed.pixels[120], 0);
    }
}
