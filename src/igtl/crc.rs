//! The checksum of message bodies: CRC-64 with the polynomial of ECMA-182, most significant bit first, starting from zero.

const POLYNOMIAL: u64 = 0x42f0_e1eb_a9ea_3693;

/// `TABLES[n][b]` is what byte `b` contributes when `n` more bytes follow: eight bytes are then one step.
static TABLES: [[u64; 256]; 8] = tables();

const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut rest = (byte as u64) << 56;
        let mut bit = 0;
        while bit < 8 {
            rest = if rest >> 63 == 1 { (rest << 1) ^ POLYNOMIAL } else { rest << 1 };
            bit += 1;
        }
        tables[0][byte] = rest;
        byte += 1;
    }
    let mut following = 1;
    while following < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[following - 1][byte];
            tables[following][byte] = (before << 8) ^ tables[0][(before >> 56) as usize];
            byte += 1;
        }
        following += 1;
    }
    tables
}

/// A checksum under way; bytes may come in pieces.
#[derive(Clone, Copy, Debug, Default)]
pub struct Crc64(u64);

impl Crc64 {
    /// The checksum of one piece.
    pub fn of(bytes: &[u8]) -> u64 {
        let mut crc = Self::default();
        crc.update(bytes);
        crc.value()
    }

    pub fn update(&mut self, bytes: &[u8]) {
        let mut crc = self.0;
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            let [a, b, c, d, e, f, g, h] = (crc ^ u64::from_be_bytes(*word)).to_be_bytes().map(usize::from);
            crc = TABLES[7][a]
                ^ TABLES[6][b]
                ^ TABLES[5][c]
                ^ TABLES[4][d]
                ^ TABLES[3][e]
                ^ TABLES[2][f]
                ^ TABLES[1][g]
                ^ TABLES[0][h];
        }
        for byte in rest {
            crc = (crc << 8) ^ TABLES[0][usize::from((crc >> 56) as u8 ^ byte)];
        }
        self.0 = crc;
    }

    pub fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        // The catalogued check value of CRC-64/ECMA-182.
        assert_eq!(Crc64::of(b"123456789"), 0x6c40_df5f_0b49_7347);
        assert_eq!(Crc64::of(b""), 0);
        assert_eq!(Crc64::of(&[1]), POLYNOMIAL);
    }

    #[test]
    fn pieces_of_any_length_give_the_same() {
        let bytes: Vec<u8> = (0..100u32).map(|at| (at * 37 + 11) as u8).collect();
        let mut slow = 0u64;
        for byte in &bytes {
            slow ^= u64::from(*byte) << 56;
            for _ in 0..8 {
                slow = if slow >> 63 == 1 { (slow << 1) ^ POLYNOMIAL } else { slow << 1 };
            }
        }
        for cut in 0..=bytes.len() {
            let mut crc = Crc64::default();
            crc.update(&bytes[..cut]);
            crc.update(&bytes[cut..]);
            assert_eq!(crc.value(), slow, "cut at {cut}");
        }
    }
}
