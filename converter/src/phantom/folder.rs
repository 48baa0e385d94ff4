//! A folder of phantoms in MedCLIPSeg's layout.

use super::{Contents, Phantom};
use crate::data::Split;
use image::{GrayImage, Luma};
use rust_xlsxwriter::{DocProperties, ExcelDateTime, Workbook, XlsxError};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Clone, Debug)]
pub struct WriteOptions {
    pub count: usize,
    pub seed: u64,
    /// The share, 0..1, of the validation split.
    pub val_fraction: f64,
    /// Width and height in pixels; random where not given.
    pub size: Option<(usize, usize)>,
    /// The share, 0..1, of phantoms without a lesion. Where it is above 0, all phantoms have look-alikes of lesions, so
    /// that these do not distinguish them.
    pub lesion_free: f64,
}

impl WriteOptions {
    /// The content of a phantom: in every run of phantoms, about the requested share has no lesion.
    fn contents(&self, index: usize) -> Contents {
        let part = self.lesion_free.clamp(0.0, 1.0);
        let free_before = |index: usize| (index as f64 * part).floor();
        Contents { lesions: free_before(index + 1) == free_before(index), imitations: part > 0.0 }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum PhantomError {
    #[error("{path} contains files already; name a folder that is empty or does not exist")]
    Occupied { path: PathBuf },
    #[error("cannot write {path}: {source}; check permissions and free space")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("cannot write {path}: {reason}; check permissions and free space")]
    Encode { path: PathBuf, reason: String },
}

/// Writes `count` phantoms below `folder`, which appears when all are complete. `on_written` is called once for each,
/// from several threads.
///
/// Equal options write equal bytes.
pub fn write_folder(folder: &Path, options: &WriteOptions, on_written: impl Fn() + Sync) -> Result<(), PhantomError> {
    let is_occupied = |folder: &Path| std::fs::read_dir(folder).map(|mut entries| entries.next().is_some());
    if folder.is_file() || is_occupied(folder).unwrap_or(false) {
        return Err(PhantomError::Occupied { path: folder.into() });
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = |path: &Path| {
        let path = path.to_path_buf();
        move |source| PhantomError::Write { path, source }
    };
    std::fs::create_dir_all(parent).map_err(write(parent))?;
    // In a temporary folder beside it, so that the last step is a rename.
    let beside = tempfile::Builder::new().prefix(".phantoms-").tempdir_in(parent).map_err(write(folder))?;
    let root = beside.path().join("data");
    let prompts = root.join("Prompts_Folder");
    std::fs::create_dir_all(&prompts).map_err(write(folder))?;
    let train_count = options.count - val_count(options);
    for (split, range) in [(Split::Train, 0..train_count), (Split::Val, train_count..options.count)] {
        if range.is_empty() {
            continue;
        }
        let title = if split == Split::Train { "Train" } else { "Val" };
        let rows = write_split(&root.join(format!("{title}_Folder")), split, range, options, &on_written)?;
        write_prompts(&prompts.join(format!("{title}_text.xlsx")), &rows)?;
    }
    std::fs::rename(&root, folder).map_err(write(folder))
}

fn val_count(options: &WriteOptions) -> usize {
    ((options.count as f64 * options.val_fraction.clamp(0.0, 1.0)).round() as usize).min(options.count)
}

/// One line of MedCLIPSeg's table of prompts.
pub(crate) struct Row {
    /// File names.
    pub image: String,
    pub mask: String,
    pub prompt: String,
}

/// Writes images and masks of a split, on as many threads as there are cores; returns the table's rows in the files'
/// order.
fn write_split(
    folder: &Path,
    split: Split,
    range: std::ops::Range<usize>,
    options: &WriteOptions,
    on_written: &(impl Fn() + Sync),
) -> Result<Vec<Row>, PhantomError> {
    for part in ["img", "label"] {
        let path = folder.join(part);
        std::fs::create_dir_all(&path).map_err(|source| PhantomError::Write { path, source })?;
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(range.len());
    let next = AtomicUsize::new(range.start);
    let rows = Mutex::new(Vec::new());
    let work = || -> Result<(), PhantomError> {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= range.end {
                return Ok(());
            }
            let written = write_phantom(folder, split, index, options)?;
            rows.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((index, written));
            on_written();
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        workers.into_iter().filter_map(|worker| worker.join().ok()).fold(own, Result::and)
    })?;
    let mut rows = rows.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    rows.sort_by_key(|(index, _)| *index);
    Ok(rows.into_iter().flat_map(|(_, rows)| rows).collect())
}

/// Writes one image, and a mask and a row for each lesion that a prompt can name; for validation only the first, so
/// that every image counts once.
fn write_phantom(folder: &Path, split: Split, index: usize, options: &WriteOptions) -> Result<Vec<Row>, PhantomError> {
    let phantom = Phantom::with_contents(options.seed, index as u64, options.size, options.contents(index));
    let (width, height) = (phantom.width as u32, phantom.height as u32);
    let save = |part: &str, name: &str, value_at: &dyn Fn(usize) -> u8| {
        let path = folder.join(part).join(name);
        let picture = GrayImage::from_fn(width, height, |x, y| Luma([value_at((y * width + x) as usize)]));
        picture.save(&path).map_err(|error| PhantomError::Encode { path, reason: error.to_string() })
    };
    let image = format!("phantom_{index:05}.png");
    save("img", &image, &|pixel| phantom.pixels[pixel])?;
    let mut rows = Vec::new();
    let prompted = if split == Split::Train { phantom.requests.len() } else { 1 };
    for (number, request) in phantom.requests.iter().take(prompted).enumerate() {
        let mask = if number == 0 { image.clone() } else { format!("phantom_{index:05}_{}.png", number + 1) };
        let lesion = phantom.mask(request.lesion).lesion;
        save("label", &mask, &|pixel| if lesion[pixel] { 255 } else { 0 })?;
        rows.push(Row { image: image.clone(), mask, prompt: request.prompt.clone() });
    }
    Ok(rows)
}

/// Writes the table; equal rows give equal bytes.
pub(crate) fn write_prompts(path: &Path, rows: &[Row]) -> Result<(), PhantomError> {
    // In memory first: the zip writer would report a full disk on stderr itself.
    let workbook = fill_workbook(rows)
        .and_then(|mut workbook| workbook.save_to_buffer())
        .map_err(|error| PhantomError::Encode { path: path.into(), reason: error.to_string() })?;
    std::fs::write(path, workbook).map_err(|source| PhantomError::Write { path: path.into(), source })
}

fn fill_workbook(rows: &[Row]) -> Result<Workbook, XlsxError> {
    let mut workbook = Workbook::new();
    // Without a fixed date the file would differ from run to run.
    workbook.set_properties(&DocProperties::new().set_creation_datetime(&ExcelDateTime::from_ymd(2000, 1, 1)?));
    let sheet = workbook.add_worksheet();
    for (column, title) in ["Image", "Description", "Ground Truth"].into_iter().enumerate() {
        sheet.write(0, column as u16, title)?;
    }
    for (index, row) in rows.iter().enumerate() {
        let number = index as u32 + 1;
        sheet.write(number, 0, &row.image)?;
        sheet.write(number, 1, &row.prompt)?;
        sheet.write(number, 2, &row.mask)?;
    }
    Ok(workbook)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{LoadOptions, Sample, load_image, load_masks, load_samples};
    use std::collections::HashSet;

    const OPTIONS: WriteOptions =
        WriteOptions { count: 5, seed: 9, val_fraction: 0.4, size: Some((128, 96)), lesion_free: 0.0 };

    #[test]
    fn the_loader_reads_what_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("new/phantoms");
        let written = AtomicUsize::new(0);
        write_folder(&folder, &OPTIONS, || {
            written.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
        assert_eq!(written.into_inner(), 5);
        let load = |split| load_samples(&folder, split, &LoadOptions::default()).unwrap();
        let (train, val) = (load(Split::Train), load(Split::Val));
        let images = |samples: &[Sample]| samples.iter().map(|sample| &sample.image).collect::<HashSet<_>>().len();
        assert_eq!((images(&train), images(&val)), (3, 2));
        let mut samples = train.iter().chain(&val);
        for index in 0..5 {
            let phantom = Phantom::generate(9, index, OPTIONS.size);
            let prompted = if index < 3 { phantom.requests.len() } else { 1 };
            for request in &phantom.requests[..prompted] {
                let sample = samples.next().unwrap();
                assert_eq!(sample.prompts, [request.prompt.as_str()]);
                let size = load_image(&sample.image).unwrap().size();
                assert_eq!(load_masks(sample, size).unwrap(), phantom.mask(request.lesion));
                assert_eq!(sample.other_masks.len(), prompted - 1);
                assert!(!sample.other_masks.contains(&sample.masks[0]));
            }
        }
        assert!(samples.next().is_none());
        assert!(train.len() > 3, "none of these phantoms has two lesions to ask for");
        assert_eq!(std::fs::read_dir(folder.parent().unwrap()).unwrap().count(), 1, "nothing is left beside");
    }

    #[test]
    fn a_part_without_lesions_has_empty_masks_and_is_asked_for_lesions() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("phantoms");
        write_folder(&folder, &WriteOptions { count: 9, val_fraction: 0.0, lesion_free: 0.34, ..OPTIONS }, || ())
            .unwrap();
        let samples = load_samples(&folder, Split::Train, &LoadOptions::default()).unwrap();
        let is_empty = |sample: &&Sample| {
            let size = load_image(&sample.image).unwrap().size();
            load_masks(sample, size).unwrap().area() == 0
        };
        assert!(samples.iter().all(|sample| !sample.prompts[0].is_empty()));
        assert_eq!(samples.iter().filter(is_empty).count(), 3);
    }

    #[test]
    fn equal_options_write_equal_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let files = [
            "Train_Folder/img/phantom_00001.png",
            "Val_Folder/label/phantom_00004.png",
            "Prompts_Folder/Val_text.xlsx",
        ];
        let [first, second] = ["a", "b"].map(|name| {
            let folder = directory.path().join(name);
            write_folder(&folder, &OPTIONS, || ()).unwrap();
            // A workbook with its creation time would differ from one a second later.
            std::thread::sleep(std::time::Duration::from_millis(1100));
            files.map(|file| std::fs::read(folder.join(file)).unwrap())
        });
        assert!(first == second);
    }

    #[test]
    fn occupied_and_unwritable_places_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let occupied = write_folder(directory.path().parent().unwrap(), &OPTIONS, || ());
        assert!(matches!(occupied, Err(PhantomError::Occupied { .. })));
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(write_folder(&file, &OPTIONS, || ()), Err(PhantomError::Occupied { .. })));
        assert!(matches!(write_folder(&file.join("below"), &OPTIONS, || ()), Err(PhantomError::Write { .. })));
    }
}
