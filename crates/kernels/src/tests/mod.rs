//! Compares every instruction set of this CPU with the plain implementation, over awkward shapes and random ones.
//!
//! The kernels of AVX2 also run under Miri, which checks every pointer, and all of them under AddressSanitizer:
//!
//!     RUSTFLAGS="-C target-feature=+avx2,+fma" cargo +nightly miri test -p causalclipseg-kernels --lib plain_implementation
//!     RUSTFLAGS=-Zsanitizer=address cargo +nightly test -p causalclipseg-kernels --lib --target x86_64-unknown-linux-gnu

#[cfg(target_os = "linux")]
mod bounds;

use super::conv::{Addend, BLOCK, ConvF32, ConvU8, EpilogueU8, OutputU8, Target, Window, blocks, has_narrow_pairs};
use super::packing::{pack_f32, pack_i8};
use super::{Isa, Kernels, generic};

/// A small generator of numbers that are the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
    }

    fn below(&mut self, bound: usize) -> usize {
        self.next() as usize % bound
    }

    fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.below(among.len())]
    }

    /// A number between -1 and 1.
    fn unit(&mut self) -> f32 {
        (self.below(2001) as f32 - 1000.0) / 1000.0
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Output {
    U8 { zero_point: i32, lowest: i32 },
    F32 { relu: bool },
}

/// A convolution without its numbers.
#[derive(Clone, Copy, Debug)]
struct Shape {
    rows: usize,
    columns: usize,
    /// The number of taps along each side.
    kernel: usize,
    stride: usize,
    depth: usize,
    out_channels: usize,
    /// Elements between an output pixel's last channel and the next pixel.
    gap: usize,
    /// As `gap`, in the map and the residual.
    addend_gap: usize,
    map: bool,
    residual: bool,
    offset: f32,
    output: Output,
    /// Inputs are 0 or 255 and weights -128 or 127, so that products saturate where 16 bits are too few.
    extreme: bool,
    /// Weights of seven bits.
    narrow: bool,
}

const PLAIN: Shape = Shape {
    rows: 3,
    columns: 5,
    kernel: 1,
    stride: 1,
    depth: 8,
    out_channels: 16,
    gap: 0,
    addend_gap: 0,
    map: false,
    residual: false,
    offset: 0.0,
    output: Output::U8 { zero_point: 7, lowest: 0 },
    extreme: false,
    narrow: false,
};

fn awkward() -> Vec<Shape> {
    let mut shapes = vec![];
    for columns in 1..=31 {
        shapes.push(Shape { columns, rows: 2, ..PLAIN });
        shapes.push(Shape { columns, rows: 2, kernel: 3, out_channels: 48, gap: 3, ..PLAIN });
    }
    for out_channels in [1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 36, 48, 256] {
        for (map, residual) in [(false, false), (true, false), (false, true), (true, true)] {
            for output in [
                Output::U8 { zero_point: 0, lowest: 0 },
                Output::U8 { zero_point: 131, lowest: 131 },
                Output::F32 { relu: false },
                Output::F32 { relu: true },
            ] {
                let (gap, addend_gap) = (out_channels % 3, out_channels % 2);
                shapes.push(Shape { out_channels, map, residual, output, gap, addend_gap, offset: -3.25, ..PLAIN });
            }
        }
    }
    for depth in [4, 8, 12, 64, 512] {
        for kernel in [1, 3] {
            for stride in [1, 2] {
                shapes.push(Shape { depth, kernel, stride, out_channels: 36, columns: 13, ..PLAIN });
                shapes.push(Shape { depth, kernel, stride, out_channels: 16, extreme: true, ..PLAIN });
            }
        }
    }
    for output in [Output::U8 { zero_point: 255, lowest: 3 }, Output::U8 { zero_point: 128, lowest: 0 }] {
        shapes.push(Shape { output, extreme: true, depth: 512, kernel: 3, rows: 1, columns: 17, ..PLAIN });
    }
    shapes.push(Shape { rows: 1, columns: 1, out_channels: 1, depth: 4, ..PLAIN });
    shapes.push(Shape { rows: 40, columns: 1, out_channels: 40, kernel: 3, ..PLAIN });
    shapes.push(Shape { rows: 7, columns: 7, out_channels: 64, kernel: 3, gap: 1, offset: 0.5, ..PLAIN });
    // Several chunks of pixels.
    shapes.push(Shape { rows: 30, columns: 30, depth: 512, out_channels: 40, ..PLAIN });
    shapes.push(Shape { rows: 0, ..PLAIN });
    shapes.push(Shape { columns: 0, ..PLAIN });
    shapes.push(Shape { out_channels: 0, ..PLAIN });
    shapes
}

fn random_shapes(count: usize) -> Vec<Shape> {
    let mut random = Random(0x5eed);
    (0..count)
        .map(|_| Shape {
            rows: 1 + random.below(5),
            columns: 1 + random.below(31),
            kernel: random.pick(&[1, 1, 2, 3]),
            stride: random.pick(&[1, 1, 2]),
            depth: 4 * (1 + random.below(20)),
            out_channels: 1 + random.below(70),
            gap: random.pick(&[0, 0, 1, 16]),
            addend_gap: random.pick(&[0, 0, 2]),
            map: random.below(2) == 1,
            residual: random.below(2) == 1,
            offset: random.pick(&[0.0, -1.5, 20.0]),
            output: random.pick(&[
                Output::U8 { zero_point: 0, lowest: 0 },
                Output::U8 { zero_point: 77, lowest: 77 },
                Output::U8 { zero_point: 200, lowest: 0 },
                Output::F32 { relu: true },
                Output::F32 { relu: false },
            ]),
            extreme: random.below(3) == 0,
            narrow: false,
        })
        .collect()
}

/// Slices that end exactly where the convolution ends.
struct Numbers<X, W, S> {
    taps: Vec<usize>,
    x: Box<[X]>,
    weights: Box<[W]>,
    bias: Box<[S]>,
    multiplier: Box<[f32]>,
    map: Box<[f32]>,
    residual: Box<[X]>,
    y_len: usize,
}

impl Shape {
    fn input_columns(&self) -> usize {
        self.columns.saturating_sub(1) * self.stride + self.kernel
    }

    fn input_rows(&self) -> usize {
        self.rows.saturating_sub(1) * self.stride + self.kernel
    }

    fn window<'a>(&self, taps: &'a [usize]) -> Window<'a> {
        Window {
            rows: self.rows,
            columns: self.columns,
            row_stride: self.stride * self.input_columns() * self.depth,
            column_stride: self.stride * self.depth,
            taps,
            depth: self.depth,
        }
    }

    fn layout(&self, gap: usize) -> Target {
        let column_stride = self.out_channels + gap;
        Target { row_stride: self.columns * column_stride + gap, column_stride }
    }

    fn len(&self, layout: Target) -> usize {
        if self.rows == 0 || self.columns == 0 {
            return 0;
        }
        (self.rows - 1) * layout.row_stride + (self.columns - 1) * layout.column_stride + self.out_channels
    }

    fn numbers<X: Copy, W: Copy, S>(
        &self,
        random: &mut Random,
        input: impl Fn(&mut Random) -> X,
        weight: impl Fn(&mut Random) -> W,
        bias: impl Fn(&mut Random) -> S,
        pack: impl Fn(&[W], usize, usize, usize) -> Vec<W>,
    ) -> Numbers<X, W, S> {
        let (side, padded) = (self.kernel, blocks(self.out_channels) * BLOCK);
        let taps = (0..side * side).map(|tap| (tap / side * self.input_columns() + tap % side) * self.depth).collect();
        let weights: Vec<W> = (0..self.out_channels * side * side * self.depth).map(|_| weight(random)).collect();
        Numbers {
            taps,
            x: (0..self.input_rows() * self.input_columns() * self.depth).map(|_| input(random)).collect(),
            weights: pack(&weights, self.out_channels, side * side, self.depth).into(),
            bias: (0..padded).map(|_| bias(random)).collect(),
            // Outputs spread over the full range of u8 and slightly beyond.
            multiplier: (0..padded)
                .map(|_| (0.5 + random.unit().abs()) / (self.depth * side * side) as f32 / 60.0)
                .collect(),
            map: (0..self.len(self.layout(2 * self.addend_gap))).map(|_| 40.0 * random.unit()).collect(),
            residual: (0..self.len(self.layout(self.addend_gap))).map(|_| input(random)).collect(),
            y_len: self.len(self.layout(self.gap)),
        }
    }

    fn numbers_u8(&self, random: &mut Random) -> Numbers<u8, i8, i32> {
        let (extreme, narrow) = (self.extreme, self.narrow);
        self.numbers(
            random,
            |random| if extreme { random.pick(&[0, 255, 255]) } else { random.below(256) as u8 },
            |random| match (narrow, extreme) {
                (false, true) => random.pick(&[-128, 127, 127]),
                (false, false) => random.below(256) as u8 as i8,
                (true, true) => random.pick(&[-64, 64, 64]),
                (true, false) => random.below(127) as i8 - 63,
            },
            |random| random.below(20_001) as i32 - 10_000,
            pack_i8,
        )
    }

    fn numbers_f32(&self, random: &mut Random) -> Numbers<f32, f32, f32> {
        self.numbers(random, Random::unit, Random::unit, Random::unit, pack_f32)
    }

    fn conv_u8<'a>(&self, numbers: &'a Numbers<u8, i8, i32>, output: OutputU8<'a>) -> ConvU8<'a> {
        ConvU8 {
            window: self.window(&numbers.taps),
            x: &numbers.x,
            weights: &numbers.weights,
            narrow_pairs: has_narrow_pairs(&numbers.weights),
            out_channels: self.out_channels,
            epilogue: EpilogueU8 {
                bias: &numbers.bias,
                multiplier: &numbers.multiplier,
                map: self.map.then_some(Addend { values: &numbers.map, layout: self.layout(2 * self.addend_gap) }),
                residual: self
                    .residual
                    .then_some(Addend { values: &numbers.residual, layout: self.layout(self.addend_gap) }),
                residual_scale: 0.37,
                offset: self.offset,
            },
            target: self.layout(self.gap),
            output,
        }
    }

    fn conv_f32<'a>(&self, numbers: &'a Numbers<f32, f32, f32>, y: &'a mut [f32]) -> ConvF32<'a> {
        ConvF32 {
            window: self.window(&numbers.taps),
            x: &numbers.x,
            weights: &numbers.weights,
            out_channels: self.out_channels,
            bias: &numbers.bias,
            map: self.map.then_some(Addend { values: &numbers.map, layout: self.layout(2 * self.addend_gap) }),
            residual: self
                .residual
                .then_some(Addend { values: &numbers.residual, layout: self.layout(self.addend_gap) }),
            relu: self.output == Output::F32 { relu: true },
            target: self.layout(self.gap),
            y,
        }
    }

    /// Outputs of an int8 convolution as numbers that can be compared bit by bit. Elements that are not outputs stay
    /// unchanged.
    fn run_u8(&self, numbers: &Numbers<u8, i8, i32>, run: &dyn Fn(&mut ConvU8<'_>)) -> Vec<u32> {
        match self.output {
            Output::U8 { zero_point, lowest } => {
                let mut y = vec![99u8; numbers.y_len].into_boxed_slice();
                run(&mut self.conv_u8(numbers, OutputU8::U8 { y: &mut y, zero_point, lowest }));
                y.iter().map(|value| u32::from(*value)).collect()
            }
            Output::F32 { relu } => {
                let mut y = vec![99f32; numbers.y_len].into_boxed_slice();
                run(&mut self.conv_u8(numbers, OutputU8::F32 { y: &mut y, relu }));
                y.iter().map(|value| value.to_bits()).collect()
            }
        }
    }
}

