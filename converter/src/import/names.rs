//! Maps the names in files to the published checkpoint's.

/// Prefixes of wrappers: DistributedDataParallel, torch.compile, Lightning and plain attributes.
const WRAPPERS: [&str; 6] = ["module.", "_orig_mod.", "model.", "network.", "net.", "clip."];

/// The published network's own top level.
pub(super) const NECK: &str = "neck_ad.";
pub(super) const PROJECTORS: [&str; 2] = ["proj.", "proj_ad."];
const BACKBONE: &str = "backbone.";

/// CLIP's shortcut around the attention pool, which CLIP's own weights do not have.
pub(super) const CONNECT: &str = "backbone.visual.attnpool.connect.";

/// CLIP's names, which OpenAI and open_clip share. open_clip may keep the text encoder's under `text.`.
const CLIP_VISUAL: &str = "visual.";
const CLIP_TEXT: [&str; 6] =
    ["transformer.", "token_embedding.", "positional_embedding", "text_projection", "ln_final.", "logit_scale"];

/// Modules that the authors construct and never run.
const UNUSED_PREFIXES: [&str; 9] = [
    "neck_ad.txt_proj.",
    "neck_ad.f1_v_proj.",
    "neck_ad.norm_layer.",
    "neck_ad.f2_cat.",
    "neck_ad.f3_v_proj.",
    "neck_ad.f3_cat.",
    "neck_ad.f4_proj5.",
    "neck_ad.f4_proj3.",
    "neck_ad.coordconv.",
];

/// The published name of a file's tensor, or `None` for a name that neither CLIP nor the published network has.
pub(super) fn published(name: &str) -> Option<String> {
    let mut name = name;
    while let Some(inner) = WRAPPERS.iter().find_map(|wrapper| name.strip_prefix(wrapper)) {
        name = inner;
    }
    if name.starts_with(BACKBONE) || name.starts_with(NECK) || PROJECTORS.iter().any(|prefix| name.starts_with(prefix))
    {
        return Some(name.to_string());
    }
    let text = name.strip_prefix("text.").unwrap_or(name);
    if CLIP_TEXT.iter().any(|known| text.starts_with(known)) {
        return Some(format!("{BACKBONE}{text}"));
    }
    name.starts_with(CLIP_VISUAL).then(|| format!("{BACKBONE}{name}"))
}

/// Whether the published network, or CLIP, has the tensor without using it here.
pub(super) fn is_unused(name: &str) -> bool {
    /// CLIP's sizes in TorchScript archives, its contrastive scale and bias, and a constant of its text encoder.
    const UNUSED: [&str; 6] =
        ["input_resolution", "context_length", "vocab_size", "logit_scale", "logit_bias", "attn_mask"];
    let last = name.rsplit('.').next().unwrap_or(name);
    UNUSED.contains(&last)
        || last == "num_batches_tracked"
        || UNUSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || name.starts_with("neck_ad.masker") && name.contains(".relu")
}

/// Whether the tensor belongs to a layer that CLIP does not have.
pub(super) fn is_new_layer(name: &str) -> bool {
    name.starts_with(CONNECT) || name.starts_with(NECK) || PROJECTORS.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_every_known_way_of_naming() {
        for (file, expected) in [
            ("module.backbone.visual.conv1.weight", Some("backbone.visual.conv1.weight")),
            ("model.module.neck_ad.aggr.0.weight", Some("neck_ad.aggr.0.weight")),
            ("_orig_mod.proj_ad.txt.bias", Some("proj_ad.txt.bias")),
            ("visual.layer1.0.conv1.weight", Some("backbone.visual.layer1.0.conv1.weight")),
            ("text_projection", Some("backbone.text_projection")),
            ("text.text_projection", Some("backbone.text_projection")),
            ("text.transformer.resblocks.0.ln_1.bias", Some("backbone.transformer.resblocks.0.ln_1.bias")),
            ("positional_embedding", Some("backbone.positional_embedding")),
            ("text_model.encoder.layers.0.mlp.fc1.weight", None),
            ("classifier.weight", None),
        ] {
            assert_eq!(published(file).as_deref(), expected, "{file}");
        }
    }

    #[test]
    fn knows_what_the_network_never_reads() {
        for name in
            ["vocab_size", "backbone.logit_scale", "neck_ad.f3_cat.0.weight", "proj.vis.1.1.num_batches_tracked"]
        {
            assert!(is_unused(name), "{name}");
        }
        assert!(!is_unused("neck_ad.masker3.coordconv.conv1.0.weight"));
        assert!(!is_unused("neck_ad.f2_v_proj.0.weight"));
    }
}
