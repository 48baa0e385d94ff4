//! The description of an image file, before it is processed.

use super::super::{Failure, say, table};
use causalclipseg::frame::{Orientation, Region};
use causalclipseg::io::Description;
use causalclipseg::io::source::{Source, is_image};
use comfy_table::Table;
use std::path::Path;

/// Whether a path is a file of an image format. False for an unreadable one: the bundle's reader reports why.
pub(super) fn is_one(path: &Path) -> bool {
    is_image(path).unwrap_or(false)
}

pub(super) fn show(path: &Path, json: bool) -> Result<(), Failure> {
    let description = Source::open(path)?.description()?;
    if json { say(serde_json::to_string_pretty(&description)?) } else { say(rows(&description)) }
}

fn rows(description: &Description) -> Table {
    let Description { width, height, frames, regions, region_used, mm_per_pixel, orientation, .. } = description;
    let mut table = table();
    let mut row = |key: &str, value: String| {
        if !value.is_empty() {
            table.add_row([key.to_string(), value]);
        }
    };
    row("format", description.format.clone());
    row("size", format!("{width} x {height} pixels"));
    row("frames", frames.map_or("unknown before the last one".into(), |frames| frames.to_string()));
    row("pixels", description.pixels.clone());
    row("photometric interpretation", description.photometric_interpretation.clone().unwrap_or_default());
    row("compression", description.compression.clone());
    row("transfer syntax", description.transfer_syntax.clone().unwrap_or_default());
    let place = |region: &Region| format!("{} x {} at ({}, {})", region.width, region.height, region.x, region.y);
    row("regions", regions.iter().map(place).collect::<Vec<_>>().join("\n"));
    row("region of the network", region_used.as_ref().map_or("the whole frame".into(), place));
    row(
        "size of a pixel",
        mm_per_pixel.map_or("unknown: pass --mm-per-pixel".into(), |[x, y]| format!("{x} x {y} mm")),
    );
    row("between slices", description.slice_spacing_mm.map(|mm| format!("{mm} mm")).unwrap_or_default());
    row("between frames", description.seconds_per_frame.map(|s| format!("{:.1} ms", s * 1e3)).unwrap_or_default());
    let turned = match orientation {
        Orientation::Upright => "upright as stored".to_string(),
        other => format!("{other}: turned for the network; masks match the stored pixels"),
    };
    row("orientation", turned);
    row("character set", description.character_set.clone().unwrap_or_default());
    row("ignored", if description.ignored.is_empty() { "nothing".into() } else { description.ignored.join("\n") });
    table
}
