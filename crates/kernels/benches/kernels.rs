//! Benchmarks every convolution kernel of this CPU on layers of the published network, relative to the peak of its core
//! with registers alone:
//!
//!     cargo bench -p causalclipseg-kernels -- avx512-vnni/int8
//!
//! Throughput is in multiply-adds, so Gelem/s are GMAC/s. A line after each layer gives the best run's share of the
//! peak.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::time::{Duration, Instant};

use causalclipseg_kernels::conv::{Addend, BLOCK, ConvF32, ConvU8, EpilogueU8, OutputU8, Target, Window, blocks};
use causalclipseg_kernels::peak::Arithmetic;
use causalclipseg_kernels::{Isa, Kernels};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// A layer of `side` x `side` outputs.
struct Layer {
    name: &'static str,
    kernel: usize,
    stride: usize,
    depth: usize,
    out_channels: usize,
    side: usize,
    residual: bool,
}

const fn layer(name: &'static str, kernel: usize, depth: usize, out_channels: usize, side: usize) -> Layer {
    Layer { name, kernel, stride: 1, depth, out_channels, side, residual: false }
}

const LAYERS: [Layer; 13] = [
    layer("3x3 512@14", 3, 512, 512, 14),
    layer("3x3 256@14", 3, 256, 256, 14),
    layer("3x3 128@28", 3, 128, 128, 28),
    layer("3x3 64@56", 3, 64, 64, 56),
    layer("1x1 1024>256@14", 1, 1024, 256, 14),
    Layer { residual: true, ..layer("1x1 256>1024@14 + residual", 1, 256, 1024, 14) },
    Layer { residual: true, ..layer("1x1 128>512@28 + residual", 1, 128, 512, 28) },
    Layer { residual: true, ..layer("1x1 64>256@56 + residual", 1, 64, 256, 56) },
    layer("1x1 512>2304@56", 1, 512, 2304, 56),
    layer("3x3 512@7", 3, 512, 512, 7),
    layer("1x1 2048>512@7", 1, 2048, 512, 7),
    Layer { stride: 2, ..layer("3x3/2 4>32@112", 3, 4, 32, 112) },
    layer("3x3 32>64@112", 3, 32, 64, 112),
];

impl Layer {
    fn multiply_adds(&self) -> u64 {
        (self.kernel * self.kernel * self.depth * self.out_channels * self.side * self.side) as u64
    }

    fn input_side(&self) -> usize {
        (self.side - 1) * self.stride + self.kernel
    }

    fn taps(&self) -> Vec<usize> {
        let position = |tap| tap / self.kernel * self.input_side() + tap % self.kernel;
        (0..self.kernel * self.kernel).map(|tap| position(tap) * self.depth).collect()
    }

    fn inputs(&self) -> usize {
        self.input_side() * self.input_side() * self.depth
    }

    fn weights(&self) -> usize {
        self.padded() * self.kernel * self.kernel * self.depth
    }

    fn padded(&self) -> usize {
        blocks(self.out_channels) * BLOCK
    }

    fn outputs(&self) -> usize {
        self.side * self.side * self.out_channels
    }

    fn target(&self) -> Target {
        Target { row_stride: self.side * self.out_channels, column_stride: self.out_channels }
    }