/// A few small shapes with all kinds of tails, for an interpreter.
fn small() -> Vec<Shape> {
    let mut shapes = vec![];
    for output in [Output::U8 { zero_point: 131, lowest: 7 }, Output::F32 { relu: false }] {
        for (columns, out_channels) in [(1, 3), (7, 16), (9, 40)] {
            let (map, residual) = (columns < 9, columns > 1);
            shapes.push(Shape {
                rows: 2,
                columns,
                out_channels,
                kernel: 2,
                map,
                residual,
                output,
                gap: 1,
                addend_gap: 2,
                ..PLAIN
            });
        }
    }
    shapes
}

fn shapes() -> Vec<Shape> {
    if cfg!(miri) {
        return small();
    }
    let shapes = [awkward(), random_shapes(150)].concat();
    shapes.into_iter().flat_map(|shape| [shape, Shape { narrow: true, ..shape }]).collect()
}

type RunU8<'a> = (&'a str, Box<dyn Fn(&mut ConvU8<'_>)>);

/// The implementations of int8 convolutions on this CPU, except the plain one.
fn runs_u8() -> Vec<RunU8<'static>> {
    let mut runs: Vec<RunU8> = vec![];
    for kernels in Kernels::available().into_iter().filter(|kernels| kernels.isa() != Isa::Generic) {
        runs.push((kernels.isa().name(), Box::new(move |conv| kernels.conv_u8(conv))));
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(run) = super::x86::avx_vnni_by_evex() {
        runs.push(("avx-vnni in the encoding of AVX-512", Box::new(run)));
    }
    runs
}

#[test]
fn int8_is_bit_equal_to_the_plain_implementation() {
    let mut random = Random(1);
    let runs = runs_u8();
    for shape in shapes() {
        let numbers = shape.numbers_u8(&mut random);
        assert!(has_narrow_pairs(&numbers.weights) || !shape.narrow);
        let expected = shape.run_u8(&numbers, &generic::conv_u8);
        for (name, run) in &runs {
            let found = shape.run_u8(&numbers, run);
            let differs = found.iter().zip(&expected).position(|(found, expected)| found != expected);
            assert_eq!(differs, None, "{name}, {shape:?}");
        }
    }
}

#[test]
fn pairs_of_weights_fit_16_bits_up_to_a_bound() {
    assert!(has_narrow_pairs(&[64, -64, 127, 1, -128, 0, 0, 0]));
    for wide in [[64, 65], [-128, 1], [127, -2], [-128, -128]] {
        for before in [6, 1022, 5000] {
            assert!(!has_narrow_pairs(&[&vec![0; before][..], &wide].concat()), "{wide:?} after {before}");
        }
    }
}

/// If all outputs were clamped, errors would be hidden.
#[test]
fn the_shapes_exercise_the_whole_range() {
    let mut random = Random(1);
    let mut seen = [false; 256];
    let mut clamped = 0.0;
    let mut outputs = 0.0;
    for shape in shapes().iter().filter(|shape| matches!(shape.output, Output::U8 { .. })) {
        let numbers = shape.numbers_u8(&mut random);
        for value in shape.run_u8(&numbers, &generic::conv_u8) {
            seen[value as usize] = true;
            clamped += f32::from(u8::from(value == 0 || value == 255));
            outputs += 1.0;
        }
    }
    assert!(seen.iter().all(|seen| *seen));
    assert!(clamped / outputs < 0.5, "{} of the outputs are clamped", clamped / outputs);
}

#[test]
fn f32_agrees_with_the_plain_implementation() {
    let mut random = Random(2);
    for shape in shapes() {
        let numbers = shape.numbers_f32(&mut random);
        let run = |run: &dyn Fn(&mut ConvF32<'_>)| {
            let mut y = vec![99f32; numbers.y_len].into_boxed_slice();
            run(&mut shape.conv_f32(&numbers, &mut y));
            y
        };
        let expected = run(&generic::conv_f32);
        // Factors are below 1, so the products of a sum are about a third of their count; a bias, a map, a residual.
        let products = (shape.kernel * shape.kernel * shape.depth) as f32 / 4.0 + 1.0;
        for kernels in Kernels::available() {
            let found = run(&|conv| kernels.conv_f32(conv));
            for (found, expected) in found.iter().zip(&expected) {
                assert!(
                    (found - expected).abs() <= 1e-5 * products,
                    "{}, {shape:?}: {found}, {expected}",
                    kernels.isa()
                );
            }
        }
    }
}

/// What makes probabilities equal on these instruction sets and AVX2.
#[cfg(any(target_arch = "aarch64", target_arch = "wasm32"))]
#[test]
fn f32_outputs_are_chains_of_fused_multiply_adds() {
    let mut random = Random(7);
    for shape in shapes().into_iter().filter(|shape| !shape.map && !shape.residual) {
        let numbers = shape.numbers_f32(&mut random);
        let mut expected = vec![99f32; numbers.y_len];
        let conv = shape.conv_f32(&numbers, &mut expected);
        for row in 0..shape.rows {
            for column in 0..shape.columns {
                let start = row * conv.window.row_stride + column * conv.window.column_stride;
                for out in 0..shape.out_channels {
                    let taps = conv.window.taps.iter().flat_map(|tap| start + tap..start + tap + shape.depth);
                    let filter = out / BLOCK * BLOCK * conv.window.taps.len() * shape.depth + out % BLOCK;
                    let sum = taps
                        .enumerate()
                        .fold(0.0f32, |sum, (index, at)| conv.x[at].mul_add(conv.weights[filter + index * BLOCK], sum));
                    let value = sum + conv.bias[out];
                    let at = row * conv.target.row_stride + column * conv.target.column_stride + out;
                    conv.y[at] = if conv.relu { value.max(0.0) } else { value };
                }
            }
        }
        for kernels in Kernels::available().into_iter().filter(|kernels| kernels.isa() != Isa::Generic) {
            let mut found = vec![99f32; numbers.y_len];
            kernels.conv_f32(&mut shape.conv_f32(&numbers, &mut found));
            assert_eq!(found, expected, "{}, {shape:?}", kernels.isa());
        }
    }
}

/// A sum that is NaN, or too large for an integer, becomes the same byte everywhere.
#[test]
fn values_beyond_integers_are_clamped() {
    let shape = Shape { out_channels: 33, ..PLAIN };
    for (multiplier, offset) in
        [(f32::NAN, 0.0), (1e30, 0.0), (-1e30, 0.0), (f32::INFINITY, f32::NEG_INFINITY), (3e9, 1.0)]
    {
        let mut numbers = shape.numbers_u8(&mut Random(3));
        numbers.multiplier.fill(multiplier);
        let shape = Shape { offset, output: Output::U8 { zero_point: 40, lowest: 12 }, ..shape };
        let expected = shape.run_u8(&numbers, &generic::conv_u8);
        for (name, run) in runs_u8() {
            assert_eq!(shape.run_u8(&numbers, &run), expected, "{name}, {multiplier}");
        }
    }
}

#[test]
fn a_convolution_beyond_its_slices_is_refused() {
    let numbers = PLAIN.numbers_u8(&mut Random(4));
    let mut y = vec![0; numbers.y_len];
    let valid = |change: &dyn Fn(&mut ConvU8<'_>), y: &mut [u8]| {
        let mut conv = PLAIN.conv_u8(&numbers, OutputU8::U8 { y, zero_point: 0, lowest: 0 });
        change(&mut conv);
        conv.is_valid()
    };
    assert!(valid(&|_| {}, &mut y));
    assert!(!valid(&|_| {}, &mut vec![0; numbers.y_len - 1]));
    assert!(!valid(&|conv| conv.x = &conv.x[1..], &mut y));
    assert!(!valid(&|conv| conv.weights = &conv.weights[1..], &mut y));
    assert!(!valid(&|conv| conv.epilogue.bias = &conv.epilogue.bias[1..], &mut y));
    assert!(!valid(&|conv| conv.window.row_stride = usize::MAX / 2, &mut y));
    assert!(!valid(&|conv| conv.window.taps = &[usize::MAX], &mut y));
    assert!(!valid(&|conv| conv.target.column_stride = usize::MAX, &mut y));
    assert!(!valid(&|conv| conv.out_channels = usize::MAX, &mut y));
}
