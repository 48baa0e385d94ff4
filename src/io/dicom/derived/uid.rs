//! Unique identifiers that need no registration: UUIDs that are generated here (PS3.5, B.2).

use crate::bundle::Sha256;
use crate::kernels::process_id;
use crate::machine::clock::{SystemTime, UNIX_EPOCH};
use std::sync::atomic::{AtomicU64, Ordering};

/// A new unique UID.
pub fn new_uid() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut random = [0; 16];
    // Without the system's random numbers, clock, process and count still distinguish any two on one machine.
    if let Err(error) = getrandom::fill(&mut random) {
        log::debug!("no random numbers for a UID: {error}");
    }
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    uid_of(&[&random, &nanos.to_le_bytes(), &count.to_le_bytes(), &process_id().to_le_bytes()])
}

/// The UID of a text: the same for the same parts, and different for others.
pub fn uid_of(parts: &[&[u8]]) -> String {
    let mut all = Vec::new();
    for part in parts {
        all.extend((part.len() as u64).to_le_bytes());
        all.extend_from_slice(part);
    }
    let digest = Sha256::of(&all).0;
    let number = digest.iter().take(16).fold(0u128, |number, byte| (number << 8) | u128::from(*byte));
    // The version and variant of a custom UUID.
    let number = number & !(0xf << 76) & !(0b11 << 62) | (8 << 76) | (0b10 << 62);
    format!("2.25.{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_unique_and_short_enough() {
        let uids = [new_uid(), new_uid(), uid_of(&[b"a", b"bc"]), uid_of(&[b"ab", b"c"])];
        for (index, uid) in uids.iter().enumerate() {
            assert!(uid.len() <= 64 && uid.starts_with("2.25."), "{uid}");
            assert!(!uids[..index].contains(uid), "{uid}");
        }
        assert_eq!(uid_of(&[b"a", b"bc"]), uids[2]);
    }
}
