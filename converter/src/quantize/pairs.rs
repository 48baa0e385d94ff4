//! Chooses the layers whose neighbouring weights are limited to what AVX2's 16-bit sums hold.

use super::weights::{Integers, WeightBits, quantise_weights};
use super::{QuantiseError, Wide, Work};
use causalclipseg::graph::{ScaleZeroPoint, Weights};
use std::collections::BTreeSet;

/// The share by which limits may increase the logits' error, which has that of rounded activations too.
const TOLERANCE: f64 = 0.02;

/// Whether neighbouring weights are limited ([`WeightBits::EightInPairs`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum PairLimit {
    /// In all layers but those that would lose accuracy, which is measured
    #[default]
    Auto,
    /// In all layers
    Always,
    /// In no layer
    Never,
}

impl Work<'_> {
    /// Gives layers their full range back, those that lose most by limits first, until the logits' error is within
    /// [`TOLERANCE`] of that without limits. Yields the names of these layers' weights.
    pub(super) fn release_pairs(
        &mut self,
        quantisations: &[Option<ScaleZeroPoint>],
    ) -> Result<BTreeSet<String>, QuantiseError> {
        let limited = self.integers.clone();
        let full = quantise_weights(&self.graph, &self.weights, WeightBits::Eight);
        let order = by_loss(&self.weights, &limited, &full);
        let mixed = |released: usize| -> Integers {
            let mut integers = limited.clone();
            integers.extend(order[..released].iter().filter_map(|name| Some((name.clone(), full.get(name)?.clone()))));
            integers
        };
        let mut error = |released: usize, name: &str| -> Result<f64, QuantiseError> {
            self.integers = mixed(released);
            let network = self.network(quantisations, &Wide::default());
            Ok(self.try_out(name, &network)?.relative_error)
        };
        let most = (1.0 + TOLERANCE) * error(order.len(), "no pair of weights limited")?;
        // The least number that is enough, if more never loses.
        let (mut enough, mut tried) = (order.len(), 0);
        let mut too_few = None;
        while too_few.map_or(0, |count| count + 1) < enough {
            let name = format!("pairs of weights limited except in {tried} layers");
            if error(tried, &name)? <= most {
                enough = tried;
            } else {
                too_few = Some(tried);
            }
            let least = too_few.map_or(0, |count| count + 1);
            tried = least + (enough - least) / 2;
        }
        self.integers = mixed(enough);
        Ok(order[..enough].iter().cloned().collect())
    }
}

/// The weights that limits change, those first whose rounding error grows most beside their size.
fn by_loss(weights: &Weights, limited: &Integers, full: &Integers) -> Vec<String> {
    let mut losses: Vec<(f64, &String)> = Vec::new();
    for (name, limited) in limited {
        let (Some(values), Some(full)) = (weights.get(name), full.get(name)) else { continue };
        if limited == full {
            continue;
        }
        let noise = |tensor: &super::QuantisedTensor| -> f64 {
            values.iter().zip(&tensor.dequantise()).map(|(value, found)| f64::from(value - found).powi(2)).sum()
        };
        let signal: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
        losses.push(((noise(limited) - noise(full)) / signal.max(f64::MIN_POSITIVE), name));
    }
    losses.sort_by(|a, b| b.0.total_cmp(&a.0));
    losses.into_iter().map(|(_, name)| name.clone()).collect()
}
