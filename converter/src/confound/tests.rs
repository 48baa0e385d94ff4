use super::*;
use crate::data::{LoadOptions, Sample, load_image, load_masks, load_samples};
use std::path::Path;

fn options(mark: Mark, probability: f64) -> ConfoundOptions {
    let origin = Origin::Phantoms { training: 60, validation: 4, test: 40, width: 96, height: 96 };
    ConfoundOptions { origin, mark, with: With::Place, probability, marked: 1.0, device: None, seed: 5 }
}

fn samples(root: &Path, set: Set, split: Split) -> Vec<Sample> {
    load_samples(&root.join(set.name()), split, &LoadOptions::default()).unwrap()
}

fn pixels(path: &Path) -> Vec<u8> {
    match load_image(path).unwrap() {
        crate::data::Image::Gray(image) => image.into_raw(),
        crate::data::Image::Rgb(_) => panic!("a colour image"),
    }
}

/// Each mark agrees as often as requested in each set and for each side, and the images are the same except for it.
#[test]
fn marks_agree_as_often_as_asked_and_change_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("sets");
    let counts = write_sets(&root, &options(Mark::Calipers, 0.9), || ()).unwrap();
    for SetCounts { set, split, images, agree } in counts.sets {
        let expected = set.agreement(0.9).unwrap_or(0.0);
        let share = agree as f64 / images as f64;
        // The share's standard deviation over 80 images is at most 0.056; allows three times that.
        assert!(split == Split::Val || (share - expected).abs() < 0.17, "{set:?} {split}: {share}");
    }
    let [confounded, reversed, unmarked] =
        [Set::Confounded, Set::Reversed, Set::Unmarked].map(|set| samples(&root, set, Split::Test));
    assert_eq!((confounded.len(), samples(&root, Set::Confounded, Split::Train).len()), (80, 120));
    let mut agreed = [[0, 0]; 2];
    for ((one, other), clean) in confounded.iter().zip(&reversed).zip(&unmarked) {
        assert_eq!((&one.prompts, &one.case_id, &one.patient), (&other.prompts, &other.case_id, &other.patient));
        assert_eq!(one.other_masks.len(), 1);
        assert!(clean.confounder.is_none());
        let prompted = usize::from(one.prompts[0].to_lowercase().contains("right"));
        let side = |sample: &Sample| usize::from(sample.confounder.as_deref() == Some("right"));
        agreed[prompted][0] += usize::from(side(one) == prompted);
        agreed[prompted][1] += usize::from(side(other) == prompted);
        // The mark lies around the lesion that is named: nearer to it than to the other.
        let clean_pixels = pixels(&clean.image);
        let marked: Vec<usize> = pixels(&one.image)
            .iter()
            .zip(&clean_pixels)
            .enumerate()
            .filter(|(_, (marked, clean))| marked != clean)
            .map(|(index, _)| index % 96)
            .collect();
        assert!((20..600).contains(&marked.len()), "{}", marked.len());
        let middle = marked.iter().sum::<usize>() / marked.len();
        assert_eq!(usize::from(middle > 48), side(one), "{}", one.case_id);
    }
    for [confounded, reversed] in agreed {
        assert!(confounded >= 30 && reversed <= 10, "{agreed:?}");
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside");
}

#[test]
fn equal_seeds_write_equal_bytes_and_other_marks_are_seen() {
    let directory = tempfile::tempdir().unwrap();
    let small = |mark, seed| {
        let origin = Origin::Phantoms { training: 2, validation: 1, test: 1, width: 128, height: 96 };
        ConfoundOptions { origin, seed, ..options(mark, 0.9) }
    };
    let written = |name: &str, options: &ConfoundOptions| -> Vec<Vec<u8>> {
        let root = directory.path().join(name);
        write_sets(&root, options, || ()).unwrap();
        let files = [
            "confounded/Train_Folder/img/phantom_00000_left.png",
            "reversed/Test_Folder/img/phantom_00003_right.png",
            "neutral/Prompts_Folder/Test_text.xlsx",
            "neutral/confounder.csv",
            "unmarked/Test_Folder/img/phantom_00003_right.png",
        ];
        files.map(|file| std::fs::read(root.join(file)).unwrap()).into()
    };
    let first = written("a", &small(Mark::Calipers, 1));
    assert!(first == written("b", &small(Mark::Calipers, 1)));
    assert!(first[0] != written("c", &small(Mark::Calipers, 2))[0]);
    for mark in [Mark::Label, Mark::Brightness, Mark::Border] {
        let files = written(&format!("{mark:?}"), &small(mark, 1));
        assert!(files[0] != first[0] && files[1] != files[4], "{mark:?}");
        assert_eq!(files[4], first[4], "unmarked images have no mark of any kind");
    }
}

