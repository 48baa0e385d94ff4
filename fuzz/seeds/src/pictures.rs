//! Pictures written by the `image` crate, and hand-written TIFF files: pages, a palette, 64-bit offsets.

use super::{Files, HEIGHT, WIDTH};
use image::{DynamicImage, ImageFormat};
use std::io::Cursor;

fn images() -> [(&'static str, DynamicImage); 3] {
    let (width, height) = (u32::from(WIDTH), u32::from(HEIGHT));
    [
        ("grey", DynamicImage::new_luma8(width, height)),
        ("deep", DynamicImage::new_luma16(width, height)),
        ("rgb", DynamicImage::new_rgb8(width, height)),
    ]
}

pub fn pictures() -> Files {
    let mut files = Vec::new();
    for (name, picture) in images() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Bmp, ImageFormat::Tiff] {
            let mut bytes = Cursor::new(Vec::new());
            // BMP and JPEG have no 16-bit grey.
            if picture.write_to(&mut bytes, format).is_ok() {
                files.push((format!("{name}.{}", format.extensions_str()[0]), bytes.into_inner()));
            }
        }
    }
    Ok(files)
}

pub fn tiff() -> Files {
    let mut files = vec![("pages".to_string(), pages(false)), ("big".to_string(), pages(true))];
    for (name, picture) in images() {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, ImageFormat::Tiff)?;
        files.push((name.to_string(), bytes.into_inner()));
    }
    Ok(files)
}

/// A grey page and one with a palette, little-endian.
fn pages(big: bool) -> Vec<u8> {
    let width = if big { 8 } else { 4 };
    let number = |value: u64, bytes: usize| value.to_le_bytes()[..bytes].to_vec();
    let mut file = if big { [b"II+\0\x08\0\0\0", &[0; 8][..]].concat() } else { b"II*\0\0\0\0\0".to_vec() };
    let mut link = file.len() - width;
    for photometric in [1u64, 3] {
        let pixels_at = file.len() as u64;
        file.extend((0..WIDTH * HEIGHT).map(|at| at as u8));
        let palette_at = file.len() as u64;
        file.extend([0x40; 2 * 3 * 256]);
        let mut entries = vec![
            (256, 3, 1, u64::from(WIDTH)),
            (257, 3, 1, u64::from(HEIGHT)),
            (258, 3, 1, 8),
            (259, 3, 1, 1),
            (262, 3, 1, photometric),
            (273, 4, 1, pixels_at),
            (274, 3, 1, 6),
            (277, 3, 1, 1),
            (279, 4, 1, u64::from(WIDTH * HEIGHT)),
        ];
        if photometric == 3 {
            entries.push((320, 3, 768, palette_at));
        }
        let at = number(file.len() as u64, width);
        file[link..link + width].copy_from_slice(&at);
        file.extend(number(entries.len() as u64, if big { 8 } else { 2 }));
        for (tag, kind, count, value) in entries {
            file.extend([number(tag, 2), number(kind, 2), number(count, width), number(value, width)].concat());
        }
        link = file.len();
        file.extend(vec![0; width]);
    }
    file
}
