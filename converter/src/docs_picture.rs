//! Pictures in docs/images that tests draw, so that they show what the code does.

use image::GrayImage;

/// Levels by which a pixel may differ: another platform's mathematical functions round otherwise.
const TOLERANCE: u8 = 2;

/// Compares a drawing with `docs/images/NAME`; with UPDATE_PICTURES set, writes it.
pub fn compare(name: &str, drawn: &GrayImage) {
    let path = format!("{}/../docs/images/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_PICTURES").is_some() {
        drawn.save(&path).unwrap();
        return;
    }
    let kept = image::open(&path).unwrap().into_luma8();
    assert_eq!(kept.dimensions(), drawn.dimensions(), "{name}");
    let differ = kept.iter().zip(drawn.iter()).filter(|(kept, drawn)| kept.abs_diff(**drawn) > TOLERANCE).count();
    assert!(
        differ * 1000 <= kept.len(),
        "{name} differs from the drawing in {differ} of {} pixels; if that is meant, write it again with UPDATE_PICTURES=1",
        kept.len()
    );
}