    fn window<'a>(&self, taps: &'a [usize]) -> Window<'a> {
        Window {
            rows: self.side,
            columns: self.side,
            row_stride: self.stride * self.input_side() * self.depth,
            column_stride: self.stride * self.depth,
            taps,
            depth: self.depth,
        }
    }

    /// A run in int8, with an epilogue to u8.
    fn int8(&self, kernels: Kernels, narrow_pairs: bool) -> impl FnMut() {
        let taps = self.taps();
        let x: Vec<u8> = (0..self.inputs()).map(|index| (index * 7919 % 251) as u8).collect();
        let weight =
            |index: usize| if narrow_pairs { (index * 31 % 127) as i8 - 63 } else { (index * 31 % 255) as u8 as i8 };
        let weights: Vec<i8> = (0..self.weights()).map(weight).collect();
        let (bias, multiplier) = (vec![0; self.padded()], vec![3e-4; self.padded()]);
        let (residual, mut y) = (vec![7; self.outputs()], vec![0; self.outputs()]);
        move || {
            kernels.conv_u8(&mut ConvU8 {
                window: self.window(&taps),
                x: &x,
                weights: &weights,
                narrow_pairs,
                out_channels: self.out_channels,
                epilogue: EpilogueU8 {
                    bias: &bias,
                    multiplier: &multiplier,
                    map: None,
                    residual: self.residual.then_some(Addend { values: &residual, layout: self.target() }),
                    residual_scale: 0.5,
                    offset: if self.residual { -3.0 } else { 0.0 },
                },
                target: self.target(),
                output: OutputU8::U8 { y: &mut y, zero_point: 3, lowest: 3 },
            });
        }
    }

    /// A run in f32.
    fn f32(&self, kernels: Kernels) -> impl FnMut() {
        let taps = self.taps();
        let (x, weights, bias) = (vec![0.5; self.inputs()], vec![0.25; self.weights()], vec![0.0; self.padded()]);
        let (residual, mut y) = (vec![1.0; self.outputs()], vec![0.0; self.outputs()]);
        move || {
            kernels.conv_f32(&mut ConvF32 {
                window: self.window(&taps),
                x: &x,
                weights: &weights,
                out_channels: self.out_channels,
                bias: &bias,
                map: None,
                residual: self.residual.then_some(Addend { values: &residual, layout: self.target() }),
                relu: true,
                target: self.target(),
                y: &mut y,
            });
        }
    }
}

fn bench(criterion: &mut Criterion, kernels: Kernels, arithmetic: Arithmetic, narrow_pairs: bool) {
    let name = match (arithmetic, narrow_pairs) {
        (Arithmetic::Int8, false) => "int8",
        (Arithmetic::Int8, true) => "int8 with weights of 7 bits",
        (Arithmetic::F32, _) => "f32",
    };
    let peak = kernels.peak_gmacs(arithmetic, Duration::from_millis(100));
    let mut group = criterion.benchmark_group(format!("{}/{name}", kernels.isa()));
    group.sample_size(20).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
    for layer in &LAYERS {
        let mut run: Box<dyn FnMut()> = match arithmetic {
            Arithmetic::Int8 => Box::new(layer.int8(kernels, narrow_pairs)),
            Arithmetic::F32 => Box::new(layer.f32(kernels)),
        };
        let mut best_seconds = f64::INFINITY;
        group.throughput(Throughput::Elements(layer.multiply_adds()));
        group.bench_function(layer.name, |bencher| {
            bencher.iter_custom(|runs| {
                let mut total = Duration::ZERO;
                for _ in 0..runs {
                    let start = Instant::now();
                    run();
                    let elapsed = start.elapsed();
                    best_seconds = best_seconds.min(elapsed.as_secs_f64());
                    total += elapsed;
                }
                total
            });
        });
        if best_seconds.is_finite() {
            let gmacs = layer.multiply_adds() as f64 / best_seconds / 1e9;
            println!("best: {gmacs:.1} GMAC/s, {:.1} % of {peak:.1}", 100.0 * gmacs / peak);
        }
    }
    group.finish();
}

fn kernels(criterion: &mut Criterion) {
    for kernels in Kernels::available().into_iter().filter(|kernels| kernels.isa() != Isa::Generic) {
        for arithmetic in [Arithmetic::Int8, Arithmetic::F32] {
            bench(criterion, kernels, arithmetic, false);
        }
        if kernels.gains_from_narrow_pairs() {
            bench(criterion, kernels, Arithmetic::Int8, true);
        }
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
