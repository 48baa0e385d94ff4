//! Image files as cameras, converters and research tools write them, through `inspect` and `segment`: the description
//! of the file, and masks in the coordinates of the stored pixels. The same kinds are generated here, and read from
//! `../shared/cases/formats` where that folder exists.

use super::desk::Desk;
use super::{causalclipseg, text};
use causalclipseg::frame::{Orientation, PixelFormat};
use causalclipseg::io::source::{FrameBuffer, FrameSource, Source};
use image::{GrayImage, Luma};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

fn inspect(path: &Path) -> Value {
    let output = causalclipseg().arg("inspect").arg(path).args(["--format", "json"]).assert().success();
    serde_json::from_slice(&output.get_output().stdout).unwrap()
}

fn segment(desk: &Desk, input: &Path, formats: &str) -> assert_cmd::Command {
    let mut command = causalclipseg();
    command.arg("segment").arg(input).arg("-m").arg(desk.bundle()).arg("-o").arg(desk.path("out"));
    command.args(["-p", "a bright mass", "--format", formats]);
    command
}

/// A picture of 32 x 24 that is white at the upper left.
fn corner(x: u32, y: u32) -> u8 {
    if x < 20 && y < 8 { 255 } else { 0 }
}

/// An uncompressed little-endian TIFF file of grey pages with their orientations.
fn tiff(pages: &[(&GrayImage, u8)]) -> Vec<u8> {
    let mut file = b"II*\0\0\0\0\0".to_vec();
    let mut link = 4;
    for (page, orientation) in pages {
        let pixels_at = file.len() as u32;
        file.extend(page.as_raw());
        let at = file.len() as u32;
        file[link..link + 4].copy_from_slice(&at.to_le_bytes());
        let entries: [(u16, u16, u32); 9] = [
            (256, 4, page.width()),
            (257, 4, page.height()),
            (258, 3, 8),
            (259, 3, 1),
            (262, 3, 1),
            (273, 4, pixels_at),
            (274, 3, (*orientation).into()),
            (277, 3, 1),
            (279, 4, page.len() as u32),
        ];
        file.extend((entries.len() as u16).to_le_bytes());
        for (tag, kind, value) in entries {
            file.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
            file.extend([1u32.to_le_bytes(), value.to_le_bytes()].concat());
        }
        link = file.len();
        file.extend([0; 4]);
    }
    file
}

/// For each of the eight orientations, the mask, the box, the contours and the label map are in the coordinates of the
/// stored pixels; the file says how it was turned.
#[test]
fn masks_lie_on_the_stored_pixels_whatever_way_they_are_turned() {
    let desk = Desk::new();
    let upright = GrayImage::from_fn(32, 24, |x, y| Luma([corner(x, y)]));
    let upright = ndarray::Array2::from_shape_vec((24, 32), upright.into_raw()).unwrap();
    for orientation in Orientation::ALL {
        let stored = orientation.inverse().apply(upright.view()).as_standard_layout().into_owned();
        let (height, width) = stored.dim();
        let picture = GrayImage::from_raw(width as u32, height as u32, stored.iter().copied().collect()).unwrap();
        let input = desk.write("turned.tif", tiff(&[(&picture, orientation.to_exif())]));
        segment(&desk, &input, "mask,json,mha,overlay").assert().success();
        let mask = image::load_from_memory(&desk.result("turned_mask.png")).unwrap().into_luma8();
        assert_eq!(mask.dimensions(), picture.dimensions(), "{orientation:?}");
        let differing = mask.iter().zip(picture.iter()).filter(|(mask, pixel)| mask != pixel).count();
        // Resampling to the toy's 32 x 32 and back moves the border by a pixel at most.
        assert!(differing <= 28, "{orientation:?}: {differing} pixels differ");
        let json = desk.json("turned.json");
        let turned = (orientation != Orientation::Upright).then_some(orientation);
        assert_eq!(json.get("orientation").cloned(), turned.map(|turned| json!(turned)), "{orientation:?}");
        assert_eq!((&json["width"], &json["height"]), (&json!(width), &json!(height)));
        let label_map = desk.path("out/turned_mask.mha");
        let mut buffer = FrameBuffer::default();
        assert!(Source::open(&label_map).unwrap().read_frame(&mut buffer).unwrap());
        assert!(buffer.pixels().iter().zip(mask.iter()).all(|(label, mask)| (*label == 1) == (*mask == 255)));
        assert_eq!(inspect(&input)["orientation"], json!(orientation), "{orientation:?}");
    }
}

