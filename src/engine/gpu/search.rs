//! The choice of each product's tile by measuring: a short search on the device itself, in the order of the steps, so
//! that each product is measured on the maps of a real frame. Tiles that compute in f16 count only if their results
//! agree with those in f32.

use super::error::GpuError;
use super::plan::{Binding, Dispatch, Work};
use super::product::Product;
use super::program::{Program, Ready, Shapes, shape_binding};
use super::read_back::{failed, map};
use super::shader::{Pipelines, Storage};
use super::stopwatch::Stopwatch;
use super::tile::{Abilities, Arithmetic, Tile};
use super::tile_file::TileChoices;
use std::time::Instant;
use wgpu::BufferUsages;

/// How often a tile runs for one measurement, and how many measurements are made: the shortest counts.
const RUNS: usize = 8;
const MEASUREMENTS: usize = 2;
/// A tile whose first run takes this much longer than the fastest one's is not measured again.
const HOPELESS: f64 = 2.5;
/// The largest difference between results in f16 and in f32, as a share of the largest result: eight times the rounding
/// of a result to f16, which both have.
const LARGEST_DIFFERENCE: f32 = 1.0 / 256.0;

/// Chooses a tile for each product that has none yet, and which pairs of products run in one dispatch. Where a driver
/// does not compile the shaders for its matrix units, or for f16, those without are measured.
pub(super) fn search(
    program: &mut Program,
    pipelines: &mut Pipelines,
    abilities: Abilities,
    choices: &mut TileChoices,
) -> Result<(), GpuError> {
    let without_matrix = Abilities { matrix: false, ..abilities };
    let without_f16 = Abilities { f16: false, ..without_matrix };
    let mut less = vec![without_f16, without_matrix, abilities];
    less.dedup();
    while let Some(abilities) = less.pop() {
        let Some(search) = Search::new(program, abilities, choices)? else { return Ok(()) };
        match search.run(pipelines, choices) {
            Err(error @ GpuError::Driver { .. }) if !less.is_empty() => log::info!("fewer tiles are tried: {error}"),
            other => return other,
        }
    }
    Ok(())
}

struct Search<'p> {
    program: &'p Program,
    abilities: Abilities,
    stopwatch: Stopwatch<'p>,
    partials: wgpu::Buffer,
    storage: Storage,
    /// The products that have no tile yet.
    unknown: Vec<&'p Product>,
    /// The first jobs of the pairs that were not compared yet.
    pairs: Vec<usize>,
}

impl<'p> Search<'p> {
    /// `None` where nothing is left to measure, as each time but the first that a model is opened on a device.
    fn new(program: &'p Program, abilities: Abilities, choices: &TileChoices) -> Result<Option<Self>, GpuError> {
        let Program { plan, gpu, .. } = program;
        let storage = plan.storage;
        let products: Vec<&Product> = plan.jobs.iter().filter_map(|job| job.work.product()).collect();
        let is_unknown = |product: &&Product| choices.get(product, storage, abilities).is_none();
        let unknown: Vec<&Product> = products.iter().copied().filter(is_unknown).collect();
        let is_undecided = |first: &usize| {
            plan.pair(*first).is_some_and(|[a, b]| abilities.allows_pair(a) && choices.pair(a, b, storage).is_none())
        };
        let pairs: Vec<usize> = plan.pairs.iter().copied().filter(is_undecided).collect();
        if unknown.is_empty() && pairs.is_empty() {
            return Ok(None);
        }
        // All products run, those with a known tile too.
        let bytes = products.iter().flat_map(|product| {
            let tiles = Tile::candidates(product.size(), abilities);
            tiles.into_iter().map(|tile| product.partial_bytes(tile))
        });
        let partials = program.partials(bytes.max().unwrap_or(0))?;
        Ok(Some(Self { program, abilities, stopwatch: Stopwatch::new(gpu)?, partials, storage, unknown, pairs }))
    }

    fn run(&self, pipelines: &mut Pipelines, choices: &mut TileChoices) -> Result<(), GpuError> {
        let (plan, pairs) = (&self.program.plan, &self.pairs);
        let begun = Instant::now();
        let tried = |product: &&Product| {
            let tiles = Tile::candidates(product.size(), self.abilities);
            tiles.into_iter().flat_map(|tile| product.dispatches(tile)).collect::<Vec<_>>()
        };
        let joined = pairs.iter().filter_map(|first| plan.pair(*first)).map(|[a, b]| a.pair(b));
        let dispatches: Vec<Dispatch> = self.unknown.iter().flat_map(tried).chain(joined).collect();
        pipelines.prepare(dispatches.iter().map(|dispatch| &dispatch.variant))?;
        self.program.gpu.guarded("upload a frame", || {
            let pixels = test_frame(plan.image_floats);
            self.program.gpu.queue.write_buffer(&self.program.image, 0, bytemuck::cast_slice(&pixels));
            Ok(())
        })?;
        for (index, job) in plan.jobs.iter().enumerate() {
            // Each step runs, since its result is the next one's input.
            match &job.work {
                Work::Tail(_) => {}
                Work::Dispatch(dispatch) => {
                    self.stopwatch.run(&self.ready(std::slice::from_ref(dispatch), pipelines)?, 1)?;
                }
                Work::Product(product, guess) => {
                    if choices.get(product, self.storage, self.abilities).is_none() {
                        let tile = self.fastest(product, pipelines, *guess)?;
                        log::debug!("{}: {tile:?}", product.key());
                        choices.set(product, self.storage, tile);
                    }
                    let tile = choices.get(product, self.storage, self.abilities).unwrap_or(*guess);
                    self.stopwatch.run(&self.ready(&product.dispatches(tile), pipelines)?, 1)?;
                }
            }
            let first = index.checked_sub(1).filter(|first| pairs.contains(first));
            if let Some([a, b]) = first.and_then(|first| plan.pair(first)) {
                let is_pair = self.is_faster_together(a, b, pipelines, choices)?;
                choices.set_pair(a, b, self.storage, is_pair);
            }
        }
        let (products, seconds) = (self.unknown.len(), begun.elapsed().as_secs_f64());
        log::info!("tiles of {products} products and {} pairs were measured in {seconds:.1} s", pairs.len());
        Ok(())
    }

