//! Types of samples, and samples from bytes.

/// How one sample is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::io) enum Element {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl Element {
    pub const fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    pub const fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }

    /// The name, for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::U8 => "8-bit",
            Self::I8 => "signed 8-bit",
            Self::U16 => "16-bit",
            Self::I16 => "signed 16-bit",
            Self::U32 => "32-bit",
            Self::I32 => "signed 32-bit",
            Self::U64 => "64-bit",
            Self::I64 => "signed 64-bit",
            Self::F32 => "32-bit float",
            Self::F64 => "64-bit float",
        }
    }

    /// Calls `each` with every sample of `bytes`, high byte first if `big_endian` is set.
    pub fn for_each(self, bytes: &[u8], big_endian: bool, mut each: impl FnMut(f64)) {
        match self {
            Self::U8 => bytes.iter().for_each(|byte| each(f64::from(*byte))),
            Self::I8 => bytes.iter().for_each(|byte| each(f64::from(*byte as i8))),
            Self::U16 => words(bytes, big_endian, |word| each(f64::from(u16::from_le_bytes(word)))),
            Self::I16 => words(bytes, big_endian, |word| each(f64::from(i16::from_le_bytes(word)))),
            Self::U32 => words(bytes, big_endian, |word| each(f64::from(u32::from_le_bytes(word)))),
            Self::I32 => words(bytes, big_endian, |word| each(f64::from(i32::from_le_bytes(word)))),
            Self::U64 => words(bytes, big_endian, |word| each(u64::from_le_bytes(word) as f64)),
            Self::I64 => words(bytes, big_endian, |word| each(i64::from_le_bytes(word) as f64)),
            Self::F32 => words(bytes, big_endian, |word| each(f64::from(f32::from_le_bytes(word)))),
            Self::F64 => words(bytes, big_endian, |word| each(f64::from_le_bytes(word))),
        }
    }

    /// Stores one sample, low byte first; `false` where the type cannot hold it.
    pub fn store(self, sample: f64, into: &mut [u8]) -> bool {
        let whole = |min: f64, max: f64| sample.fract() == 0.0 && (min..=max).contains(&sample);
        let bits = 8 * self.bytes() as i32;
        let fits = match self {
            Self::U8 | Self::U16 | Self::U32 | Self::U64 => whole(0.0, 2f64.powi(bits) - 1.0),
            Self::I8 | Self::I16 | Self::I32 | Self::I64 => whole(-(2f64.powi(bits - 1)), 2f64.powi(bits - 1) - 1.0),
            Self::F32 | Self::F64 => true,
        };
        let bytes = match self {
            Self::F32 => u64::from((sample as f32).to_bits()),
            Self::F64 => sample.to_bits(),
            Self::U64 => sample as u64,
            _ => sample as i64 as u64,
        };
        fits && into.len() == self.bytes() && {
            into.copy_from_slice(&bytes.to_le_bytes()[..self.bytes()]);
            true
        }
    }
}

fn words<const N: usize>(bytes: &[u8], big_endian: bool, mut each: impl FnMut([u8; N])) {
    for word in bytes.as_chunks::<N>().0 {
        let mut word = *word;
        if big_endian {
            word.reverse();
        }
        each(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_back() {
        for (element, samples) in [
            (Element::U8, &[0.0, 255.0][..]),
            (Element::I8, &[-128.0, 127.0]),
            (Element::U16, &[0.0, 65_535.0]),
            (Element::I16, &[-32_768.0, 32_767.0]),
            (Element::U32, &[4_294_967_295.0]),
            (Element::I32, &[-2_147_483_648.0]),
            (Element::U64, &[9_007_199_254_740_992.0]),
            (Element::I64, &[-9_007_199_254_740_992.0]),
            (Element::F32, &[0.25, -1024.5]),
            (Element::F64, &[0.1, 1e300]),
        ] {
            for sample in samples {
                let mut bytes = vec![0; element.bytes()];
                assert!(element.store(*sample, &mut bytes), "{element:?}");
                for big_endian in [false, true] {
                    let mut found = Vec::new();
                    element.for_each(&bytes, big_endian, |sample| found.push(sample));
                    assert_eq!(found, [*sample], "{element:?}");
                    bytes.reverse();
                }
            }
        }
        for (element, sample) in
            [(Element::U8, 256.0), (Element::U8, -1.0), (Element::I16, 0.5), (Element::U16, f64::NAN)]
        {
            assert!(!element.store(sample, &mut vec![0; element.bytes()]), "{element:?}: {sample}");
        }
    }
}
