//! The kernels against the plain one, over shapes that leave something over in every direction.

use crate::kernels::conv::{Addend, BLOCK, ConvF32, ConvU8, EpilogueU8, OutputU8, Target, Window, blocks};
use crate::kernels::{Isa, Kernels, generic};

/// Numbers without pattern, the same every time (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn of<T: Copy>(&mut self, choice: &[T]) -> T {
        choice[self.below(choice.len())]
    }

    /// In -1..1.
    fn real(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn reals(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.real()).collect()
    }

    fn bytes(&mut self, count: usize, extremes: bool) -> Vec<u8> {
        (0..count).map(|_| if extremes { self.of(&[0, 0, 0, 127, 128, 255]) } else { self.next() as u8 }).collect()
    }
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    rows: usize,
    columns: usize,
    stride: usize,
    /// Taps in each direction.
    side: usize,
    depth: usize,
    out_channels: usize,
    /// A map is added.
    map: bool,
    residual: bool,
    /// Weights, pixels, bias and multipliers at the ends of their ranges.
    extremes: bool,
    seed: u64,
}

impl Shape {
    /// Pixels that each row of the input has; more than are read.
    fn input_columns(&self) -> usize {
        (self.columns - 1) * self.stride + self.side + 1
    }

    fn taps(&self) -> Vec<usize> {
        let tap = |index| (index / self.side * self.input_columns() + index % self.side) * self.depth;
        (0..self.side * self.side).map(tap).collect()
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

    /// Elements of the input up to the last one that is read.
    fn input_length(&self) -> usize {
        let window = self.window(&[]);
        let last_tap = self.taps().pop().unwrap_or(0);
        (self.rows - 1) * window.row_stride + (self.columns - 1) * window.column_stride + last_tap + self.depth
    }

    /// A layout with `gap` elements between pixels and rows, and its length up to the last output.
    fn layout(&self, gap: usize) -> (Target, usize) {
        let column_stride = self.out_channels + gap;
        let row_stride = self.columns * column_stride + gap;
        let length = (self.rows - 1) * row_stride + (self.columns - 1) * column_stride + self.out_channels;
        (Target { row_stride, column_stride }, length)
    }

    fn weights(&self) -> usize {
        blocks(self.out_channels) * BLOCK * self.side * self.side * self.depth
    }
}

/// Each awkward size with some of the others, then shapes drawn at random.
fn shapes() -> Vec<Shape> {
    let plain = Shape {
        rows: 1,
        columns: 1,
        stride: 1,
        side: 1,
        depth: 8,
        out_channels: 16,
        map: false,
        residual: false,
        extremes: false,
        seed: 0,
    };
    let mut shapes = Vec::new();
    for columns in 1..=15 {
        for (depth, stride) in [(4, 1), (20, 2), (64, 1)] {
            shapes.push(Shape { columns, depth, stride, ..plain });
        }
    }
    for out_channels in [1, 15, 16, 17, 36, 48] {
        for depth in [4, 8, 12, 16, 28, 64] {
            for (map, residual) in [(false, false), (true, false), (false, true), (true, true)] {
                shapes.push(Shape { rows: 2, columns: 4, side: 3, depth, out_channels, map, residual, ..plain });
            }
        }
    }
    for rows in [1, 2, 3, 7] {
        for side in [1, 2, 3] {
            for stride in [1, 2] {
                shapes.push(Shape { rows, columns: 5, side, stride, depth: 12, map: true, out_channels: 17, ..plain });
            }
        }
    }
    for depth in [4, 8, 12, 1024] {
        for columns in [1, 2, 13] {
            shapes.push(Shape { columns, depth, residual: true, extremes: true, out_channels: 33, ..plain });
        }
    }
    let mut numbers = Numbers(5);
    for _ in 0..150 {
        shapes.push(Shape {
            rows: 1 + numbers.below(4),
            columns: 1 + numbers.below(15),
            stride: 1 + numbers.below(2),
            side: 1 + numbers.below(3),
            depth: 4 * (1 + numbers.below(18)),
            out_channels: 1 + numbers.below(50),
            map: numbers.below(2) == 0,
            residual: numbers.below(2) == 0,
            extremes: numbers.below(4) == 0,
            seed: 0,
        });
    }
    shapes.iter().zip(1..).map(|(shape, seed)| Shape { seed, ..*shape }).collect()
}

/// The bytes that outputs must leave alone.
const UNTOUCHED: u8 = 77;

#[derive(Clone, Copy, Debug)]
enum Kind {
    U8 { zero_point: i32, lowest: i32 },
    F32 { relu: bool },
}

const KINDS: [Kind; 5] = [
    Kind::U8 { zero_point: 0, lowest: 0 },
    Kind::U8 { zero_point: 131, lowest: 131 },
    Kind::U8 { zero_point: 255, lowest: 3 },
    Kind::F32 { relu: false },
    Kind::F32 { relu: true },
];

/// The outputs, as bits, of `run` on the convolution of a shape. It is called once for all rows, or once for each.
fn outputs_u8(shape: Shape, kind: Kind, row_by_row: bool, run: impl Fn(&mut ConvU8<'_>)) -> Vec<u32> {
    let mut numbers = Numbers(shape.seed);
    let taps = shape.taps();
    let padded = blocks(shape.out_channels) * BLOCK;
    let x = numbers.bytes(shape.input_length(), shape.extremes);
    let extreme_weights = [-128i8, -128, -128, -127, 0, 127];
    let any = |numbers: &mut Numbers| {
        if shape.extremes { numbers.of(&extreme_weights) } else { numbers.next() as i8 }
    };
    let weights: Vec<i8> = (0..shape.weights()).map(|_| any(&mut numbers)).collect();
    let bias: Vec<i32> = (0..padded)
        .map(|_| if shape.extremes { numbers.of(&[i32::MIN, i32::MAX, 0, -1]) } else { numbers.next() as i32 >> 12 })
        .collect();
    let scale = 1.0 / (100.0 * (taps.len() * shape.depth) as f32).max(1.0);
    let multiplier: Vec<f32> = (0..padded)
        .map(|_| if shape.extremes { numbers.of(&[1e30, -1e30, 1.0, 1e-9]) } else { numbers.real() * scale })
        .collect();
    let ((target, length), (map_layout, map_length), (residual_layout, residual_length)) =
        (shape.layout(3), shape.layout(0), shape.layout(1));
    let map: Vec<f32> = numbers.reals(map_length).iter().map(|value| value * 90.0).collect();
    let residual = numbers.bytes(residual_length, shape.extremes);
    let (mut y, mut y_f32) = (vec![UNTOUCHED; length], vec![f32::from(UNTOUCHED); length]);
    let calls = if row_by_row { shape.rows } else { 1 };
    for row in 0..calls {
        let window = Window { rows: shape.rows / calls, ..shape.window(&taps) };
        let output = match kind {
            Kind::U8 { zero_point, lowest } => {
                OutputU8::U8 { y: &mut y[row * target.row_stride..], zero_point, lowest }
            }
            Kind::F32 { relu } => OutputU8::F32 { y: &mut y_f32[row * target.row_stride..], relu },
        };
        run(&mut ConvU8 {
            window,
            x: &x[row * window.row_stride..],
            weights: &weights,
            out_channels: shape.out_channels,
            epilogue: EpilogueU8 {
                bias: &bias,
                multiplier: &multiplier,
                map: shape.map.then(|| Addend { values: &map[row * map_layout.row_stride..], layout: map_layout }),
                residual: shape
                    .residual
                    .then(|| Addend { values: &residual[row * residual_layout.row_stride..], layout: residual_layout }),
                residual_scale: -0.731,
                offset: 0.25,
            },
            target,
            output,
        });
    }
    match kind {
        Kind::U8 { .. } => y.into_iter().map(u32::from).collect(),
        Kind::F32 { .. } => y_f32.into_iter().map(f32::to_bits).collect(),
    }
}

/// As [`outputs_u8`].
fn outputs_f32(shape: Shape, relu: bool, row_by_row: bool, run: impl Fn(&mut ConvF32<'_>)) -> Vec<f32> {
    let mut numbers = Numbers(shape.seed);
    let taps = shape.taps();
    let x = numbers.reals(shape.input_length());
    let weights = numbers.reals(shape.weights());
    let bias = numbers.reals(blocks(shape.out_channels) * BLOCK);
    let ((target, length), (map_layout, map_length), (residual_layout, residual_length)) =
        (shape.layout(3), shape.layout(0), shape.layout(1));
    let (map, residual) = (numbers.reals(map_length), numbers.reals(residual_length));
    let mut y = vec![f32::from(UNTOUCHED); length];
    let calls = if row_by_row { shape.rows } else { 1 };
    for row in 0..calls {
        let window = Window { rows: shape.rows / calls, ..shape.window(&taps) };
        run(&mut ConvF32 {
            window,
            x: &x[row * window.row_stride..],
            weights: &weights,
            out_channels: shape.out_channels,
            bias: &bias,
            map: shape.map.then(|| Addend { values: &map[row * map_layout.row_stride..], layout: map_layout }),
            residual: shape
                .residual
                .then(|| Addend { values: &residual[row * residual_layout.row_stride..], layout: residual_layout }),
            relu,
            target,
            y: &mut y[row * target.row_stride..],
        });
    }
    y
}

fn arm_kernels() -> Vec<Kernels> {
    Kernels::available().into_iter().filter(|kernels| kernels.isa() != Isa::Generic).collect()
}

#[test]
fn plain_neon_is_always_there() {
    assert!(arm_kernels().iter().any(|kernels| kernels.isa() == Isa::Neon));
}

#[test]
fn int8_outputs_are_those_of_the_plain_kernel_to_the_bit() {
    for shape in shapes() {
        for kind in KINDS {
            let expected = outputs_u8(shape, kind, false, generic::conv_u8);
            for kernels in arm_kernels() {
                let outputs = outputs_u8(shape, kind, false, |conv| kernels.conv_u8(conv));
                assert_eq!(outputs, expected, "{} {kind:?} {shape:?}", kernels.isa());
                let outputs = outputs_u8(shape, kind, true, |conv| kernels.conv_u8(conv));
                assert_eq!(outputs, expected, "row by row: {} {kind:?} {shape:?}", kernels.isa());
            }
        }
    }
}

/// The sums that come nearest to what the registers hold between the steps: every pixel 0 or 255, every weight -128.
#[test]
fn the_largest_products_do_not_overflow() {
    let (depth, pixels) = (64, 7);
    for x in [0u8, 127, 128, 255] {
        for weight in [-128i8, -127, 127] {
            for kernels in arm_kernels() {
                let mut y = vec![0.0; pixels * BLOCK];
                kernels.conv_u8(&mut ConvU8 {
                    window: Window { rows: 1, columns: pixels, row_stride: 0, column_stride: depth, taps: &[0], depth },
                    x: &vec![x; pixels * depth],
                    weights: &vec![weight; depth * BLOCK],
                    out_channels: BLOCK,
                    epilogue: EpilogueU8 {
                        bias: &[0; BLOCK],
                        multiplier: &[1.0; BLOCK],
                        map: None,
                        residual: None,
                        residual_scale: 0.0,
                        offset: 0.0,
                    },
                    target: Target { row_stride: 0, column_stride: BLOCK },
                    output: OutputU8::F32 { y: &mut y, relu: false },
                });
                let expected = f32::from(x) * f32::from(weight) * depth as f32;
                assert!(y.iter().all(|value| *value == expected), "{}: {x} times {weight}", kernels.isa());
            }
        }
    }
}

#[test]
fn f32_outputs_are_those_of_the_plain_kernel_but_for_rounding() {
    for even in shapes() {
        for shape in [even, Shape { depth: even.depth - even.seed as usize % 4, ..even }] {
            let relu = shape.seed % 2 == 0;
            let expected = outputs_f32(shape, relu, false, generic::conv_f32);
            // Products lie in -1..1, so sums grow no larger than their number.
            let tolerance = 1e-6 * (shape.side * shape.side * shape.depth + 3) as f32;
            for kernels in arm_kernels() {
                let outputs = outputs_f32(shape, relu, false, |conv| kernels.conv_f32(conv));
                let agree = |(output, expected): (&f32, &f32)| (output - expected).abs() <= tolerance;
                assert!(outputs.iter().zip(&expected).all(agree), "{} {shape:?}", kernels.isa());
                let cut = outputs_f32(shape, relu, true, |conv| kernels.conv_f32(conv));
                assert!(cut == outputs, "outputs depend on how rows are cut into calls: {} {shape:?}", kernels.isa());
            }
        }
    }
}
