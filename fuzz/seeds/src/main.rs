//! Writes the seed files of the fuzz targets: one of each kind that the readers know, a few pixels large, synthetic.
//!
//! Usage: `causalclipseg-seeds FOLDER`; files go to FOLDER/dicom, FOLDER/meta_image and so on, by target.

mod arrays;
mod bundle;
mod peer;
mod pictures;

use flate2::Compression;
use flate2::write::{DeflateEncoder, ZlibEncoder};
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use std::io::Write;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args_os().nth(1).ok_or("give a folder")?;
    let all = [
        ("dicom", dicom()?),
        ("dicom_frame", frames()?),
        ("meta_image", meta_image()?),
        ("nrrd", arrays::nrrd()?),
        ("nifti", arrays::nifti()?),
        ("tiff", pictures::tiff()?),
        ("picture", pictures::pictures()?),
        ("openigtlink", openigtlink()?),
        ("dicom_peer", peer::dicom_peer()),
        ("bundle", bundle::bundles()),
    ];
    for (kind, files) in all {
        let folder = Path::new(&folder).join(kind);
        std::fs::create_dir_all(&folder)?;
        for (name, bytes) in files {
            std::fs::write(folder.join(name), bytes)?;
        }
    }
    Ok(())
}

type Files = Result<Vec<(String, Vec<u8>)>, Box<dyn std::error::Error>>;

const IMPLICIT: &str = "1.2.840.10008.1.2";
const EXPLICIT: &str = "1.2.840.10008.1.2.1";
const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
const JPEG: &str = "1.2.840.10008.1.2.4.50";
const RLE: &str = "1.2.840.10008.1.2.5";
const UNDEFINED: u32 = u32::MAX;

/// Writes attributes in one of the three encodings.
struct Attributes<'a> {
    syntax: &'a str,
    bytes: Vec<u8>,
}

impl Attributes<'_> {
    fn short(&mut self, value: u16) {
        let big = self.syntax == BIG_ENDIAN;
        self.bytes.extend(if big { value.to_be_bytes() } else { value.to_le_bytes() });
    }

    fn long(&mut self, value: u32) {
        let big = self.syntax == BIG_ENDIAN;
        self.bytes.extend(if big { value.to_be_bytes() } else { value.to_le_bytes() });
    }

    fn head(&mut self, tag: u32, vr: &str, length: u32) {
        self.short((tag >> 16) as u16);
        self.short(tag as u16);
        if self.syntax == IMPLICIT {
            return self.long(length);
        }
        self.bytes.extend(vr.as_bytes());
        if ["OB", "OW", "SQ", "UN"].contains(&vr) {
            self.short(0);
            self.long(length);
        } else {
            self.short(length as u16);
        }
    }

    fn text(&mut self, tag: u32, vr: &str, text: &str) {
        let mut value = text.as_bytes().to_vec();
        if value.len() % 2 == 1 {
            value.push(if vr == "UI" { 0 } else { b' ' });
        }
        self.head(tag, vr, value.len() as u32);
        self.bytes.extend(value);
    }

    fn numbers(&mut self, tag: u32, vr: &str, values: &[u16]) {
        self.head(tag, vr, 2 * values.len() as u32);
        values.iter().for_each(|value| self.short(*value));
    }

    fn item(&mut self, tag: u32, length: u32) {
        self.short((tag >> 16) as u16);
        self.short(tag as u16);
        self.long(length);
    }

    /// Writes the Sequence of Ultrasound Regions with one region of tissue, in centimetres.
    fn regions(&mut self, width: u32, height: u32) {
        self.head(0x0018_6011, "SQ", UNDEFINED);
        self.item(0xfffe_e000, UNDEFINED);
        self.numbers(0x0018_6012, "US", &[1]);
        self.numbers(0x0018_6014, "US", &[1]);
        for (tag, value) in [(0x0018_6018, 0), (0x0018_601a, 0), (0x0018_601c, width - 1), (0x0018_601e, height - 1)] {
            self.head(tag, "UL", 4);
            self.long(value);
        }
        self.numbers(0x0018_6024, "US", &[3]);
        self.numbers(0x0018_6026, "US", &[3]);
        for tag in [0x0018_602c, 0x0018_602e] {
            self.head(tag, "FD", 8);
            let big = self.syntax == BIG_ENDIAN;
            self.bytes.extend(if big { 0.01f64.to_be_bytes() } else { 0.01f64.to_le_bytes() });
        }
        self.item(0xfffe_e00d, 0);
        self.item(0xfffe_e0dd, 0);
    }
}

