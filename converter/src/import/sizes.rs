//! Infers the network's sizes from its weights' shapes.

use super::ImportError;
use crate::model::{Architecture, Edition, ImageEncoder, Masks, TextEncoder};
use causalclipseg::graph::Weights;

const POSITIONS: &str = "backbone.visual.attnpool.positional_embedding";
const TEXT_POSITIONS: &str = "backbone.positional_embedding";

/// The weights that show the decoder's width, the most reliable first.
const DECODER_WIDTH: [&str; 3] = ["neck_ad.aggr.0.weight", "neck_ad.f4_proj4.0.weight", "proj.vis.1.0.weight"];

/// Sizes that the shapes do not show, from a caller or a checkpoint's metadata.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    pub decoder: Option<usize>,
    pub text_heads: Option<usize>,
}

/// Infers the sizes from the weights; [`Graph::check_weights`] then names the weights that do not fit.
///
/// [`Graph::check_weights`]: causalclipseg::graph::Graph::check_weights
pub(super) fn infer(weights: &Weights, known: Known) -> Result<Architecture, ImportError> {
    if weights.contains_key("backbone.visual.class_embedding") || weights.contains_key("backbone.visual.proj") {
        return Err(ImportError::VisionTransformer);
    }
    let image = ImageEncoder {
        layers: std::array::from_fn(|stage| blocks(weights, &format!("backbone.visual.layer{}.", stage + 1))),
        width: dimension(weights, "backbone.visual.conv3.weight", 4, 0)?,
    };
    let text_width = dimension(weights, TEXT_POSITIONS, 2, 1)?;
    let text = TextEncoder {
        vocabulary: dimension(weights, "backbone.token_embedding.weight", 2, 0)?,
        context: dimension(weights, TEXT_POSITIONS, 2, 0)?,
        width: text_width,
        layers: blocks(weights, "backbone.transformer.resblocks."),
        // CLIP's heads are 64 wide, in every one of its models.
        heads: known.text_heads.unwrap_or((text_width / 64).max(1)),
    };
    let embed = dimension(weights, "backbone.text_projection", 2, 1)?;
    let input_size = input_size(weights)?;
    let edition = edition(&image, embed, input_size);
    let from_neck = DECODER_WIDTH.iter().find_map(|name| weights.get(*name)?.shape().first().copied());
    let decoder = known.decoder.or(from_neck).unwrap_or_else(|| default_decoder(edition, &image));
    let architecture = Architecture { edition, input_size, image, text, embed, decoder, masks: Masks::Learned };
    architecture.validate()?;
    Ok(architecture)
}

fn edition(image: &ImageEncoder, embed: usize, input_size: usize) -> Edition {
    let is = |edition: &Edition| {
        let published = Architecture::of(*edition, input_size);
        published.image == *image && published.embed == embed
    };
    [Edition::Rn101, Edition::Rn50, Edition::Small].into_iter().find(is).unwrap_or(Edition::Tiny)
}

/// The edition's width; CLIP's larger ResNets, which have no edition, get the paper's.
fn default_decoder(edition: Edition, image: &ImageEncoder) -> usize {
    let published = Architecture::of(Edition::Rn101, 224);
    let edition = Architecture::of(edition, 224);
    if image.width >= published.image.width { published.decoder } else { edition.decoder }
}

/// One more than the highest number that follows `prefix`.
fn blocks(weights: &Weights, prefix: &str) -> usize {
    let after = weights.range(prefix.to_string()..).map(|(name, _)| name).take_while(|name| name.starts_with(prefix));
    let numbers = after.filter_map(|name| name[prefix.len()..].split('.').next()?.parse::<usize>().ok());
    numbers.max().map_or(0, |last| last.saturating_add(1))
}

fn dimension(weights: &Weights, name: &'static str, rank: usize, axis: usize) -> Result<usize, ImportError> {
    let shape = weights.get(name).ok_or(ImportError::NoClip { missing: name })?.shape();
    match shape.get(axis) {
        Some(size) if shape.len() == rank => Ok(*size),
        _ => Err(ImportError::Rank { name, shape: shape.to_vec(), rank }),
    }
}

/// The attention pool has one position for every 32 x 32 pixels, and one more for the class token.
fn input_size(weights: &Weights) -> Result<usize, ImportError> {
    let rows = dimension(weights, POSITIONS, 2, 0)?;
    let grid = rows.saturating_sub(1).isqrt();
    if grid == 0 || grid * grid + 1 != rows {
        return Err(ImportError::Positions { rows });
    }
    Ok(grid.saturating_mul(32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::ArrayD;

    /// Zeros need no memory until they are touched, so complete editions are cheap here.
    fn zeros(architecture: &Architecture) -> Weights {
        let parameters = architecture.describe().unwrap().parameters();
        parameters.into_iter().map(|p| (p.name, ArrayD::zeros(p.shape))).collect()
    }

    #[test]
    fn every_edition_is_known_by_its_shapes() {
        for edition in Edition::ALL {
            let expected = Architecture::of(edition, 224);
            let mut weights = zeros(&expected);
            // Ours have narrower heads than CLIP, which their metadata state.
            let is_ours = matches!(edition, Edition::Small | Edition::Tiny);
            let known = Known { decoder: None, text_heads: is_ours.then_some(2) };
            assert_eq!(infer(&weights, known).unwrap(), expected);
            weights.retain(|name, _| name.starts_with("backbone."));
            assert_eq!(infer(&weights, known).unwrap(), expected, "CLIP alone");
        }
    }

    #[test]
    fn the_decoder_is_as_wide_as_the_neck_says() {
        let mut narrow = Architecture::of(Edition::Rn50, 96);
        narrow.decoder = 128;
        let found = infer(&zeros(&narrow), Known::default()).unwrap();
        assert_eq!(found, narrow);
        assert_eq!(found.edition, Edition::Rn50);
    }
}
