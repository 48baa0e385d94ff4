//! What the page takes, so that its memory lasts: a module has at most 4 GB, and a browser may give less.

/// The most pixels of a frame: 5000 x 4000.
pub(crate) const MAX_PIXELS: usize = 20_000_000;
/// The most prompts at once.
pub(crate) const MAX_PROMPTS: usize = 8;

/// Refuses a frame that is too large, before it is decoded where its size is known by then.
pub(crate) fn check_pixels(width: usize, height: usize) -> Result<(), String> {
    match width.checked_mul(height) {
        Some(pixels) if pixels <= MAX_PIXELS => Ok(()),
        _ => Err(format!(
            "the image has {width} x {height} pixels and the page takes at most {} million: reduce it, or use the command \
             `causalclipseg segment`",
            MAX_PIXELS / 1_000_000
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_limited() {
        assert!(check_pixels(5000, 4000).is_ok() && check_pixels(1, 1).is_ok());
        let refused = check_pixels(5001, 4000).unwrap_err();
        assert!(refused.contains("5001 x 4000") && refused.contains("20 million"), "{refused}");
        assert!(check_pixels(usize::MAX, 2).is_err());
    }
}
