//! RLE Lossless (DICOM PS3.5, annex G): up to fifteen byte planes, each in PackBits.

/// Unpacks a frame of `planes` byte planes of `plane_bytes` each, one after the other, into `out`.
pub(super) fn decode(data: &[u8], planes: usize, plane_bytes: usize, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let word = |at: usize| data.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    if word(0) != u32::try_from(planes).ok() || planes > 15 {
        return Err("its planes are not those of its pixels");
    }
    out.clear();
    for plane in 0..planes {
        let start = word(4 + 4 * plane).ok_or("its head is cut short")? as usize;
        let end =
            if plane + 1 < planes { word(8 + 4 * plane).ok_or("its head is cut short")? as usize } else { data.len() };
        let packed = data.get(start..end).ok_or("a plane lies outside of it")?;
        let full = out.len() + plane_bytes;
        unpack(packed, full, out)?;
    }
    Ok(())
}

fn unpack(mut packed: &[u8], full: usize, out: &mut Vec<u8>) -> Result<(), &'static str> {
    while out.len() < full {
        let (&control, rest) = packed.split_first().ok_or("a plane is cut short")?;
        let room = full - out.len();
        packed = match control {
            0..=127 => {
                let count = usize::from(control) + 1;
                let literal = rest.get(..count).ok_or("a plane is cut short")?;
                out.extend_from_slice(literal.get(..count.min(room)).unwrap_or_default());
                rest.get(count..).unwrap_or_default()
            }
            128 => rest,
            129..=255 => {
                let (&value, rest) = rest.split_first().ok_or("a plane is cut short")?;
                out.extend(std::iter::repeat_n(value, (257 - usize::from(control)).min(room)));
                rest
            }
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(planes: &[&[u8]]) -> Vec<u8> {
        let mut head = vec![planes.len() as u32];
        let mut at = 64;
        for plane in planes {
            head.push(at);
            at += plane.len() as u32;
        }
        head.resize(16, 0);
        [head.iter().flat_map(|word| word.to_le_bytes()).collect(), planes.concat()].concat()
    }

    #[test]
    fn planes_unpack() {
        let mut out = Vec::new();
        // Two literals, nothing, three times 7; then one run that is longer than the plane.
        decode(&frame(&[&[1, 4, 5, 128, 254, 7], &[129, 9]]), 2, 5, &mut out).unwrap();
        assert_eq!(out, [4, 5, 7, 7, 7, 9, 9, 9, 9, 9]);
    }

    #[test]
    fn damage_is_an_error() {
        let good = frame(&[&[1, 4, 5], &[255, 9]]);
        let mut out = Vec::new();
        for cut in 0..good.len() {
            assert!(decode(&good[..cut], 2, 2, &mut out).is_err(), "{cut}");
        }
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 0xff;
            let _ = decode(&changed, 2, 2, &mut out);
            assert!(out.len() <= 4);
        }
        assert!(decode(&good, 3, 2, &mut out).is_err());
    }
}
