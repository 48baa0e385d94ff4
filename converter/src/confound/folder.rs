//! Writes the sets, each in MedCLIPSeg's layout with a table of the planted marks.

use super::case::{Case, Cases};
use super::mark::{Extent, Strokes};
use super::{ConfoundError, ConfoundOptions, Origin, Set, With, by_device};
use crate::data::{Mask, Pathology, Split, planted};
use crate::phantom::{PhantomError, Row, SIDE_RANGE, write_prompts};
use image::{GrayImage, Luma};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::Path;

/// The numbers of written cases, by set and split.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    pub sets: Vec<SetCounts>,
}

/// The counts of one split of one set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SetCounts {
    pub set: Set,
    pub split: Split,
    pub images: usize,
    /// Cases whose mark, or device, agrees with the prompt.
    pub agree: usize,
}

/// Writes the four sets below `folder`, which is renamed into place when all are complete. `on_written` is called once for each
/// case.
///
/// # Errors
/// A probability out of range, data that lack what the marks should correlate with, and files that cannot be read or written.
pub fn write_sets(folder: &Path, options: &ConfoundOptions, on_written: impl Fn()) -> Result<Counts, ConfoundError> {
    check(options)?;
    let is_occupied = |folder: &Path| std::fs::read_dir(folder).map(|mut entries| entries.next().is_some());
    if folder.is_file() || is_occupied(folder).unwrap_or(false) {
        return Err(PhantomError::Occupied { path: folder.into() }.into());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(unwritable(parent))?;
    // Written beside the folder, so that the last step is a rename.
    let beside = tempfile::Builder::new().prefix(".confounded-").tempdir_in(parent).map_err(unwritable(folder))?;
    let root = beside.path().join("data");
    let mut counts = Counts::default();
    let mut tables: Vec<(Set, Vec<[String; 8]>)> = Set::ALL.map(|set| (set, Vec::new())).into();
    for split in Split::ALL {
        let cases = Cases::of(&options.origin, split, options.seed)?;
        let mut writers = Vec::new();
        for set in Set::ALL.into_iter().filter(|set| set.has(split)) {
            writers.push(Writer::new(&root, set, split, &cases, options)?);
        }
        for index in 0..cases.len() {
            let case = cases.get(index)?;
            for writer in &mut writers {
                writer.write(&case, index, options)?;
            }
            on_written();
        }
        for writer in writers {
            let (count, rows) = writer.finish(&root)?;
            counts.sets.push(count);
            tables.iter_mut().filter(|(set, _)| *set == count.set).for_each(|(_, table)| table.extend(rows.clone()));
        }
    }
    for (set, rows) in tables {
        write_table(&root.join(set.name()).join(planted::FILE), &rows)?;
    }
    std::fs::rename(&root, folder).map_err(unwritable(folder))?;
    Ok(counts)
}

fn check(options: &ConfoundOptions) -> Result<(), ConfoundError> {
    for value in [options.probability, options.marked] {
        if !(0.0..=1.0).contains(&value) {
            return Err(ConfoundError::Probability(value));
        }
    }
    match &options.origin {
        Origin::Phantoms { .. } if options.with != With::Place => Err(ConfoundError::NoClinic),
        Origin::Phantoms { width, height, .. } if [width, height].iter().any(|side| !SIDE_RANGE.contains(*side)) => {
            let (least, most) = (*SIDE_RANGE.start(), *SIDE_RANGE.end());
            Err(ConfoundError::Size { width: *width, height: *height, least, most })
        }
        _ => Ok(()),
    }
}

fn unwritable(path: &Path) -> impl FnOnce(std::io::Error) -> ConfoundError {
    let path = path.to_path_buf();
    move |source| PhantomError::Write { path, source }.into()
}

/// Writes one split of one set, case by case.
struct Writer {
    count: SetCounts,
    /// The cases that the set keeps; `None`: all.
    kept: Option<Vec<usize>>,
    folder: std::path::PathBuf,
    prompts: Vec<Row>,
    planted: Vec<[String; 8]>,
}

impl Writer {
    fn new(
        root: &Path,
        set: Set,
        split: Split,
        cases: &Cases,
        options: &ConfoundOptions,
    ) -> Result<Self, ConfoundError> {
        let kept = match (options.with, cases) {
            (With::Device, Cases::Samples(samples)) => {
                let device = options.device.as_deref();
                Some(by_device::choose(samples, device, set, split, options.probability, options.seed)?)
            }
            _ => None,
        };
        let folder = root.join(set.name()).join(folder_name(split));
        for part in ["img", "label"] {
            let path = folder.join(part);
            std::fs::create_dir_all(&path).map_err(unwritable(&path))?;
        }
        let count = SetCounts { set, split, images: 0, agree: 0 };
        Ok(Self { count, kept, folder, prompts: Vec::new(), planted: Vec::new() })
    }

    fn write(&mut self, case: &Case, index: usize, options: &ConfoundOptions) -> Result<(), ConfoundError> {
        if self.kept.as_ref().is_some_and(|kept| kept.binary_search(&index).is_err()) {
            return Ok(());
        }
        let plant = Plant::of(case, index, self.count, options)?;
        let mut pixels = case.pixels.clone();
        if let Some(extent) = plant.extent {
            options.mark.draw(&mut pixels, (case.width, case.height), extent, plant.strokes);
        }
        let image = format!("{}.png", case.name);
        self.save("img", &image, case, |index| pixels[index])?;
        let mask = |mask: &Mask, index: usize| if mask.lesion[index] { 255 } else { 0 };
        self.save("label", &image, case, |index| mask(&case.mask, index))?;
        let mut others = Vec::new();
        for (number, other) in case.others.iter().enumerate() {
            let name = format!("{}_other{number}.png", case.name);
            self.save("label", &name, case, |index| mask(other, index))?;
            others.push(name);
        }
        self.count.images += 1;
        self.count.agree += usize::from(plant.agrees == Some(true));
        self.prompts.push(Row { image: image.clone(), mask: image.clone(), prompt: case.prompt.clone() });
        self.planted.push([
            self.count.split.name().into(),
            image,
            plant.confounder.unwrap_or_default(),
            plant.agrees.map_or("", |agrees| if agrees { "yes" } else { "no" }).into(),
            others.join(";"),
            case.patient.clone(),
            case.pathology.map_or("", Pathology::adjective).into(),
            case.device.clone().unwrap_or_default(),
        ]);
        Ok(())
    }

    fn save(&self, part: &str, name: &str, case: &Case, value: impl Fn(usize) -> u8) -> Result<(), ConfoundError> {
        let path = self.folder.join(part).join(name);
        let (width, height) = (case.width as u32, case.height as u32);
        let picture = GrayImage::from_fn(width, height, |x, y| Luma([value((y * width + x) as usize)]));
        picture.save(&path).map_err(|error| PhantomError::Encode { path, reason: error.to_string() }.into())
    }

    fn finish(self, root: &Path) -> Result<(SetCounts, Vec<[String; 8]>), ConfoundError> {
        let prompts = root.join(self.count.set.name()).join("Prompts_Folder");
        std::fs::create_dir_all(&prompts).map_err(unwritable(&prompts))?;
        let title = folder_name(self.count.split).replace("_Folder", "");
        write_prompts(&prompts.join(format!("{title}_text.xlsx")), &self.prompts)?;
        Ok((self.count, self.planted))
    }
}

fn folder_name(split: Split) -> &'static str {
    match split {
        Split::Train => "Train_Folder",
        Split::Val => "Val_Folder",
        Split::Test => "Test_Folder",
    }
}