impl Attributes<'_> {
    /// Writes a window, a table of grey for the first two numbers, and a private sequence within UN that contains
    /// implicit elements. They follow the size of pixels.
    fn unusual(&mut self) {
        self.text(0x0028_1050, "DS", "100");
        self.text(0x0028_1051, "DS", "50");
        self.text(0x0028_1052, "DS", "-5");
        self.text(0x0028_1053, "DS", "1.5");
        self.head(0x0028_3010, "SQ", UNDEFINED);
        self.item(0xfffe_e000, UNDEFINED);
        self.numbers(0x0028_3002, "US", &[2, 0, 8]);
        self.numbers(0x0028_3006, "US", &[0, 255]);
        self.item(0xfffe_e00d, 0);
        self.item(0xfffe_e0dd, 0);
        self.text(0x0029_0010, "LO", "NOBODY");
        self.head(0x0029_1000, "UN", UNDEFINED);
        self.item(0xfffe_e000, UNDEFINED);
        let mut inside = Attributes { syntax: IMPLICIT, bytes: Vec::new() };
        inside.text(0x0029_1001, "LO", "inside");
        self.bytes.extend(inside.bytes);
        self.item(0xfffe_e00d, 0);
        self.item(0xfffe_e0dd, 0);
        self.text(0x2050_0020, "CS", "INVERSE");
    }
}

enum Pixels {
    Native(Vec<u8>),
    Encapsulated(Vec<Vec<u8>>),
}

struct Picture {
    photometric: &'static str,
    samples: u16,
    bits: u16,
    frames: u16,
    /// Adds what few files have: tables of grey, text with code extensions, private sequences of unknown VR.
    is_unusual: bool,
    pixels: Pixels,
}

const WIDTH: u16 = 6;
const HEIGHT: u16 = 4;

fn file(syntax: &str, picture: Picture) -> Result<Vec<u8>, std::io::Error> {
    let mut meta = Attributes { syntax: EXPLICIT, bytes: Vec::new() };
    meta.text(0x0002_0002, "UI", "1.2.840.10008.5.1.4.1.1.3.1");
    meta.text(0x0002_0003, "UI", "1.2.3.4");
    meta.text(0x0002_0010, "UI", syntax);
    let mut all = Attributes { syntax: EXPLICIT, bytes: [vec![0; 128], b"DICM".to_vec()].concat() };
    all.head(0x0002_0000, "UL", 4);
    all.long(meta.bytes.len() as u32);
    all.bytes.extend(meta.bytes);

    let form = if [IMPLICIT, BIG_ENDIAN].contains(&syntax) { syntax } else { EXPLICIT };
    let mut body = Attributes { syntax: form, bytes: Vec::new() };
    if picture.is_unusual {
        body.text(0x0008_0005, "CS", "\\ISO 2022 IR 87");
    }
    body.text(0x0008_0016, "UI", "1.2.840.10008.5.1.4.1.1.3.1");
    body.text(0x0008_0018, "UI", "1.2.3.4");
    body.text(0x0010_0010, "PN", "NOBODY");
    body.text(0x0018_1063, "DS", "40");
    body.regions(u32::from(WIDTH), u32::from(HEIGHT));
    body.text(0x0020_000d, "UI", "1.2.3.1");
    body.numbers(0x0028_0002, "US", &[picture.samples]);
    body.text(0x0028_0004, "CS", picture.photometric);
    if picture.samples > 1 {
        body.numbers(0x0028_0006, "US", &[0]);
    }
    body.text(0x0028_0008, "IS", &picture.frames.to_string());
    let allocated = picture.bits.next_multiple_of(8);
    for (tag, value) in [
        (0x0028_0010, HEIGHT),
        (0x0028_0011, WIDTH),
        (0x0028_0100, allocated),
        (0x0028_0101, picture.bits),
        (0x0028_0102, picture.bits - 1),
        (0x0028_0103, 0),
    ] {
        body.numbers(tag, "US", &[value]);
    }
    if picture.photometric == "PALETTE COLOR" {
        for colour in 1..=3 {
            body.numbers(0x0028_1100 + colour, "US", &[4, 0, 16]);
        }
        for colour in 1..=3 {
            if picture.is_unusual {
                // In segments: two numbers one by one, then a line of two more.
                body.numbers(0x0028_1220 + colour, "OW", &[0, 2, 0, 0x4000, 1, 2, 0xff00]);
            } else {
                body.numbers(0x0028_1200 + colour, "OW", &[0, 0x4000, 0x8000, 0xff00]);
            }
        }
    } else if picture.is_unusual {
        body.unusual();
    }
    match picture.pixels {
        Pixels::Native(bytes) => {
            body.head(0x7fe0_0010, if allocated == 16 { "OW" } else { "OB" }, bytes.len() as u32);
            body.bytes.extend(bytes);
        }
        Pixels::Encapsulated(fragments) => {
            body.head(0x7fe0_0010, "OB", UNDEFINED);
            body.item(0xfffe_e000, 0);
            for mut fragment in fragments {
                fragment.resize(fragment.len().next_multiple_of(2), 0);
                body.item(0xfffe_e000, fragment.len() as u32);
                body.bytes.extend(fragment);
            }
            body.item(0xfffe_e0dd, 0);
        }
    }
    if syntax == DEFLATED {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&body.bytes)?;
        body.bytes = encoder.finish()?;
    }
    all.bytes.extend(body.bytes);
    Ok(all.bytes)
}

