//! Writes DICOM files byte by byte, well formed or malformed.

pub const IMPLICIT: &str = "1.2.840.10008.1.2";
pub const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
pub const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
pub const JPEG: &str = "1.2.840.10008.1.2.4.50";
pub const JPEG_LOSSLESS: &str = "1.2.840.10008.1.2.4.70";
pub const JPEG_LS: &str = "1.2.840.10008.1.2.4.80";
pub const JPEG_LS_NEAR: &str = "1.2.840.10008.1.2.4.81";
pub const JPEG_2000: &str = "1.2.840.10008.1.2.4.90";
pub const JPEG_2000_LOSSY: &str = "1.2.840.10008.1.2.4.91";
pub const RLE: &str = "1.2.840.10008.1.2.5";
pub const UNDEFINED: u32 = u32::MAX;

/// Encoding of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    pub explicit: bool,
    pub big_endian: bool,
    /// UN instead of every VR.
    pub unknown: bool,
}

pub const PLAIN: Form = Form { explicit: true, big_endian: false, unknown: false };

#[derive(Clone)]
pub struct Writer {
    pub form: Form,
    pub bytes: Vec<u8>,
}

impl Writer {
    pub fn new(form: Form) -> Self {
        Self { form, bytes: Vec::new() }
    }

    fn short(&mut self, value: u16) {
        let big = self.form.big_endian;
        self.bytes.extend(if big { value.to_be_bytes() } else { value.to_le_bytes() });
    }

    fn long(&mut self, value: u32) {
        let big = self.form.big_endian;
        self.bytes.extend(if big { value.to_be_bytes() } else { value.to_le_bytes() });
    }

    pub fn head(&mut self, tag: u32, vr: &str, length: u32) -> &mut Self {
        self.short((tag >> 16) as u16);
        self.short(tag as u16);
        let vr = if self.form.unknown { "UN" } else { vr };
        if !self.form.explicit || tag >> 16 == 0xfffe {
            self.long(length);
        } else {
            self.bytes.extend(vr.as_bytes());
            if ["OB", "OW", "SQ", "UN", "UT"].contains(&vr) {
                self.short(0);
                self.long(length);
            } else {
                self.short(length as u16);
            }
        }
        self
    }

    pub fn raw(&mut self, tag: u32, vr: &str, value: &[u8]) -> &mut Self {
        self.head(tag, vr, value.len() as u32);
        self.bytes.extend(value);
        self
    }

    pub fn text(&mut self, tag: u32, vr: &str, text: &str) -> &mut Self {
        let mut value = text.as_bytes().to_vec();
        if value.len() % 2 == 1 {
            value.push(if vr == "UI" { 0 } else { b' ' });
        }
        self.raw(tag, vr, &value)
    }

    pub fn us(&mut self, tag: u32, values: &[u16]) -> &mut Self {
        self.words(tag, "US", values)
    }

    pub fn words(&mut self, tag: u32, vr: &str, values: &[u16]) -> &mut Self {
        self.head(tag, vr, 2 * values.len() as u32);
        values.iter().for_each(|value| self.short(*value));
        self
    }

    pub fn ul(&mut self, tag: u32, value: u32) -> &mut Self {
        self.head(tag, "UL", 4).long(value);
        self
    }

