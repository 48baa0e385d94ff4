//! MedCLIPSeg's layout, in which sixteen public sets are available.
//!
//! `{Train,Val,Test}_Folder/{img,label}/` and `Prompts_Folder/{Train,Val}_text.xlsx`, `Test_text_<wording>.xlsx` with the
//! columns `Image`, `Description`, `Ground Truth`. BUS-BRA's own table, `bus_data.csv`, adds patients where it is there, and
//! `confounder.csv` what [`crate::confound`] planted.

pub(crate) mod planted;

use super::super::table::Table;
use super::{DataLayout, existing_file, split_folder, stem, warn_of_unused};
use crate::data::{DataError, MaskRule, Pathology, Sample, Split};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The wording of the test split that is read by default.
const PUBLISHED_WORDING: &str = "original";

pub fn load(root: &Path, split: Split, wording: Option<&str>) -> Result<Vec<Sample>, DataError> {
    let folder = split_folder(root, split);
    let (images, labels) = (folder.join("img"), folder.join("label"));
    let layout = DataLayout::Medclipseg;
    if !images.is_dir() {
        return Err(DataError::Absent { path: images, layout, split, what: "images" });
    }
    let table = Table::read(&prompt_table(root, split, wording)?)?;
    let image_column = table.column("Image")?;
    let text_column = table.column("Description")?;
    let mask_column = table.column("Ground Truth")?;
    let clinical = clinical_table(root)?;
    let planted = planted::read(root, split)?;
    let mut samples = Vec::with_capacity(table.rows.len());
    for row in &table.rows {
        let image_name = table.required(row, image_column, "Image")?;
        let mask_name = table.required(row, mask_column, "Ground Truth")?;
        let text = table.required(row, text_column, "Description")?;
        let image = existing_file(&images, image_name, "image", &table.path, row.number)?;
        let mask = existing_file(&labels, mask_name, "mask", &table.path, row.number)?;
        let mut sample = Sample::new(stem(&image), image, MaskRule::AboveHalf);
        sample.masks.push(mask);
        sample.prompts.push(text.to_string());
        sample.pathology = Pathology::named_in(text);
        if let Some(case) = clinical.get(&sample.case_id) {
            case.describe(&mut sample);
        }
        if let Some(planted) = planted.get(image_name) {
            planted.describe(&mut sample, &labels, &table.path, row.number)?;
        }
        samples.push(sample);
    }
    warn_of_unused(&labels, &samples, &table.path);
    Ok(samples)
}

/// The table of a split: `Test_text_original.xlsx` or `Train_text.xlsx`, in `Prompts_Folder` or beside it.
fn prompt_table(root: &Path, split: Split, wording: Option<&str>) -> Result<PathBuf, DataError> {
    let title = split.title();
    let names = match (wording, split) {
        (Some(wording), _) => vec![format!("{title}_text_{wording}.xlsx")],
        (None, Split::Test) => vec![format!("{title}_text_{PUBLISHED_WORDING}.xlsx"), format!("{title}_text.xlsx")],
        (None, _) => vec![format!("{title}_text.xlsx")],
    };
    let folders = [root.join("Prompts_Folder"), root.to_path_buf()];
    let candidates = folders.iter().flat_map(|folder| names.iter().map(move |name| folder.join(name)));
    if let Some(found) = candidates.into_iter().find(|path| path.is_file()) {
        return Ok(found);
    }
    match wording {
        Some(wording) => Err(DataError::UnknownPrompts {
            path: folders[0].clone(),
            wanted: wording.into(),
            found: wordings(&folders[0], title).join(", "),
        }),
        None => {
            let path = folders[0].join(&names[0]);
            Err(DataError::Absent { path, layout: DataLayout::Medclipseg, split, what: "prompts" })
        }
    }
}