fn jpeg(colour: ExtendedColorType, samples: usize) -> Result<Vec<u8>, image::ImageError> {
    let mut bytes = Vec::new();
    let pixels: Vec<u8> = (0..usize::from(WIDTH * HEIGHT) * samples).map(|at| (at * 7) as u8).collect();
    JpegEncoder::new(&mut bytes).encode(&pixels, u32::from(WIDTH), u32::from(HEIGHT), colour)?;
    Ok(bytes)
}

/// A frame of byte planes, each of literal runs and one repeated byte.
fn rle(planes: u32) -> Vec<u8> {
    let area = usize::from(WIDTH * HEIGHT);
    let literal = area / 2;
    let plane = |seed: u8| {
        let mut packed = vec![literal as u8 - 1];
        packed.extend((0..literal).map(|at| at as u8 ^ seed));
        packed.extend([(257 - (area - literal)) as u8, seed]);
        packed.resize(packed.len().next_multiple_of(2), 128);
        packed
    };
    let planes: Vec<Vec<u8>> = (0..planes).map(|seed| plane(seed as u8)).collect();
    let mut head = vec![planes.len() as u32];
    let mut at = 64;
    for plane in &planes {
        head.push(at);
        at += plane.len() as u32;
    }
    head.resize(16, 0);
    [head.iter().flat_map(|word| word.to_le_bytes()).collect(), planes.concat()].concat()
}

fn dicom() -> Files {
    let area = usize::from(WIDTH * HEIGHT);
    let ramp = |bytes: usize| Pixels::Native((0..bytes).map(|at| (at % 251) as u8).collect());
    let grey =
        |pixels| Picture { photometric: "MONOCHROME2", samples: 1, bits: 8, frames: 1, is_unusual: false, pixels };
    let colour = |photometric, pixels| Picture { photometric, samples: 3, ..grey(pixels) };
    let packed = |fragments: Vec<Vec<u8>>| Pixels::Encapsulated(fragments);
    let pictures = [
        ("grey", EXPLICIT, grey(ramp(area))),
        ("grey_implicit", IMPLICIT, grey(ramp(area))),
        ("grey_big_endian", BIG_ENDIAN, grey(ramp(area))),
        ("inverted", EXPLICIT, Picture { photometric: "MONOCHROME1", ..grey(ramp(area)) }),
        ("twelve_bits", EXPLICIT, Picture { bits: 12, ..grey(ramp(2 * area)) }),
        ("clip", EXPLICIT, Picture { frames: 3, ..grey(ramp(3 * area)) }),
        ("rgb", EXPLICIT, colour("RGB", ramp(3 * area))),
        ("ybr", EXPLICIT, colour("YBR_FULL", ramp(3 * area))),
        ("ybr_422", EXPLICIT, colour("YBR_FULL_422", ramp(2 * area))),
        ("palette", EXPLICIT, Picture { photometric: "PALETTE COLOR", ..grey(ramp(area)) }),
        ("segmented", EXPLICIT, Picture { photometric: "PALETTE COLOR", is_unusual: true, ..grey(ramp(area)) }),
        ("unusual", EXPLICIT, Picture { is_unusual: true, bits: 12, ..grey(ramp(2 * area)) }),
        ("unusual_implicit", IMPLICIT, Picture { is_unusual: true, ..grey(ramp(area)) }),
        ("deflated", DEFLATED, grey(ramp(area))),
        ("jpeg", JPEG, grey(packed(vec![jpeg(ExtendedColorType::L8, 1)?]))),
        (
            "jpeg_clip",
            JPEG,
            Picture { frames: 2, ..colour("YBR_FULL_422", packed(vec![jpeg(ExtendedColorType::Rgb8, 3)?; 2])) },
        ),
        ("rle", RLE, grey(packed(vec![rle(1)]))),
        ("rle_rgb", RLE, colour("RGB", packed(vec![rle(3)]))),
        ("rle_clip", RLE, Picture { frames: 2, bits: 16, ..grey(packed(vec![rle(2); 2])) }),
    ];
    let written = pictures.into_iter().map(|(name, syntax, picture)| Ok((name.to_string(), file(syntax, picture)?)));
    written.collect()
}