    pub fn fd(&mut self, tag: u32, value: f64) -> &mut Self {
        let big = self.form.big_endian;
        self.head(tag, "FD", 8).bytes.extend(if big { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }

    pub fn item(&mut self, length: u32) -> &mut Self {
        self.head(0xfffe_e000, "", length)
    }

    pub fn item_end(&mut self) -> &mut Self {
        self.head(0xfffe_e00d, "", 0)
    }

    pub fn sequence_end(&mut self) -> &mut Self {
        self.head(0xfffe_e0dd, "", 0)
    }

    /// Ends a chain of calls in closures that return nothing.
    pub fn end(&mut self) {}

    /// A sequence of items, all of defined length.
    pub fn sequence(&mut self, tag: u32, items: &[Vec<u8>]) -> &mut Self {
        let length = items.iter().map(|item| 8 + item.len()).sum::<usize>();
        self.head(tag, "SQ", length as u32);
        for item in items {
            self.item(item.len() as u32).bytes.extend(item);
        }
        self
    }
}

/// The file's description of its pixels. Elements are sorted by their tags.
#[derive(Clone)]
pub struct Picture {
    pub form: Form,
    pub photometric: &'static str,
    pub samples: u16,
    pub size: [u16; 2],
    pub frames: Option<&'static str>,
    pub bits: [u16; 3],
    pub signed: u16,
    pub planar: u16,
    pub sop_class: &'static str,
    /// Elements of the groups up to 0x0020, between 0x0028 and the pixels, in this form.
    pub before: Vec<u8>,
    pub after: Vec<u8>,
}

pub fn grey(width: u16, height: u16) -> Picture {
    Picture {
        form: PLAIN,
        photometric: "MONOCHROME2",
        samples: 1,
        size: [width, height],
        frames: None,
        bits: [8, 8, 7],
        signed: 0,
        planar: 0,
        sop_class: "1.2.840.10008.5.1.4.1.1.6.1",
        before: Vec::new(),
        after: Vec::new(),
    }
}

pub fn colour(photometric: &'static str, width: u16, height: u16) -> Picture {
    Picture { photometric, samples: 3, ..grey(width, height) }
}

impl Picture {
    /// All attributes before Pixel Data.
    pub fn attributes(&self) -> Writer {
        let mut w = Writer::new(self.form);
        w.text(0x0008_0016, "UI", self.sop_class).text(0x0008_0018, "UI", "1.2.3.4");
        w.bytes.extend(&self.before);
        w.text(0x0020_000d, "UI", "1.2.3.1").text(0x0020_000e, "UI", "1.2.3.2");
        w.us(0x0028_0002, &[self.samples]).text(0x0028_0004, "CS", self.photometric);
        if self.samples > 1 {
            w.us(0x0028_0006, &[self.planar]);
        }
        if let Some(frames) = self.frames {
            w.text(0x0028_0008, "IS", frames);
        }
        let [width, height] = self.size;
        w.us(0x0028_0010, &[height]).us(0x0028_0011, &[width]);
        for (tag, bits) in [0x0028_0100, 0x0028_0101, 0x0028_0102].into_iter().zip(self.bits) {
            w.us(tag, &[bits]);
        }
        w.us(0x0028_0103, &[self.signed]);
        w.bytes.extend(&self.after);
        w
    }

    /// A file of `syntax` with these bytes as Pixel Data.
    pub fn native_as(&self, syntax: &str, pixels: &[u8]) -> Vec<u8> {
        let mut w = self.attributes();
        w.raw(0x7fe0_0010, if self.bits[0] == 16 { "OW" } else { "OB" }, pixels);
        file(syntax, &w.bytes)
    }

    pub fn native(&self, pixels: &[u8]) -> Vec<u8> {
        self.native_as(EXPLICIT, pixels)
    }

    pub fn native_words(&self, pixels: &[u16]) -> Vec<u8> {
        self.native(&pixels.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
    }

    /// A file without the delimiter at the end.
    pub fn encapsulated_open(&self, syntax: &str, table: &[u32], fragments: &[&[u8]]) -> Vec<u8> {
        let mut w = self.attributes();
        w.head(0x7fe0_0010, "OB", UNDEFINED).item(4 * table.len() as u32);
        table.iter().for_each(|offset| w.bytes.extend(offset.to_le_bytes()));
        for fragment in fragments {
            w.item(fragment.len().next_multiple_of(2) as u32).bytes.extend(*fragment);
            if fragment.len() % 2 == 1 {
                w.bytes.push(0);
            }
        }
        file(syntax, &w.bytes)
    }

    pub fn encapsulated(&self, syntax: &str, table: &[u32], fragments: &[&[u8]]) -> Vec<u8> {
        let mut bytes = self.encapsulated_open(syntax, table, fragments);
        bytes.extend([0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0]);
        bytes
    }
}

/// The preamble and the file's own attributes before `dataset`.
pub fn file(syntax: &str, dataset: &[u8]) -> Vec<u8> {
    [vec![0; 128], b"DICM".to_vec(), meta(syntax), dataset.to_vec()].concat()
}

pub fn meta(syntax: &str) -> Vec<u8> {
    let mut w = Writer::new(PLAIN);
    w.text(0x0002_0002, "UI", "1.2.840.10008.5.1.4.1.1.6.1").text(0x0002_0003, "UI", "1.2.3.4").text(
        0x0002_0010,
        "UI",
        syntax,
    );
    let mut all = Writer::new(PLAIN);
    all.ul(0x0002_0000, w.bytes.len() as u32).bytes.extend(&w.bytes);
    all.bytes
}

/// The elements of one region of tissue: corners, and millimetres a pixel.
pub fn region(form: Form, [x0, y0, x1, y1]: [u32; 4], mm: f64) -> Vec<u8> {
    let mut w = Writer::new(form);
    w.us(0x0018_6012, &[1]).us(0x0018_6014, &[1]);
    w.ul(0x0018_6018, x0).ul(0x0018_601a, y0).ul(0x0018_601c, x1).ul(0x0018_601e, y1);
    w.us(0x0018_6024, &[3]).us(0x0018_6026, &[3]);
    w.fd(0x0018_602c, mm / 10.0).fd(0x0018_602e, mm / 10.0);
    w.bytes
}

pub const REGIONS: u32 = 0x0018_6011;
