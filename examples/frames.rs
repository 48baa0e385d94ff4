//! Writes the frames of an image file as the network receives them, before they are turned upright and resized:
//! `cargo run --example frames -- FILE FOLDER` writes `FOLDER/f0001.png` and so on, and prints the file's description
//! as JSON.

use causalclipseg::frame::PixelFormat;
use causalclipseg::io::source::{FrameBuffer, FrameSource, Source};
use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(file), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("give an image file and a folder".into());
    };
    std::fs::create_dir_all(&folder)?;
    let mut source = Source::open(&file)?;
    let mut buffer = FrameBuffer::default();
    let mut number = 0;
    while source.read_frame(&mut buffer)? {
        number += 1;
        let frame = buffer.frame()?;
        let (width, height) = (frame.width() as u32, frame.height() as u32);
        let (pixels, colour) = match frame.format() {
            PixelFormat::Gray8 => (buffer.pixels().to_vec(), image::ExtendedColorType::L8),
            PixelFormat::Gray16Le => {
                // The encoder takes the machine's byte order.
                let samples = buffer.pixels().as_chunks().0.iter().map(|pair| u16::from_le_bytes(*pair));
                (samples.flat_map(u16::to_ne_bytes).collect(), image::ExtendedColorType::L16)
            }
            PixelFormat::Rgb8 => (buffer.pixels().to_vec(), image::ExtendedColorType::Rgb8),
            PixelFormat::Bgra8 => return Err("no file is read as BGRA".into()),
        };
        image::save_buffer(folder.join(format!("f{number:04}.png")), &pixels, width, height, colour)?;
    }
    println!("{}", serde_json::to_string_pretty(&Source::open(&file)?.description()?)?);
    Ok(())
}