fn wordings(folder: &Path, title: &str) -> Vec<String> {
    let prefix = format!("{title}_text_");
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<String> =
        entries.filter_map(|entry| stem(&entry.path()).strip_prefix(&prefix).map(str::to_string)).collect();
    found.sort();
    found
}

struct Clinical {
    patient: String,
    pathology: Option<Pathology>,
    histology: Option<String>,
    device: Option<String>,
    side: Option<String>,
}

impl Clinical {
    fn describe(&self, sample: &mut Sample) {
        sample.patient = Some(self.patient.clone());
        sample.pathology = self.pathology.or(sample.pathology);
        sample.histology.clone_from(&self.histology);
        sample.device.clone_from(&self.device);
        sample.side.clone_from(&self.side);
    }
}

/// BUS-BRA's table of cases by image name; empty where the set has no such table.
fn clinical_table(root: &Path) -> Result<HashMap<String, Clinical>, DataError> {
    let path = root.join("bus_data.csv");
    if !path.is_file() {
        return Ok(HashMap::new());
    }
    let table = Table::read(&path)?;
    let (id, case) = (table.column("ID")?, table.column("Case")?);
    let optional = ["Pathology", "Histology", "Device", "Side"].map(|name| table.find_column(name));
    let mut cases = HashMap::new();
    for row in &table.rows {
        let text = |column: Option<usize>| {
            column.map(|column| row.get(column)).filter(|text| !text.is_empty()).map(str::to_string)
        };
        let [pathology, histology, device, side] = optional.map(text);
        let clinical = Clinical {
            patient: table.required(row, case, "Case")?.to_string(),
            pathology: pathology.as_deref().and_then(Pathology::named_in),
            histology,
            device,
            side,
        };
        cases.insert(table.required(row, id, "ID")?.to_string(), clinical);
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;

    const HEADER: &[&str] = &["Image", "Description", "Ground Truth"];

    fn fixture(rows: &[&[&str]]) -> Fixture {
        let fixture = Fixture::new();
        fixture.picture("Train_Folder/img/a.png", 8, 6);
        fixture.picture("Train_Folder/label/a_gt.png", 8, 6);
        fixture.workbook("Prompts_Folder/Train_text.xlsx", &[&[HEADER], rows].concat());
        fixture
    }

    #[test]
    fn reads_rows_and_trims_newlines() {
        let fixture = fixture(&[&["a.png", "A malignant mass on the left.\n", "a_gt.png"]]);
        let samples = load(fixture.root(), Split::Train, None).unwrap();
        assert_eq!(samples.len(), 1);
        assert_eq!(samples[0].case_id, "a");
        assert_eq!(samples[0].prompts, ["A malignant mass on the left."]);
        assert_eq!(samples[0].masks, [fixture.root().join("Train_Folder/label/a_gt.png")]);
        assert_eq!(samples[0].pathology, Some(Pathology::Malignant));
        assert_eq!(samples[0].group(), "a");
    }

    #[test]
    fn takes_patients_from_bus_bras_table() {
        let fixture = fixture(&[&["a.png", "A mass.", "a_gt.png"]]);
        fixture.file(
            "bus_data.csv",
            b"ID,Case,Histology,Pathology,BIRADS,Device,Width,Height,Side,BBOX\n\
              a,17,cyst,benign,2,GE Logiq,8,6,left,\"[1,2,3,4]\"\n",
        );
        let sample = load(fixture.root(), Split::Train, None).unwrap().remove(0);
        assert_eq!(sample.patient.as_deref(), Some("17"));
        assert_eq!(sample.pathology, Some(Pathology::Benign));
        assert_eq!(
            (sample.device.as_deref(), sample.side.as_deref(), sample.histology.as_deref()),
            (Some("GE Logiq"), Some("left"), Some("cyst"))
        );
    }

    #[test]
    fn rows_that_do_not_fit_are_named() {
        for (row, expected) in [
            (["a.png", "A mass.", "gone.png"], "row 2"),
            (["a.png", "A mass.", "gone.png"], "mask `gone.png`"),
            (["gone.png", "A mass.", "a_gt.png"], "image `gone.png`"),
            (["a.png", " \n", "a_gt.png"], "no Description"),
            (["", "A mass.", "a_gt.png"], "no Image"),
            (["../img/a.png", "A mass.", "a_gt.png"], "outside"),
        ] {
            let fixture = fixture(&[&row]);
            let error = load(fixture.root(), Split::Train, None).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("Train_text.xlsx"), "{error}");
        }
    }

    #[test]
    fn a_wrong_header_is_named() {
        let fixture = fixture(&[]);
        fixture.workbook("Prompts_Folder/Train_text.xlsx", &[&["Image", "Text", "Ground Truth"], &["a.png"]]);
        let error = load(fixture.root(), Split::Train, None).unwrap_err().to_string();
        assert!(error.contains("`Description`") && error.contains("Image, Text"), "{error}");
    }

    #[test]
    fn test_prompts_come_in_wordings() {
        let fixture = Fixture::new();
        fixture.picture("Test_Folder/img/a.png", 8, 6);
        fixture.picture("Test_Folder/label/a.png", 8, 6);
        for wording in ["original", "contradictory"] {
            let name = format!("Prompts_Folder/Test_text_{wording}.xlsx");
            fixture.workbook(&name, &[HEADER, &["a.png", wording, "a.png"]]);
        }
        let prompts = |wording| load(fixture.root(), Split::Test, wording).map(|mut samples| samples.remove(0).prompts);
        assert_eq!(prompts(None).unwrap(), ["original"]);
        assert_eq!(prompts(Some("contradictory")).unwrap(), ["contradictory"]);
        let error = prompts(Some("poetic")).unwrap_err().to_string();
        assert!(error.contains("contradictory, original"), "{error}");
    }

    #[test]
    fn absent_splits_and_tables_are_named() {
        let fixture = fixture(&[]);
        let error = load(fixture.root(), Split::Val, None).unwrap_err().to_string();
        assert!(error.contains("Val_Folder") && error.contains("val split"), "{error}");
        std::fs::remove_file(fixture.root().join("Prompts_Folder/Train_text.xlsx")).unwrap();
        let error = load(fixture.root(), Split::Train, None).unwrap_err().to_string();
        assert!(error.contains("Train_text.xlsx") && error.contains("prompts"), "{error}");
    }

    /// BUS-BRA, where it is available: below `CAUSALCLIPSEG_DATA`, or in `shared/data` beside the repository.
    fn bus_bra() -> Option<PathBuf> {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
        let data = std::env::var_os("CAUSALCLIPSEG_DATA").map_or(beside, PathBuf::from);
        Some(data.join("busbra")).filter(|folder| folder.is_dir())
    }

    #[test]
    fn reads_bus_bra() {
        let Some(root) = bus_bra() else {
            println!("skipped: no BUS-BRA data");
            return;
        };
        assert_eq!(DataLayout::detect(&root).unwrap(), DataLayout::Medclipseg);
        for (split, count) in [(Split::Train, 1311), (Split::Val, 282)] {
            let samples = load(&root, split, None).unwrap();
            assert_eq!(samples.len(), count);
            for sample in &samples {
                assert!(sample.patient.is_some() && sample.device.is_some() && sample.side.is_some());
                // The sentence and the hospital's table agree on the pathology.
                assert_eq!(sample.pathology, Pathology::named_in(&sample.prompts[0]), "{sample:?}");
            }
            for sample in samples.iter().step_by(40) {
                let picture = crate::data::prepare(sample, 96, &causalclipseg::frame::Fit::Stretch).unwrap();
                assert_eq!(picture.channels, 1, "{sample:?}");
                assert!((0.001..0.8).contains(&picture.lesion_fraction()), "{sample:?}");
            }
        }
    }
}