#[test]
fn pages_are_frames() {
    let desk = Desk::new();
    let page = |shade: u8| GrayImage::from_pixel(16, 16, Luma([shade]));
    let (white, black) = (page(255), page(0));
    let input = desk.write("clip.tif", tiff(&[(&white, 1), (&black, 1), (&white, 1)]));
    segment(&desk, &input, "mask,json").assert().success();
    let frames = desk.json("clip.json")["frames"].as_array().unwrap().len();
    assert_eq!((frames, desk.results().len()), (3, 4));
    assert_eq!(desk.json("clip.json")["frames"][1]["area_px"], 0);
    assert_eq!(inspect(&input)["frames"], 3);
    // A still image beside it is still one frame.
    let still = desk.write("still.tif", tiff(&[(&white, 1)]));
    segment(&desk, &still, "mask").assert().success();
    assert!(desk.results().contains("still_mask.png"));
}

/// The masks of a volume keep its position in space, in both formats.
#[test]
fn volumes_keep_their_geometry() {
    let desk = Desk::new();
    let header = "ObjectType = Image\nNDims = 3\nDimSize = 16 16 2\nElementType = MET_UCHAR\nElementSpacing = 0.3 0.2 1.5\n\
        TransformMatrix = 1 0 0 0 0 -1 0 1 0\nOffset = 1 2 3\nElementDataFile = LOCAL\n";
    let input = desk.write("volume.mha", [header.as_bytes(), &[255; 512]].concat());
    assert_eq!(inspect(&input)["slice_spacing_mm"], 1.5);
    segment(&desk, &input, "mha,nrrd").assert().success();
    let before = Source::open(&input).unwrap().geometry();
    for name in ["volume_mask.mha", "volume_mask.nrrd"] {
        let masks = Source::open(&desk.path("out").join(name)).unwrap();
        let after = masks.geometry();
        assert!(masks.is_volume(), "{name}");
        assert_eq!((after.directions, after.origin_mm), (before.directions, before.origin_mm), "{name}");
        for (a, b) in before.spacing_mm.iter().zip(after.spacing_mm) {
            assert!((a - b).abs() < 1e-12, "{name}: {:?}", after.spacing_mm);
        }
    }
}

#[test]
fn inspect_tells_people_what_was_understood() {
    let desk = Desk::new();
    let header = "NDims = 2\nDimSize = 16 16\nElementType = MET_USHORT\nElementSpacing = 0.5 0.25\n\
        UltrasoundImageOrientation = UN\nElementDataFile = LOCAL\n";
    let pixels: Vec<u8> = (0..256u16).flat_map(|sample| (sample * 16).to_le_bytes()).collect();
    let input = desk.write("deep.mha", [header.as_bytes(), &pixels].concat());
    let output = causalclipseg().arg("inspect").arg(&input).assert().success();
    let table = text(&output.get_output().stdout);
    for part in ["MetaImage", "16 x 16 pixels", "16-bit grey, 4095 is white", "0.5 x 0.25 mm", "upside down", "nothing"]
    {
        assert!(table.contains(part), "`{part}` is not in: {table}");
    }
    let json = inspect(&input);
    for key in ["format", "width", "frames", "pixels", "compression", "regions", "mm_per_pixel", "ignored"] {
        assert!(json.get(key).is_some(), "{key} is not in: {json}");
    }
    assert_eq!(json["orientation"], "mirrored_vertically");
    let mut cut = causalclipseg();
    let short = desk.write("short.mha", [header.as_bytes(), &pixels[..500]].concat());
    desk.refused(cut.arg("inspect").arg(short), &["short.mha", "announces 512 bytes and 500 are there"]);
    let mut surplus = causalclipseg();
    let long = desk.write("long.mha", [header.as_bytes(), &pixels, &[0; 100]].concat());
    desk.refused(surplus.arg("inspect").arg(long), &["long.mha", "contradicts the data"]);
    let mut gif = causalclipseg();
    let gif = gif.arg("segment").arg(desk.write("x.gif", b"GIF89a\x01\0\x01\0")).args(["-p", "a mass", "-o", "out"]);
    desk.refused(gif.current_dir(desk.folder()), &["x.gif: a GIF file, which is not read; split it"]);
}

