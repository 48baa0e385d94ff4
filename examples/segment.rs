//! A first program: `cargo run --example segment -- models/tiny.ccs scan.png "a dark mass in the upper left"`.

use causalclipseg::io::{Image, write_mask};
use causalclipseg::{Model, ModelOptions, Session, SessionOptions};
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bundle, picture, prompt] = arguments.as_slice() else {
        return Err("give a bundle, a picture and a prompt".into());
    };
    // Once: open the model and encode the prompt.
    let model = Model::open(Path::new(bundle), ModelOptions::default())?;
    let prompt = model.prompt(prompt)?;
    let mut session = Session::new(&model, SessionOptions::default())?;

    // For every frame: one call.
    let image = Image::open(picture)?;
    let report = session.run(&image.frame(), &[prompt])?;
    for lesion in &report.findings {
        println!("{} pixels in {:.1} ms", lesion.measurements().area_px, report.seconds.total() * 1e3);
        if let Some(quality) = lesion.quality() {
            println!("score {:.2}, doubts {:?}", quality.score, quality.flags);
        }
        write_mask(Path::new("mask.png"), lesion.mask())?;
    }
    Ok(())
}
