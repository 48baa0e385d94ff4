//! A first program: `cargo run --example segment -- models/tiny.ccs scan.png "a dark mass in the upper left"`.

use causalclipseg::io::{Image, write_mask};
use causalclipseg::mask::Measurements;
use causalclipseg::{Model, ModelOptions};
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bundle, picture, prompt] = arguments.as_slice() else {
        return Err("give a bundle, a picture and a prompt".into());
    };
    // Once: open the model and encode what to look for.
    let model = Model::open(Path::new(bundle), ModelOptions::default())?;
    let prompt = model.prompt(prompt)?;
    let mut session = model.session()?;

    // For every frame: one call.
    let image = Image::open(picture)?;
    let (found, seconds) = session.segment(&image.frame(), &[prompt])?;
    for lesion in found {
        let contours = lesion.mask.contours();
        let measured = Measurements::of(&lesion.mask, &contours, Some(&lesion.probability), None)?;
        println!("{} pixels in {:.1} ms", measured.area_px, seconds.total() * 1e3);
        write_mask(Path::new("mask.png"), &lesion.mask)?;
    }
    Ok(())
}
