//! Checks that no kernel reads or writes beyond its slices: each ends where the accessible memory ends, so that one
//! byte more is a SIGBUS.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use memmap2::{MmapMut, MmapOptions};

use super::*;

/// Numbers that end where a mapped file ends. The mapping continues for a page, but touching a page behind the end of
/// its file is an error.
struct Guarded<T> {
    map: MmapMut,
    start: usize,
    len: usize,
    element: PhantomData<T>,
}

const PAGE: usize = 4096;

impl<T: Copy> Guarded<T> {
    fn new(values: &[T]) -> Self {
        let file = tempfile::tempfile().unwrap();
        let bytes = size_of_val(values).next_multiple_of(PAGE).max(PAGE);
        file.set_len(bytes as u64).unwrap();
        // SAFETY: nothing else uses the file, and the slices below stay within it.
        let map = unsafe { MmapOptions::new().len(bytes + PAGE).map_copy(&file) }.unwrap();
        let start = bytes - size_of_val(values);
        let mut guarded = Self { map, start, len: values.len(), element: PhantomData };
        guarded.copy_from_slice(values);
        guarded
    }

    /// Whether the memory in front of the numbers is unchanged.
    fn front_is_untouched(&self) -> bool {
        self.map[..self.start].iter().all(|byte| *byte == 0)
    }
}

impl<T: Copy> Deref for Guarded<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the numbers are within the file, at a multiple of their size, and any bits are a valid number.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(self.start).cast(), self.len) }
    }
}

impl<T: Copy> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr().add(self.start).cast(), self.len) }
    }
}

/// A few shapes, since each needs some ten mappings; all kinds of tails are among them.
fn tails() -> Vec<Shape> {
    let mut shapes = vec![];
    for out_channels in [1, 8, 15, 16, 17, 31, 32, 33, 48] {
        for columns in [1, 2, 13, 15] {
            for kernel in [1, 3] {
                let output = [Output::U8 { zero_point: 9, lowest: 0 }, Output::F32 { relu: true }][columns % 2];
                let (map, residual) = (kernel == 1, columns < 14);
                shapes.push(Shape { out_channels, columns, kernel, output, map, residual, depth: 4, ..PLAIN });
            }
        }
    }
    shapes
}

#[test]
fn int8_stays_within_its_slices() {
    let mut random = Random(5);
    for shape in tails() {
        let numbers = shape.numbers_u8(&mut random);
        let (x, weights) = (Guarded::new(&numbers.x), Guarded::new(&numbers.weights));
        let (bias, multiplier) = (Guarded::new(&numbers.bias), Guarded::new(&numbers.multiplier));
        let (map, residual) = (Guarded::new(&numbers.map), Guarded::new(&numbers.residual));
        let run_guarded = |output: OutputU8<'_>, run: &dyn Fn(&mut ConvU8<'_>)| {
            let mut conv = shape.conv_u8(&numbers, output);
            (conv.x, conv.weights) = (&x, &weights);
            (conv.epilogue.bias, conv.epilogue.multiplier) = (&bias, &multiplier);
            if let Some(addend) = &mut conv.epilogue.map {
                addend.values = &map;
            }
            if let Some(addend) = &mut conv.epilogue.residual {
                addend.values = &residual;
            }
            run(&mut conv);
        };
        for (name, run) in runs_u8() {
            let untouched = match shape.output {
                Output::U8 { zero_point, lowest } => {
                    let mut y = Guarded::new(&vec![0u8; numbers.y_len]);
                    run_guarded(OutputU8::U8 { y: &mut y, zero_point, lowest }, &run);
                    y.front_is_untouched()
                }
                Output::F32 { relu } => {
                    let mut y = Guarded::new(&vec![0f32; numbers.y_len]);
                    run_guarded(OutputU8::F32 { y: &mut y, relu }, &run);
                    y.front_is_untouched()
                }
            };
            assert!(untouched, "{name}, {shape:?}");
        }
    }
}

#[test]
fn f32_stays_within_its_slices() {
    let mut random = Random(6);
    for shape in tails() {
        let numbers = shape.numbers_f32(&mut random);
        let (x, weights, bias) =
            (Guarded::new(&numbers.x), Guarded::new(&numbers.weights), Guarded::new(&numbers.bias));
        let (map, residual) = (Guarded::new(&numbers.map), Guarded::new(&numbers.residual));
        for kernels in Kernels::available() {
            let mut y = Guarded::new(&vec![0f32; numbers.y_len]);
            let mut conv = shape.conv_f32(&numbers, &mut y);
            (conv.x, conv.weights, conv.bias) = (&x, &weights, &bias);
            for (addend, values) in [(&mut conv.map, &map), (&mut conv.residual, &residual)] {
                if let Some(addend) = addend {
                    addend.values = values;
                }
            }
            kernels.conv_f32(&mut conv);
            assert!(y.front_is_untouched(), "{}, {shape:?}", kernels.isa());
        }
    }
}
