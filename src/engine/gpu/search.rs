//! The choice of each product's tile by measuring: a short search on the device itself, in the order of the steps, so
//! that each product is measured on the maps of a real frame. Tiles that compute in f16 count only if their results
//! agree with those in f32.

use super::error::GpuError;
use super::frame::map;
use super::plan::{Binding, Work};
use super::product::Product;
use super::program::{Program, Ready, Shapes, shape_binding};
use super::shader::{Pipelines, Storage};
use super::stopwatch::Stopwatch;
use super::tile::{Abilities, Arithmetic, Tile};
use super::tile_file::TileChoices;
use half::f16;
use std::time::Instant;
use wgpu::BufferUsages;

/// How often a tile runs for one measurement, and how many measurements are made: the shortest counts.
const RUNS: usize = 8;
const MEASUREMENTS: usize = 3;
/// The largest difference between results in f16 and in f32, as a share of the largest result: eight times the rounding
/// of a result to f16, which both have.
const LARGEST_DIFFERENCE: f32 = 1.0 / 256.0;

/// Chooses a tile for each product that has none yet.
pub(super) fn search(
    program: &mut Program,
    pipelines: &mut Pipelines,
    abilities: Abilities,
    choices: &mut TileChoices,
) -> Result<(), GpuError> {
    let storage = program.plan.storage;
    let is_known = |product: &Product, choices: &TileChoices| choices.get(product, storage, abilities).is_some();
    let products = program.plan.jobs.iter().filter_map(|job| match &job.work {
        Work::Product(product, _) => Some(product),
        Work::Dispatch(_) | Work::Tail(_) => None,
    });
    let unknown: Vec<Product> = products.filter(|product| !is_known(product, choices)).cloned().collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let begun = Instant::now();
    let tried = |product: &Product| Tile::candidates(product.size(), abilities);
    let bytes = unknown.iter().flat_map(|product| tried(product).into_iter().map(|tile| product.partial_bytes(tile)));
    let partials = program.partials(bytes.max().unwrap_or(0))?;
    let dispatches = unknown.iter().flat_map(|product| tried(product).into_iter().map(|tile| product.dispatches(tile)));
    let variants: Vec<_> = dispatches.flatten().map(|dispatch| dispatch.variant).collect();
    pipelines.prepare(variants.iter())?;
    program.gpu.guarded("upload a frame", || {
        let pixels = test_frame(program.plan.image_floats);
        program.gpu.queue.write_buffer(&program.image, 0, bytemuck::cast_slice(&pixels));
        Ok(())
    })?;
    let gpu = program.gpu.clone();
    let trial = Trial { program, stopwatch: Stopwatch::new(&gpu)?, partials, storage };
    let mut measured = 0;
    for job in &trial.program.plan.jobs {
        match &job.work {
            Work::Tail(_) => {}
            // Its result is the next step's input.
            Work::Dispatch(dispatch) => {
                trial.stopwatch.run(&trial.ready(std::slice::from_ref(dispatch), pipelines)?, 1)?;
            }
            Work::Product(product, guess) => {
                let tile = match choices.get(product, storage, abilities) {
                    Some(tile) => tile,
                    None => {
                        let tile = trial.fastest(product, pipelines, *guess, &tried(product))?;
                        log::debug!("{}: {tile:?}", product.key());
                        choices.set(product, storage, tile);
                        measured += 1;
                        tile
                    }
                };
                trial.stopwatch.run(&trial.ready(&product.dispatches(tile), pipelines)?, 1)?;
            }
        }
    }
    log::info!("the tiles of {measured} products were measured in {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// Three planes that vary from place to place, from -1 to 1.
fn test_frame(floats: usize) -> Vec<f32> {
    (0..floats).map(|index| (index as f32 * 0.37).sin() * (index as f32 * 0.0021).cos()).collect()
}

struct Trial<'p, 'g> {
    program: &'p Program,
    stopwatch: Stopwatch<'g>,
    partials: wgpu::Buffer,
    storage: Storage,
}

impl Trial<'_, '_> {
    fn ready(&self, dispatches: &[super::plan::Dispatch], pipelines: &mut Pipelines) -> Result<Vec<Ready>, GpuError> {
        let mut shapes = Shapes::default();
        let offsets: Vec<u64> = dispatches.iter().map(|dispatch| shapes.add(&dispatch.shape)).collect();
        let gpu = &self.program.gpu;
        let shapes = gpu.guarded("allocate memory", || shapes.upload(gpu))?;
        let bind =
            |(dispatch, offset)| self.program.bind(dispatch, pipelines, shape_binding(&shapes, offset), &self.partials);
        dispatches.iter().zip(offsets).map(bind).collect()
    }

    /// The fastest of the tiles whose results are right; `guess` is right by definition.
    fn fastest(
        &self,
        product: &Product,
        pipelines: &mut Pipelines,
        guess: Tile,
        tiles: &[Tile],
    ) -> Result<Tile, GpuError> {
        let mut times = Vec::with_capacity(tiles.len());
        for tile in tiles {
            let ready = self.ready(&product.dispatches(*tile), pipelines)?;
            self.stopwatch.run(&ready, 1)?;
            let mut shortest = f64::INFINITY;
            for _ in 0..MEASUREMENTS {
                shortest = shortest.min(self.stopwatch.run(&ready, RUNS)?);
            }
            times.push((shortest, *tile));
        }
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        let expected = self.result(product, pipelines, guess)?;
        for (_, tile) in times {
            if tile.arithmetic == Arithmetic::F32 || agrees(&self.result(product, pipelines, tile)?, &expected) {
                return Ok(tile);
            }
            log::debug!("{}: {tile:?} differs from f32 and is not used", product.key());
        }
        Ok(guess)
    }

    /// What a tile leaves in the product's output.
    fn result(&self, product: &Product, pipelines: &mut Pipelines, tile: Tile) -> Result<Vec<f32>, GpuError> {
        let ready = self.ready(&product.dispatches(tile), pipelines)?;
        let Self { program, storage, .. } = self;
        let Binding::Tensor(id) = product.y else { return Ok(Vec::new()) };
        let slot = program.plan.slots.of_tensor.get(id.0).copied().flatten().and_then(|slot| program.slots.get(slot));
        let Some(slot) = slot else { return Ok(Vec::new()) };
        let gpu = &program.gpu;
        let bytes = (product.pixels * product.y_quads) as u64 * storage.quad_bytes();
        gpu.guarded("compare tiles", || {
            let read_back = gpu.buffer("results", bytes, BufferUsages::MAP_READ | BufferUsages::COPY_DST)?;
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            let mut pass = encoder.begin_compute_pass(&Default::default());
            ready.iter().for_each(|ready| ready.record(&mut pass));
            drop(pass);
            encoder.copy_buffer_to_buffer(slot, 0, &read_back, 0, bytes);
            let submission = gpu.queue.submit([encoder.finish()]);
            let mapped = map(&read_back);
            gpu.wait(Some(submission))?;
            mapped.outcome()?;
            let view = read_back.get_mapped_range(..bytes).map_err(|error| GpuError::unread(&error))?;
            Ok(match storage {
                Storage::F32 => view.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
                Storage::F16 => view.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            })
        })
    }
}

fn agrees(found: &[f32], expected: &[f32]) -> bool {
    let largest = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
    let is_close = |(a, b): (&f32, &f32)| (a - b).abs() <= LARGEST_DIFFERENCE * largest;
    // A number that is not finite is close to none.
    found.len() == expected.len() && found.iter().zip(expected).all(is_close)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_agree_up_to_rounding() {
        assert!(agrees(&[1.0, 256.0], &[0.5, 256.5]));
        assert!(!agrees(&[1.0, 256.0], &[3.0, 256.0]));
        assert!(!agrees(&[f32::NAN, 1.0], &[1.0, 1.0]));
        assert!(!agrees(&[f32::INFINITY, 1.0], &[1.0, 1.0]));
        assert!(!agrees(&[1.0], &[1.0, 1.0]));
    }
}