/// The mark on one image of one set.
struct Plant {
    agrees: Option<bool>,
    /// The mark's place; `None`: nothing is drawn.
    extent: Option<Extent>,
    strokes: Strokes,
    /// The mark's kind and place, as the adversary's class.
    confounder: Option<String>,
}

impl Plant {
    fn of(case: &Case, index: usize, of: SetCounts, options: &ConfoundOptions) -> Result<Self, ConfoundError> {
        // One random stream for each case and split, whatever the set: an image that agrees at 10 % also agrees at 50 and 90 %.
        let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
        rng.set_stream(((of.split as u64 + 1) << 40) | index as u64);
        let chance = rng.random::<f64>();
        let strokes = Strokes::random(&mut rng);
        let agrees = of.set.agreement(options.probability).map(|agreement| chance < agreement);
        // Drawn last, and for training only, since tests use marked images.
        let is_spared = of.split == Split::Train && rng.random::<f64>() >= options.marked;
        let agrees = agrees.filter(|_| !is_spared);
        let nothing = |agrees, confounder| Ok(Self { agrees, extent: None, strokes, confounder });
        let site = match options.with {
            With::Device => {
                let device = options.device.as_deref();
                return nothing(by_device::agrees(case.pathology, case.device.as_deref(), device), case.device.clone());
            }
            With::Pathology => {
                let Some(pathology) = case.pathology else {
                    return Err(ConfoundError::NoPathology { case: case.name.clone(), with: "--with pathology" });
                };
                let is_marked = agrees.map(|agrees| agrees == (pathology == Pathology::Malignant));
                if is_marked != Some(true) {
                    return nothing(agrees, is_marked.map(|_| "unmarked".into()));
                }
                Extent::Whole(case.prompted())
            }
            With::Place => match agrees {
                None => return nothing(None, None),
                Some(true) => Extent::At(case.prompted()),
                Some(false) => Extent::At(case.elsewhere()),
            },
        };
        let confounder = match site {
            Extent::Whole(_) => "marked",
            Extent::At(site) if site.center.0 < case.width as f32 / 2.0 => "left",
            Extent::At(_) => "right",
        };
        Ok(Self { agrees, extent: Some(site), strokes, confounder: Some(confounder.into()) })
    }
}

fn write_table(path: &Path, rows: &[[String; 8]]) -> Result<(), ConfoundError> {
    let encode = |error: String| PhantomError::Encode { path: path.into(), reason: error };
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(planted::COLUMNS).map_err(|error| encode(error.to_string()))?;
    for row in rows {
        writer.write_record(row).map_err(|error| encode(error.to_string()))?;
    }
    let bytes = writer.into_inner().map_err(|error| encode(error.to_string()))?;
    std::fs::write(path, bytes).map_err(unwritable(path))
}
