//! `segment`: which files it writes, and that they match the model's result.

use super::desk::Desk;
use super::{causalclipseg, shipped, text, toy};
use assert_cmd::Command;
use image::{ColorType, DynamicImage, GrayImage, ImageBuffer, Luma, RgbImage};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// `segment` with the toy model, into `out`.
fn segment(desk: &Desk, inputs: &[&Path]) -> Command {
    let mut command = causalclipseg();
    command.arg("segment").args(inputs).arg("-m").arg(desk.bundle()).arg("-o").arg(desk.path("out"));
    command
}

fn result(desk: &Desk, name: &str) -> DynamicImage {
    image::load_from_memory(&desk.result(name)).unwrap()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| name.to_string()).collect()
}

/// White left of the middle, black right of it.
fn half_white(width: u32, height: u32) -> GrayImage {
    GrayImage::from_fn(width, height, |x, _| Luma([if x < width / 2 { 255 } else { 0 }]))
}

/// Black on the left to white on the right.
fn ramp(width: u32, height: u32) -> GrayImage {
    GrayImage::from_fn(width, height, |x, _| Luma([(x * 255 / (width - 1)) as u8]))
}

fn area(mask: &DynamicImage) -> usize {
    mask.as_luma8().unwrap().pixels().filter(|pixel| pixel.0[0] == 255).count()
}

#[test]
fn results_lie_on_the_input() {
    let desk = Desk::new();
    let grey = half_white(64, 48);
    let deep = ImageBuffer::<Luma<u16>, _>::from_fn(41, 29, |x, _| Luma([if x < 20 { 65_535 } else { 257 }]));
    let colour = RgbImage::from_fn(301, 7, |x, _| image::Rgb([if x < 150 { 255 } else { 10 }; 3]));
    let inputs = [
        desk.save("grey.png", grey),
        desk.save("deep.png", DynamicImage::ImageLuma16(deep)),
        desk.save("colour.bmp", colour),
        desk.save("one.png", GrayImage::from_pixel(1, 1, Luma([255]))),
    ];
    let mut command = segment(&desk, &inputs.each_ref().map(PathBuf::as_path));
    let output = command.args(["-p", "a bright mass", "--format", "mask,prob,overlay,json"]).assert().success();
    assert_eq!(text(&output.get_output().stderr), "");
    let expected = ["grey", "deep", "colour", "one"]
        .into_iter()
        .flat_map(|stem| ["_mask.png", "_prob.png", "_overlay.png", ".json"].map(|ending| format!("{stem}{ending}")));
    assert_eq!(desk.results(), expected.collect());
    for (stem, width, height, left) in
        [("grey", 64, 48, 32), ("deep", 41, 29, 20), ("colour", 301, 7, 150), ("one", 1, 1, 1)]
    {
        let mask = result(&desk, &format!("{stem}_mask.png"));
        assert_eq!((mask.width(), mask.height(), mask.color()), (width, height, ColorType::L8), "{stem}");
        let right = mask
            .as_luma8()
            .unwrap()
            .enumerate_pixels()
            .filter(|(x, _, pixel)| pixel.0[0] == if *x < left { 255 } else { 0 });
        let share = right.count() as f64 / f64::from(width * height);
        // The network's map is coarser than a large picture's.
        assert!(share >= 0.97, "{stem}: {share}");
        let prob = result(&desk, &format!("{stem}_prob.png"));
        assert_eq!((prob.width(), prob.height(), prob.color()), (width, height, ColorType::L8), "{stem}");
        // Small pictures are enlarged so that the legend is readable.
        let overlay = result(&desk, &format!("{stem}_overlay.png"));
        assert!(overlay.width() >= width && overlay.height() >= height && overlay.color() == ColorType::Rgb8, "{stem}");
        let json = desk.json(&format!("{stem}.json"));
        assert_eq!((&json["width"], &json["height"]), (&width.into(), &height.into()), "{stem}");
        assert_eq!(json["area_px"], area(&mask), "{stem}");
    }
}