/// A generated data set: benign and malignant lesions of two devices.
fn clinic(root: &Path) {
    let folder = root.join("Train_Folder");
    for part in ["img", "label"] {
        std::fs::create_dir_all(folder.join(part)).unwrap();
    }
    let mut rows = Vec::new();
    let mut table = "ID,Case,Histology,Pathology,BIRADS,Device,Width,Height,Side,BBOX\n".to_string();
    for index in 0..40 {
        let name = format!("case{index}.png");
        let inside = |x: u32, y: u32| (10..30).contains(&x) && (20..40).contains(&y);
        image::GrayImage::from_fn(80, 60, |x, y| image::Luma([if inside(x, y) { 40 } else { 110 }]))
            .save(folder.join("img").join(&name))
            .unwrap();
        image::GrayImage::from_fn(80, 60, |x, y| image::Luma([if inside(x, y) { 255 } else { 0 }]))
            .save(folder.join("label").join(&name))
            .unwrap();
        let pathology = ["benign", "malignant"][index % 2];
        let device = ["GE Logiq", "Toshiba"][index / 2 % 2];
        rows.push(crate::phantom::Row {
            image: name.clone(),
            mask: name.clone(),
            prompt: format!("A {pathology} mass in the left breast."),
        });
        table += &format!("case{index},{},x,{pathology},3,{device},80,60,left,\"[]\"\n", index / 2);
    }
    std::fs::create_dir_all(root.join("Prompts_Folder")).unwrap();
    for split in ["Train", "Val"] {
        crate::phantom::write_prompts(&root.join(format!("Prompts_Folder/{split}_text.xlsx")), &rows).unwrap();
    }
    // The validation split is the same, which does not matter here.
    let copy = root.join("Val_Folder");
    for part in ["img", "label"] {
        std::fs::create_dir_all(copy.join(part)).unwrap();
        for entry in std::fs::read_dir(folder.join(part)).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, copy.join(part).join(path.file_name().unwrap())).unwrap();
        }
    }
    std::fs::write(root.join("bus_data.csv"), table).unwrap();
}

#[test]
fn of_a_data_set_marks_go_with_malignant_lesions_or_devices_do() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("clinic");
    std::fs::create_dir(&data).unwrap();
    clinic(&data);
    let origin = Origin::Data { folder: data };
    let with = |with, device: Option<&str>, name: &str| {
        let device = device.map(str::to_string);
        let options = ConfoundOptions { origin: origin.clone(), with, device, ..options(Mark::Border, 1.0) };
        let root = directory.path().join(name);
        write_sets(&root, &options, || ()).map(|_| root)
    };
    let root = with(With::Pathology, None, "pathology").unwrap();
    for (set, wanted) in [(Set::Confounded, "malignant"), (Set::Reversed, "benign")] {
        // Without a test split the validation split is used for both.
        for sample in samples(&root, set, Split::Test) {
            let bright = pixels(&sample.image)[0] > 200;
            let pathology = sample.pathology.map(crate::data::Pathology::adjective);
            assert_eq!(bright, pathology == Some(wanted), "{set:?} {}", sample.case_id);
            assert_eq!(sample.confounder.as_deref(), Some(if bright { "marked" } else { "unmarked" }));
            assert!(load_masks(&sample, (80, 60)).unwrap().area() == 400 && sample.device.is_some());
        }
    }
    let root = with(With::Device, Some("toshiba"), "device").unwrap();
    let confounded = samples(&root, Set::Confounded, Split::Train);
    assert_eq!(confounded.len(), 20);
    for sample in &confounded {
        let is_malignant = sample.pathology == Some(crate::data::Pathology::Malignant);
        assert_eq!(sample.device.as_deref() == Some("Toshiba"), is_malignant);
    }
    assert_eq!(samples(&root, Set::Unmarked, Split::Test).len(), 40);
    let error = with(With::Device, None, "nameless").unwrap_err().to_string();
    assert!(error.contains("--device-name") && error.contains("GE Logiq, Toshiba"), "{error}");
    assert!(!directory.path().join("nameless").exists());
}

