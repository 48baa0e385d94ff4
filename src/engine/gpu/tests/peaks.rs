//! The device's own rates.

use super::super::peak::measure;
use super::rig::gpu;

#[test]
fn rates_are_those_of_a_computer() {
    let Some(gpu) = gpu() else { return };
    let peaks = measure(&gpu).unwrap();
    // A loop that a compiler drops runs at any rate; the fastest card makes some 10^5.
    for rate in [peaks.f32_gmac_per_s, peaks.gigabytes_per_s].into_iter().chain(peaks.f16_gmac_per_s) {
        assert!((0.001..1e6).contains(&rate), "{peaks:?}");
    }
    assert_eq!(peaks.f16_gmac_per_s.is_some(), gpu.adapter.f16);
}
