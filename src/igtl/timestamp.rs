//! Timestamps of messages.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970 in the upper 32 bits, their fraction in the lower; 0 where the sender gives none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

impl Timestamp {
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self((since.as_secs() << 32) | ((u64::from(since.subsec_nanos()) << 32) / 1_000_000_000))
    }

    /// Converts microseconds since 1970; wraps after the year 2106, as the format does.
    pub fn from_micros(micros: u64) -> Self {
        let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
        // Rounded up, so that converting back, which rounds to the nearest, gives the same microsecond.
        Self(seconds << 32 | (rest << 32).div_ceil(1_000_000))
    }

    /// Microseconds since 1970, rounded.
    pub fn micros(self) -> u64 {
        let (seconds, fraction) = (self.0 >> 32, self.0 & 0xffff_ffff);
        seconds * 1_000_000 + ((fraction * 1_000_000 + (1 << 31)) >> 32)
    }

    pub fn is_given(self) -> bool {
        self.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microseconds_survive() {
        for micros in [0, 1, 999_999, 1_000_000, 1_700_000_000_123_456, u64::from(u32::MAX) * 1_000_000 + 999_999] {
            assert_eq!(Timestamp::from_micros(micros).micros(), micros);
        }
        assert_eq!(Timestamp(1 << 31).micros(), 500_000);
        assert_eq!(Timestamp(u64::MAX).micros(), (1 << 32) * 1_000_000);
    }

    #[test]
    fn now_is_this_century() {
        assert!(Timestamp::now().micros() > 1_700_000_000_000_000);
    }
}