    /// Compares two products, which have both run, with one dispatch that does both.
    fn is_faster_together(
        &self,
        first: &Product,
        second: &Product,
        pipelines: &mut Pipelines,
        choices: &TileChoices,
    ) -> Result<bool, GpuError> {
        let tile = |product: &Product| {
            let chosen = choices.get(product, self.storage, self.abilities);
            chosen.unwrap_or_else(|| Tile::guess(product.size(), self.abilities))
        };
        let apart = [first.dispatches(tile(first)), second.dispatches(tile(second))].concat();
        let expected = self.result(second, &apart, pipelines)?;
        let together = [first.pair(second)];
        let Some(apart_seconds) = self.seconds(&apart, pipelines, f64::INFINITY)? else { return Ok(false) };
        let Some(together_seconds) = self.seconds(&together, pipelines, HOPELESS * apart_seconds)? else {
            return Ok(false);
        };
        let agrees = agrees(&self.result(second, &together, pipelines)?, &expected);
        log::debug!("{} and the next: {together_seconds:.2e} s for {apart_seconds:.2e} s", first.key());
        Ok(agrees && together_seconds < apart_seconds)
    }

    fn ready(&self, dispatches: &[Dispatch], pipelines: &mut Pipelines) -> Result<Vec<Ready>, GpuError> {
        let mut shapes = Shapes::default();
        let offsets: Vec<u64> = dispatches.iter().map(|dispatch| shapes.add(&dispatch.shape)).collect();
        let gpu = &self.program.gpu;
        let shapes = gpu.guarded("allocate memory", || shapes.upload(gpu))?;
        let bind =
            |(dispatch, offset)| self.program.bind(dispatch, pipelines, shape_binding(&shapes, offset), &self.partials);
        dispatches.iter().zip(offsets).map(bind).collect()
    }

    /// The fastest of the tiles whose results are right; `guess` is right by definition.
    fn fastest(&self, product: &Product, pipelines: &mut Pipelines, guess: Tile) -> Result<Tile, GpuError> {
        let mut times = Vec::new();
        let mut shortest = f64::INFINITY;
        for tile in Tile::candidates(product.size(), self.abilities) {
            if let Some(seconds) = self.seconds(&product.dispatches(tile), pipelines, HOPELESS * shortest)? {
                shortest = shortest.min(seconds);
                times.push((seconds, tile));
            }
        }
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        let expected = self.result(product, &product.dispatches(guess), pipelines)?;
        for (_, tile) in times {
            if tile.arithmetic == Arithmetic::F32
                || agrees(&self.result(product, &product.dispatches(tile), pipelines)?, &expected)
            {
                return Ok(tile);
            }
            log::debug!("{}: {tile:?} differs from f32 and is not used", product.key());
        }
        Ok(guess)
    }

    /// The seconds of a run of dispatches, the shortest of some; `None` where the first takes longer than `most`.
    fn seconds(&self, dispatches: &[Dispatch], pipelines: &mut Pipelines, most: f64) -> Result<Option<f64>, GpuError> {
        let ready = self.ready(dispatches, pipelines)?;
        // Some drivers finish a shader when it runs first.
        self.stopwatch.run(&ready, 1)?;
        if self.stopwatch.run(&ready, 1)? > most {
            return Ok(None);
        }
        let mut shortest = f64::INFINITY;
        for _ in 0..MEASUREMENTS {
            shortest = shortest.min(self.stopwatch.run(&ready, RUNS)? / RUNS as f64);
        }
        Ok(Some(shortest))
    }

    /// What dispatches leave in a product's output.
    fn result(
        &self,
        product: &Product,
        dispatches: &[Dispatch],
        pipelines: &mut Pipelines,
    ) -> Result<Vec<f32>, GpuError> {
        let ready = self.ready(dispatches, pipelines)?;
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
            let view = read_back.get_mapped_range(..bytes).map_err(|error| failed(&error.to_string()))?;
            Ok(storage.decode(&view))
        })
    }
}

/// Three planes that vary from place to place, from -1 to 1.
fn test_frame(floats: usize) -> Vec<f32> {
    (0..floats).map(|index| (index as f32 * 0.37).sin() * (index as f32 * 0.0021).cos()).collect()
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