#[test]
fn the_json_holds_the_contract() {
    let desk = Desk::new();
    let input = desk.save("scan.png", half_white(64, 48));
    segment(&desk, &[&input]).args(["-p", "a bright mass", "--format", "json,mask"]).assert().success();
    let json = desk.json("scan.json");
    let keys: BTreeSet<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    for key in
        ["input", "prompt", "area_px", "area_fraction", "area_mm2", "bbox", "contours", "mean_probability", "seconds"]
    {
        assert!(keys.contains(key), "{key} is not in {keys:?}");
    }
    assert_eq!(json["input"], input.to_str().unwrap());
    assert_eq!((&json["prompt"], &json["model"]), (&"a bright mass".into(), &"toy".into()));
    assert_eq!(json["area_mm2"], serde_json::Value::Null);
    assert_eq!(json["bbox"], serde_json::json!([0, 0, 32, 48]));
    assert_eq!(json["area_fraction"], 0.5);
    assert!(json["mean_probability"].as_f64().unwrap() > 0.9 && json["seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(json["contours"].as_array().unwrap().len(), 1);

    let sized =
        segment(&desk, &[&input]).args(["-p", "a bright mass", "--mm-per-pixel", "0.5,0.25"]).assert().success();
    assert!(text(&sized.get_output().stdout).contains("192 mm²"));
    let json = desk.json("scan.json");
    assert_eq!(json["area_mm2"], 32.0 * 48.0 * 0.125);
    assert_eq!(json["mm_per_pixel"], serde_json::json!([0.5, 0.25]));
}

#[test]
fn many_prompts_share_one_image_pass() {
    let desk = Desk::new();
    let input = desk.save("scan.png", half_white(64, 48));
    let prompts = ["-p", "a bright mass", "-p", "dark", "-p", "A  bright\tMASS"];
    let output = segment(&desk, &[&input])
        .args(prompts)
        .args(["--format", "mask,json", "-vv"])
        .env_remove("RUST_LOG")
        .assert()
        .success();
    let log = text(&output.get_output().stderr);
    let passes = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    assert_eq!((passes("] image: "), passes("] head: ")), (1, 3), "{log}");
    // Case and spaces do not make a different prompt.
    assert_eq!(passes("] prompt of "), 2, "{log}");
    let expected =
        ["scan_1.json", "scan_1_mask.png", "scan_2.json", "scan_2_mask.png", "scan_3.json", "scan_3_mask.png"];
    assert_eq!(desk.results(), names(&expected));
    let mask = |number: usize| result(&desk, &format!("scan_{number}_mask.png"));
    assert_eq!((mask(1), area(&mask(2))), (mask(3), 64 * 48 - area(&mask(1))));
    assert_eq!(desk.json("scan_2.json")["bbox"], serde_json::json!([32, 0, 32, 48]));
    assert_eq!(desk.json("scan_3.json")["prompt"], "A  bright\tMASS");
}

#[test]
fn thresholds_and_depths() {
    let desk = Desk::new();
    let input = desk.save("ramp.png", ramp(128, 16));
    let mut areas = Vec::new();
    for threshold in ["0.001", "0.5", "0.999"] {
        let arguments = ["-p", "a bright mass", "--threshold", threshold, "--format", "mask,json"];
        segment(&desk, &[&input]).args(arguments).assert().success();
        assert_eq!(desk.json("ramp.json")["threshold"].as_f64().unwrap() as f32, threshold.parse::<f32>().unwrap());
        areas.push(area(&result(&desk, "ramp_mask.png")));
    }
    assert!(areas[0] > areas[1] + 300 && areas[1] > areas[2] + 300, "{areas:?}");
    let white = 1.0 / (1.0 + (-toy::WHITE_LOGIT).exp());
    for (bits, colour, full) in [("8", ColorType::L8, 255.0), ("16", ColorType::L16, 65_535.0)] {
        let arguments = ["-p", "a bright mass", "--prob-bits", bits, "--format", "prob"];
        segment(&desk, &[&input]).args(arguments).assert().success();
        let prob = result(&desk, "ramp_prob.png");
        assert_eq!(prob.color(), colour);
        let (black, bright) = (prob.to_luma16().get_pixel(0, 8).0[0], prob.to_luma16().get_pixel(127, 8).0[0]);
        assert!(black < 20, "{black}");
        let expected = ((white * full).round() * 65_535.0 / full) as u16;
        assert!(bright.abs_diff(expected) <= 4, "{bright} {expected}");
    }
}

#[test]
fn confounders_change_the_overlay_alone() {
    let desk = Desk::new();
    let input = desk.save("scan.png", half_white(64, 48));
    let arguments = ["-p", "a bright mass", "--format", "mask,overlay"];
    segment(&desk, &[&input]).args(arguments).assert().success();
    let (mask, overlay) = (result(&desk, "scan_mask.png"), result(&desk, "scan_overlay.png"));
    segment(&desk, &[&input]).args(arguments).arg("--confounders").assert().success();
    assert_eq!(result(&desk, "scan_mask.png"), mask);
    let (plain, heated) = (overlay.into_rgb8(), result(&desk, "scan_overlay.png").into_rgb8());
    assert!(plain != heated);
}

/// On the shipped network, whose maps are large enough for threads to share them.
#[test]
fn threads_change_nothing() {
    let desk = Desk::new();
    let input = desk.save("ramp.png", ramp(200, 150));
    let mut results = Vec::new();
    for threads in ["1", "2"] {
        let arguments = ["-p", "a dark mass", "--format", "prob", "--prob-bits", "16", "--allow-untrained", "-o"];
        let out = desk.path(threads);
        let mut command = causalclipseg();
        command.arg("segment").arg(&input).args(arguments).arg(&out).args(["--threads", threads]).assert().success();
        results.push(std::fs::read(out.join("ramp_prob.png")).unwrap());
    }
    assert!(results[0] == results[1]);
}

#[test]
fn one_bad_input_does_not_take_the_others_away() {
    let desk = Desk::new();
    let (good, bad) = (desk.save("good.png", half_white(40, 40)), desk.path("missing.png"));
    let mut command = segment(&desk, &[&bad, &good]);
    let output = command.args(["-p", "a bright mass", "--format", "mask"]).assert().code(1);
    let error = text(&output.get_output().stderr);
    assert!(error.starts_with("error: ") && error.contains("missing.png") && error.lines().count() == 1, "{error}");
    assert_eq!(desk.results(), names(&["good_mask.png"]));
    assert!(text(&output.get_output().stdout).contains("good.png"));
}

#[test]
fn untrained_models_run_on_request_only() {
    let desk = Desk::new();
    toy::builder_of(false).write(&desk.bundle()).unwrap();
    let input = desk.save("scan.png", half_white(40, 40));
    let refused = segment(&desk, &[&input]).args(["-p", "mass"]).assert().code(1);
    assert!(text(&refused.get_output().stderr).contains("pass --allow-untrained"));
    assert_eq!(desk.results(), names(&[]));
    segment(&desk, &[&input]).args(["-p", "mass", "--allow-untrained"]).assert().success();
    assert_eq!(desk.results(), names(&["scan.json", "scan_mask.png", "scan_overlay.png"]));
}

#[test]
fn the_embedded_model_is_the_shipped_one() {
    let desk = Desk::new();
    let input = desk.save("scan.png", half_white(33, 65));
    for (model, out) in [(None, "embedded"), (Some(shipped()), "shipped")] {
        let mut command = causalclipseg();
        command.arg("segment").arg(&input).args(["-p", "a cyst", "--format", "prob", "--allow-untrained", "-o"]);
        command.arg(desk.path(out));
        if let Some(model) = model {
            command.arg("-m").arg(model);
        }
        command.assert().success();
    }
    let prob = |out: &str| std::fs::read(desk.path(out).join("scan_prob.png")).unwrap();
    assert!(prob("embedded") == prob("shipped"));
}