/// Compressed frames after two bytes that select the codec and the file's description (grey or colour; 10 x 6 pixels,
/// or 5 x 3 with the highest bit).
fn frames() -> Files {
    let jpeg = |colour, samples: usize| -> Result<Vec<u8>, image::ImageError> {
        let mut bytes = Vec::new();
        let pixels: Vec<u8> = (0..15 * samples).map(|at| (at * 7) as u8).collect();
        JpegEncoder::new(&mut bytes).encode(&pixels, 5, 3, colour)?;
        Ok(bytes)
    };
    let behind = |head: [u8; 2], frame: Vec<u8>| [head.to_vec(), frame].concat();
    // One plane of fifteen literals.
    let mut planes: Vec<u8> = [1u32, 64].into_iter().chain([0; 14]).flat_map(u32::to_le_bytes).collect();
    planes.extend([14].into_iter().chain(0..15));
    let mut files = vec![
        ("jpeg".into(), behind([0, 0x80], jpeg(ExtendedColorType::L8, 1)?)),
        ("jpeg_colour".into(), behind([0, 0x82], jpeg(ExtendedColorType::Rgb8, 3)?)),
        ("rle".into(), behind([4, 0x80], planes)),
    ];
    // No encoder is available for the other formats: the tests' pictures of 10 x 6 pixels.
    for entry in std::fs::read_dir(golden("codecs"))? {
        let path = entry?.path();
        let name = path.file_name().ok_or("a file without a name")?.to_string_lossy().into_owned();
        let syntax = match path.extension().and_then(|ending| ending.to_str()) {
            Some("ljpg") => 1,
            Some("jls") => 2,
            _ => 3,
        };
        let kind = match &name {
            name if name.starts_with("rgb") => 2,
            name if name.starts_with("grey1") => 1,
            _ => 0,
        };
        files.push((name, behind([syntax, kind], std::fs::read(path)?)));
    }
    Ok(files)
}

/// The reference files of the tests.
fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name)
}

fn meta_image() -> Files {
    let area = usize::from(WIDTH * HEIGHT);
    let frames = |bytes: usize| (0..bytes).map(|at| (at % 251) as u8).collect::<Vec<u8>>();
    let file = |element: &str, more: &str, frames: usize, pixels: Vec<u8>| {
        let dimensions = if frames == 1 { "2".into() } else { "3".to_string() };
        let depth = if frames == 1 { String::new() } else { format!(" {frames}") };
        let header = format!(
            "ObjectType = Image\nNDims = {dimensions}\nDimSize = {WIDTH} {HEIGHT}{depth}\nElementType = {element}\n\
             UltrasoundImageOrientation = MF\n{more}ElementDataFile = LOCAL\n"
        );
        [header.into_bytes(), pixels].concat()
    };
    let fields: String = (0..3)
        .map(|frame| {
            format!(
                "Seq_Frame{frame:04}_ProbeToTrackerTransform = 1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1\n\
                 Seq_Frame{frame:04}_Timestamp = {frame}.5\nSeq_Frame{frame:04}_ImageStatus = OK\n"
            )
        })
        .collect();
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(&frames(3 * area))?;
    let zlib = zlib.finish()?;
    let compressed = format!("CompressedData = True\nCompressedDataSize = {}\n{fields}", zlib.len());
    let colour = "ElementNumberOfChannels = 3\nElementSpacing = 0.1 0.2\n";
    let files = [
        ("still", file("MET_UCHAR", "", 1, frames(area))),
        ("deep", file("MET_USHORT", "BinaryDataByteOrderMSB = True\n", 1, frames(2 * area))),
        ("rgb", file("MET_UCHAR", colour, 1, frames(3 * area))),
        ("sequence", file("MET_UCHAR", &fields, 3, frames(3 * area))),
        ("zlib", file("MET_UCHAR", &compressed, 3, zlib)),
    ];
    Ok(files.into_iter().map(|(name, bytes)| (name.to_string(), bytes)).collect())
}

/// The reference messages of the tests, each after a byte that sets the size of the pieces.
fn openigtlink() -> Files {
    let listed = std::fs::read_to_string(golden("openigtlink.json"))?;
    let messages = listed.split("\"hex\": \"").skip(1).filter_map(|rest| rest.split('"').next());
    let file = |(number, hex): (usize, &str)| {
        let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2).unwrap_or_default(), 16);
        let bytes = (0..hex.len()).step_by(2).map(byte).collect::<Result<Vec<_>, _>>()?;
        Ok((format!("message{number}"), [vec![(number * 37) as u8], bytes].concat()))
    };
    messages.enumerate().map(file).collect()
}