fn cases() -> Option<PathBuf> {
    let folder = std::env::var_os("CAUSALCLIPSEG_CASES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/cases"), PathBuf::from)
        .join("formats");
    if !folder.is_dir() {
        println!("skipped: {} is not there; CAUSALCLIPSEG_CASES names the folder of the cases", folder.display());
        return None;
    }
    Some(folder)
}

/// Frames as 8-bit grey or RGB, and the first one's orientation.
fn frames(path: &Path) -> (Vec<Vec<u8>>, Orientation) {
    let (mut source, mut buffer) = (Source::open(path).unwrap(), FrameBuffer::default());
    let (mut frames, mut orientation) = (Vec::new(), None);
    while source.read_frame(&mut buffer).unwrap() {
        orientation.get_or_insert(buffer.orientation);
        let pixels = buffer.pixels();
        frames.push(match buffer.frame().unwrap().format() {
            PixelFormat::Gray16Le => pixels
                .as_chunks()
                .0
                .iter()
                .map(|pair| (f64::from(u16::from_le_bytes(*pair)) / 257.0).round() as u8)
                .collect(),
            _ => pixels.to_vec(),
        });
    }
    (frames, orientation.unwrap())
}

fn largest_difference(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

/// Small real and generated files of kinds that were read wrongly once. The phantom in them is the same: its pixels are
/// the last bytes of the plainest file.
#[test]
fn cases_that_were_read_wrongly() {
    let Some(folder) = cases() else { return };
    let path = |name: &str| folder.join(name);
    let plain = fs::read(path("cl.mha")).unwrap();
    let phantom = &plain[plain.len() - 160 * 120..];
    for (name, count) in [("cl.mha", 1), ("gz.mha", 1), ("sitk3d.mha", 3), ("x.nrrd", 3), ("g16_12bitvalues.tif", 1)] {
        let (found, orientation) = frames(&path(name));
        assert_eq!((found.len(), orientation), (count, Orientation::Upright), "{name}");
        for frame in &found {
            assert!(largest_difference(frame, phantom) <= 1, "{name}");
        }
    }
    let (found, orientation) = frames(&path("oUN.mha"));
    let upside_down: Vec<u8> = phantom.rchunks(160).flatten().copied().collect();
    assert_eq!((&found[0], orientation), (&upside_down, Orientation::MirroredVertically));
    let (found, orientation) = frames(&path("exif3.jpg"));
    assert_eq!((found[0].len(), orientation), (160 * 120 * 3, Orientation::Rotated180));
    let (found, _) = frames(&path("multipage3.tif"));
    assert!(found.len() == 3 && found[0] == phantom && found[1] != found[0] && found[2] != found[1]);
    // The palette is grey, from white to black.
    let (found, _) = frames(&path("palette.tif"));
    assert!(found[0].as_chunks::<3>().0.iter().all(|[r, g, b]| r == g && g == b) && found[0].len() == 160 * 120 * 3);
    assert!(frames(&path("bigtiff.tif")).0[0].len() == 160 * 120 * 3);
    let geometry = Source::open(&path("sitk3d.mha")).unwrap().geometry();
    assert_eq!(geometry.spacing_mm, [0.3, 0.2, 1.5]);
    assert_eq!(geometry, Source::open(&path("x.nrrd")).map(|source| source.geometry()).unwrap());
    let error =
        Source::open(&path("trunc.jpg")).unwrap().read_frame(&mut FrameBuffer::default()).unwrap_err().to_string();
    assert!(error.contains("its data end after 41 % of the picture"), "{error}");
}