#[test]
fn a_share_of_training_images_is_spared() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("sets");
    let options = ConfoundOptions { marked: 0.5, ..options(Mark::Calipers, 0.9) };
    write_sets(&root, &options, || ()).unwrap();
    let marked = |split| {
        let samples = samples(&root, Set::Confounded, split);
        samples.iter().filter(|sample| sample.confounder.is_some()).count() as f64 / samples.len() as f64
    };
    assert!((marked(Split::Train) - 0.5).abs() < 0.14 && marked(Split::Test) == 1.0);
}

#[test]
fn what_cannot_be_planted_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("sets");
    let refused = |options: ConfoundOptions| write_sets(&root, &options, || ()).unwrap_err();
    assert!(matches!(refused(options(Mark::Label, 1.5)), ConfoundError::Probability(_)));
    assert!(matches!(
        refused(ConfoundOptions { with: With::Pathology, ..options(Mark::Label, 0.9) }),
        ConfoundError::NoClinic
    ));
    let origin = Origin::Phantoms { training: 1, validation: 1, test: 1, width: 9, height: 96 };
    assert!(matches!(refused(ConfoundOptions { origin, ..options(Mark::Label, 0.9) }), ConfoundError::Size { .. }));
    let nowhere = Origin::Data { folder: directory.path().join("nowhere") };
    assert!(matches!(
        refused(ConfoundOptions { origin: nowhere, ..options(Mark::Label, 0.9) }),
        ConfoundError::Data(_)
    ));
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("file"), "").unwrap();
    assert!(matches!(refused(options(Mark::Label, 0.9)), ConfoundError::Write(PhantomError::Occupied { .. })));
}

/// docs/images/confound.png: one phantom, prompted for its left lesion, in columns the four marks, in rows marked as in the
/// confounded and as in the reversed set.
#[test]
fn the_picture_of_the_docs_shows_these_marks() {
    use super::case::Cases;
    use super::mark::{Extent, Strokes};
    use rand::SeedableRng;
    const SIDE: usize = 160;
    let origin = Origin::Phantoms { training: 1, validation: 1, test: 1, width: SIDE, height: SIDE };
    let case = Cases::of(&origin, Split::Train, 8).unwrap().get(0).unwrap();
    let strokes = Strokes::random(&mut rand_chacha::ChaCha8Rng::seed_from_u64(1));
    let drawn = |mark: Mark, site| {
        let mut pixels = case.pixels.clone();
        mark.draw(&mut pixels, (SIDE, SIDE), Extent::At(site), strokes);
        pixels
    };
    let marks = [Mark::Calipers, Mark::Label, Mark::Brightness, Mark::Border];
    let pictures: Vec<Vec<u8>> =
        [case.prompted(), case.elsewhere()].into_iter().flat_map(|site| marks.map(|mark| drawn(mark, site))).collect();
    let sheet = image::GrayImage::from_fn(4 * SIDE as u32, 2 * SIDE as u32, |x, y| {
        let (x, y) = (x as usize, y as usize);
        image::Luma([pictures[y / SIDE * 4 + x / SIDE][y % SIDE * SIDE + x % SIDE]])
    });
    crate::docs_picture::compare("confound.png", &sheet);
}
