//! A split in memory.

use super::{DataError, Picture, Sample, prepare};
use causalclipseg::frame::{Fit, Region, fitted_region};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Samples with their pictures at the network's input size.
#[derive(Clone, Debug)]
pub struct Dataset {
    size: usize,
    fit: Fit,
    detail: usize,
    /// The structures that samples name, each once.
    structures: Vec<String>,
    samples: Vec<Sample>,
    pictures: Vec<Picture>,
}

impl Dataset {
    /// Decodes every sample, stretched to `size` x `size` pixels, on as many threads as there are cores. `on_prepared` is called
    /// once for each, from those threads.
    ///
    /// # Errors
    /// The error of the first sample, in their order, that cannot be prepared.
    pub fn prepare(samples: Vec<Sample>, size: usize, on_prepared: impl Fn() + Sync) -> Result<Self, DataError> {
        Self::prepare_detailed(samples, size, &Fit::Stretch, 1, on_prepared)
    }

    /// As [`Self::prepare`], fitted to the input in any way, with pictures of `detail` times the network's size, from which smaller windows can be
    /// taken that are as sharp as complete pictures.
    ///
    /// # Errors
    /// The error of the first sample, in their order, that cannot be prepared.
    pub fn prepare_detailed(
        samples: Vec<Sample>,
        size: usize,
        fit: &Fit,
        detail: usize,
        on_prepared: impl Fn() + Sync,
    ) -> Result<Self, DataError> {
        let detail = detail.max(1);
        let stored = size.saturating_mul(detail);
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(samples.len().max(1));
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            while let Some((index, sample)) = take(&samples, &next) {
                done.push((index, prepare(sample, stored, fit)));
                on_prepared();
            }
            done
        };
        let mut prepared: Vec<(usize, Result<Picture, DataError>)> = std::thread::scope(|scope| {
            let workers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut all = work();
            all.extend(workers.into_iter().filter_map(|worker| worker.join().ok()).flatten());
            all
        });
        prepared.sort_by_key(|(index, _)| *index);
        let pictures = prepared.into_iter().map(|(_, picture)| picture).collect::<Result<Vec<_>, _>>()?;
        let structures: BTreeSet<String> = samples.iter().filter_map(|sample| sample.structure.clone()).collect();
        Ok(Self { size, fit: *fit, detail, structures: structures.into_iter().collect(), samples, pictures })
    }

    pub fn len(&self) -> usize {
        self.samples.len()
    }

    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The network's width and height in pixels.
    pub fn size(&self) -> usize {
        self.size
    }

    /// How pictures fill the network's input.
    pub fn fit(&self) -> &Fit {
        &self.fit
    }

    /// The width and height of stored pictures with the proportions of an image of this size, at least one pixel a side.
    pub(super) fn stored_size(&self, (width, height): (usize, usize)) -> (usize, usize) {
        let fitted = fitted_region(&self.fit, Region::whole(width, height), self.size);
        (fitted.width * self.detail, fitted.height * self.detail)
    }

    /// The number of pixels of a stored picture, along each side, per pixel of the network's.
    pub fn detail(&self) -> usize {
        self.detail
    }

    /// The structures that samples show instead of lesions, each once.
    pub fn structures(&self) -> &[String] {
        &self.structures
    }

    pub fn get(&self, index: usize) -> Option<(&Sample, &Picture)> {
        Some((self.samples.get(index)?, self.pictures.get(index)?))
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Sample, &Picture)> {
        self.samples.iter().zip(&self.pictures)
    }

    /// Every index once, in an order that depends on seed and epoch.
    pub fn order(&self, seed: u64, epoch: usize) -> Vec<usize> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(epoch as u64);
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.shuffle(&mut rng);
        order
    }
}

fn take<'a>(samples: &'a [Sample], next: &AtomicUsize) -> Option<(usize, &'a Sample)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    samples.get(index).map(|sample| (index, sample))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::MaskRule;
    use image::{GrayImage, Luma};

    fn samples(directory: &std::path::Path) -> Vec<Sample> {
        let save = |index: u8| {
            let path = directory.join(format!("{index}.png"));
            GrayImage::from_pixel(9, 7, Luma([index * 10])).save(&path).unwrap();
            Sample::new(index.to_string(), path, MaskRule::AboveHalf)
        };
        (0..20).map(save).collect()
    }

    #[test]
    fn pictures_stand_in_their_samples_order() {
        let directory = tempfile::tempdir().unwrap();
        let count = AtomicUsize::new(0);
        let dataset = Dataset::prepare(samples(directory.path()), 8, || {
            count.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
        assert_eq!((dataset.len(), count.into_inner()), (20, 20));
        for (index, (_, picture)) in dataset.iter().enumerate() {
            assert_eq!(picture.pixels[0], index as u8 * 10);
        }
        assert!(dataset.get(20).is_none());
    }

    #[test]
    fn order_follows_seed_and_epoch() {
        let directory = tempfile::tempdir().unwrap();
        let dataset = Dataset::prepare(samples(directory.path()), 8, || ()).unwrap();
        let order = dataset.order(3, 1);
        assert_eq!(order, dataset.order(3, 1));
        assert_ne!(order, dataset.order(3, 2));
        assert_ne!(order, dataset.order(4, 1));
        let mut sorted = order;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn the_first_broken_sample_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let mut samples = samples(directory.path());
        for index in [5, 11] {
            std::fs::write(&samples[index].image, "text").unwrap();
        }
        let error = Dataset::prepare(samples.clone(), 8, || ()).unwrap_err().to_string();
        assert!(error.contains("5.png"), "{error}");
        samples.truncate(0);
        assert!(Dataset::prepare(samples, 8, || ()).unwrap().is_empty());
    }
}
