//! The tiles that were measured on a device, kept in a file beside its compiled shaders.

use super::context::GpuContext;
use super::product::Product;
use super::shader::{Shader, Storage};
use super::tile::{Abilities, Choose, Tile};
use crate::bundle::Sha256;
use causalclipseg_bundle::replace_file;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The size limit of a file: a larger one was not written by this program.
const MOST_BYTES: u64 = 4 << 20;

/// The content of a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TileChoices {
    /// The device, its driver and the shaders that were measured.
    measured_with: String,
    /// By [`Product::key`], after the number format of the maps.
    tiles: BTreeMap<String, Tile>,
    /// Whether two products run in one dispatch, by the keys of both.
    pairs: BTreeMap<String, bool>,
}

pub(super) struct TileFile {
    path: PathBuf,
    storage: Storage,
    loaded: TileChoices,
    choices: TileChoices,
}

impl TileFile {
    /// Opens the file of a device in a folder. What was measured with another driver or other shaders is dropped.
    /// `None` without a folder.
    pub(crate) fn load(gpu: &Arc<GpuContext>, storage: Storage, folder: Option<&Path>) -> Option<Self> {
        let path = folder?.join(format!("tiles-{}.json", file_name(&gpu.adapter.name)));
        let shaders: Vec<String> = Shader::PRODUCTS.iter().map(|shader| shader.source().to_string()).collect();
        let shaders = &Sha256::of(shaders.concat().as_bytes()).to_string()[..16];
        let measured_with = format!(
            "{} on {}, driver {}, shaders {shaders}",
            gpu.adapter.name, gpu.adapter.backend, gpu.adapter.driver
        );
        let loaded = read(&path).filter(|choices| choices.measured_with == measured_with);
        let loaded = loaded.unwrap_or(TileChoices { measured_with, tiles: BTreeMap::new(), pairs: BTreeMap::new() });
        Some(Self { path, storage, choices: loaded.clone(), loaded })
    }

    pub(crate) fn choices_mut(&mut self) -> &mut TileChoices {
        &mut self.choices
    }

    /// What was measured, and a guess for everything else.
    pub(crate) fn choose(&self, abilities: Abilities) -> impl Choose {
        Measured { choices: &self.choices, storage: self.storage, abilities }
    }

    /// Writes new choices. A failure is not an error: they are measured again.
    pub(crate) fn store(&self) {
        if self.choices == self.loaded {
            return;
        }
        if let Some(folder) = self.path.parent() {
            // A failure shows when the file is written.
            let _ = std::fs::create_dir_all(folder);
        }
        let text = serde_json::to_string_pretty(&self.choices).unwrap_or_default();
        if let Err(error) = replace_file(&self.path, |file| file.write_all(text.as_bytes())) {
            log::info!("measured tiles are not kept: {error}");
        }
    }
}

/// Choices for one device and number format.
pub(super) struct Measured<'c> {
    pub choices: &'c TileChoices,
    pub storage: Storage,
    pub abilities: Abilities,
}

impl Choose for Measured<'_> {
    fn tile(&self, product: &Product) -> Tile {
        self.choices.get(product, self.storage, self.abilities).unwrap_or_else(|| self.abilities.tile(product))
    }

    fn is_pair(&self, first: &Product, second: &Product) -> bool {
        let measured = self.choices.pair(first, second, self.storage);
        measured.unwrap_or_else(|| self.abilities.is_pair(first, second)) && self.abilities.allows_pair(first)
    }
}

impl TileChoices {
    pub(crate) fn pair(&self, first: &Product, second: &Product, storage: Storage) -> Option<bool> {
        self.pairs.get(&Self::pair_key(first, second, storage)).copied()
    }

    pub(crate) fn set_pair(&mut self, first: &Product, second: &Product, storage: Storage, is_pair: bool) {
        self.pairs.insert(Self::pair_key(first, second, storage), is_pair);
    }

    fn pair_key(first: &Product, second: &Product, storage: Storage) -> String {
        format!("{}; then {}", Self::key(first, storage), second.key())
    }

    fn key(product: &Product, storage: Storage) -> String {
        format!("{} {}", storage.name(), product.key())
    }

    /// A tile from the file counts only if it is among those that would be tried: the file may have been edited.
    pub(crate) fn get(&self, product: &Product, storage: Storage, abilities: Abilities) -> Option<Tile> {
        let tile = self.tiles.get(&Self::key(product, storage))?;
        Tile::candidates(product.size(), abilities).contains(tile).then_some(*tile)
    }

    pub(crate) fn set(&mut self, product: &Product, storage: Storage, tile: Tile) {
        self.tiles.insert(Self::key(product, storage), tile);
    }
}

/// A name of letters, digits and hyphens.
fn file_name(name: &str) -> String {
    name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' }).collect()
}

fn read(path: &Path) -> Option<TileChoices> {
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(MOST_BYTES).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::super::plan::Binding;
    use super::super::shader::WeightForm;
    use super::super::tile::Arithmetic;
    use super::*;

    fn product(channels: usize) -> Product {
        let any = Binding::Image;
        Product {
            in_height: 7,
            in_width: 7,
            in_quads: 128,
            out_width: 7,
            pixels: 49,
            out_quads: channels / 4,
            y_quads: channels / 4,
            y_first: 0,
            residual_quads: 0,
            kernel: 1,
            stride: 1,
            padding: 0,
            form: WeightForm::F16,
            has_map: false,
            has_residual: false,
            relu: true,
            x: any,
            weights: any,
            channels: any,
            y: any,
            map: any,
            residual: any,
        }
    }

    #[test]
    fn only_tiles_that_would_be_tried_are_taken_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiles.json");
        let abilities = Abilities { f16: true, busy_groups: 64, ..Abilities::UNKNOWN };
        let tile = Tile { pixels: 64, channels: 64, parts: 2, arithmetic: Arithmetic::F16 };
        let mut choices = TileChoices { measured_with: "here".into(), tiles: BTreeMap::new(), pairs: BTreeMap::new() };
        choices.set(&product(512), Storage::F16, tile);
        std::fs::write(&path, serde_json::to_string(&choices).unwrap()).unwrap();
        let found = read(&path).unwrap();
        assert_eq!(found, choices);
        assert_eq!(found.get(&product(512), Storage::F16, abilities), Some(tile));
        // Other maps, another product, a device without f16, sizes that no shader is made for.
        assert_eq!(found.get(&product(512), Storage::F32, abilities), None);
        assert_eq!(found.get(&product(256), Storage::F16, abilities), None);
        assert_eq!(found.get(&product(512), Storage::F16, Abilities::UNKNOWN), None);
        for wrong in [Tile { pixels: 0, ..tile }, Tile { channels: 63, ..tile }, Tile { parts: 1 << 40, ..tile }] {
            choices.set(&product(512), Storage::F16, wrong);
            assert_eq!(choices.get(&product(512), Storage::F16, abilities), None);
        }
        for damaged in ["", "{", r#"{"measured_with":"here","tiles":{"a":{}}}"#, "[]"] {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(read(&path), None);
        }
    }

    #[test]
    fn names_of_devices_are_names_of_files() {
        assert_eq!(file_name("NVIDIA H100/80 GB (..)"), "nvidia-h100-80-gb-----");
    }
}
