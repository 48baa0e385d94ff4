//! MedVLSM's layout: `anns/{train,val,test}.json`, `images/`, `masks/`.
//!
//! Each object has `img_name`, `mask_name` and `prompts`: `p0` is empty, later ones say more; a list offers
//! alternatives.

use super::{DataLayout, existing_file, stem};
use crate::data::{DataError, MaskRule, Pathology, Sample, Split};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Deserialize)]
struct Annotation {
    img_name: String,
    mask_name: String,
    #[serde(default)]
    prompts: BTreeMap<String, Wordings>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Wordings {
    One(String),
    Choice(Vec<String>),
}

impl Wordings {
    fn texts(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Choice(texts) => texts,
        }
    }
}

pub fn load(root: &Path, split: Split, wording: Option<&str>) -> Result<Vec<Sample>, DataError> {
    let path = root.join("anns").join(format!("{split}.json"));
    if !path.is_file() {
        return Err(DataError::Absent { path, layout: DataLayout::Medvlsm, split, what: "annotations" });
    }
    let text = std::fs::read_to_string(&path).map_err(|source| DataError::Read { path: path.clone(), source })?;
    let annotations: Vec<Annotation> = serde_json::from_str(&text)
        .map_err(|error| DataError::Json { path: path.clone(), reason: error.to_string() })?;
    annotations
        .iter()
        .enumerate()
        .map(|(index, annotation)| annotation.sample(root, &path, index + 1, wording))
        .collect()
}

impl Annotation {
    /// `row` counts the file's objects from one.
    fn sample(&self, root: &Path, path: &Path, row: usize, wording: Option<&str>) -> Result<Sample, DataError> {
        let image = existing_file(&root.join("images"), &self.img_name, "image", path, row)?;
        let mask = existing_file(&root.join("masks"), &self.mask_name, "mask", path, row)
            .or_else(|error| existing_file(root, &self.mask_name, "mask", path, row).map_err(|_| error))?;
        let prompts = self.texts(path, wording)?;
        if prompts.is_empty() {
            return Err(DataError::EmptyCell { path: path.into(), row, column: "prompts" });
        }
        // CAMUS stores one mask a structure: the mask distinguishes its cases, not the image.
        let case_id = stem(Path::new(&self.mask_name));
        let mut sample = Sample::new(case_id, image, MaskRule::AboveHalf);
        sample.patient = patient(&sample.case_id);
        sample.pathology = prompts.iter().find_map(|prompt| Pathology::named_in(prompt));
        sample.masks.push(mask);
        sample.prompts = prompts;
        Ok(sample)
    }

    /// The texts of one key, or all that are not empty.
    fn texts(&self, path: &Path, wording: Option<&str>) -> Result<Vec<String>, DataError> {
        let trimmed = |wordings: &Wordings| wordings.texts().iter().map(|text| text.trim().to_string()).collect();
        match wording {
            Some(wanted) => self.prompts.get(wanted).map(trimmed).ok_or_else(|| DataError::UnknownPrompts {
                path: path.into(),
                wanted: wanted.into(),
                found: self.prompts.keys().cloned().collect::<Vec<_>>().join(", "),
            }),
            None => {
                let texts: Vec<Vec<String>> = self.prompts.values().map(trimmed).collect();
                Ok(texts.into_iter().flatten().filter(|text| !text.is_empty()).collect())
            }
        }
    }
}

/// CAMUS names files `patient0001_2CH_ED_gt.png`.
fn patient(case_id: &str) -> Option<String> {
    let digits: String = case_id.strip_prefix("patient")?.chars().take_while(char::is_ascii_digit).collect();
    (!digits.is_empty()).then(|| format!("patient{digits}"))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;

    fn fixture(annotations: &str) -> Fixture {
        let fixture = Fixture::new();
        fixture.picture("images/patient0001_2CH_ED.png", 8, 6);
        fixture.picture("masks/mask_1/patient0001_2CH_ED_gt.png", 8, 6);
        fixture.file("anns/train.json", annotations.as_bytes());
        fixture
    }

    const GOOD: &str = r#"[{"img_name": "patient0001_2CH_ED.png", "mask_name": "mask_1/patient0001_2CH_ED_gt.png",
        "prompts": {"p0": "", "p1": "left ventricle", "p2": ["a cavity", "the cavity of a heart "]}}]"#;

    #[test]
    fn offers_every_prompt_or_the_one_asked_for() {
        let fixture = fixture(GOOD);
        let prompts = |wording| load(fixture.root(), Split::Train, wording).map(|mut s| s.remove(0).prompts);
        assert_eq!(prompts(None).unwrap(), ["left ventricle", "a cavity", "the cavity of a heart"]);
        assert_eq!(prompts(Some("p2")).unwrap(), ["a cavity", "the cavity of a heart"]);
        assert_eq!(prompts(Some("p0")).unwrap(), [""]);
        let error = prompts(Some("p9")).unwrap_err().to_string();
        assert!(error.contains("p0, p1, p2"), "{error}");
    }

    #[test]
    fn patients_come_from_the_mask_name() {
        let fixture = fixture(GOOD);
        let sample = load(fixture.root(), Split::Train, None).unwrap().remove(0);
        assert_eq!(sample.patient.as_deref(), Some("patient0001"));
        assert_eq!(sample.case_id, "patient0001_2CH_ED_gt");
        assert!(sample.masks[0].ends_with("masks/mask_1/patient0001_2CH_ED_gt.png"));
    }

    #[test]
    fn bad_annotations_are_named() {
        for (annotations, expected) in [
            ("{", "not the JSON"),
            (r#"[{"img_name": "a.png"}]"#, "mask_name"),
            (r#"[{"img_name": "a.png", "mask_name": "b.png", "prompts": {"p1": "x"}}]"#, "image `a.png`"),
            (
                r#"[{"img_name": "patient0001_2CH_ED.png", "mask_name": "mask_1/patient0001_2CH_ED_gt.png", "prompts": {"p0": ""}}]"#,
                "no prompts",
            ),
            (r#"[{"img_name": "patient0001_2CH_ED.png", "mask_name": "b.png", "prompts": {"p1": "x"}}]"#, "masks;"),
        ] {
            let error = load(fixture(annotations).root(), Split::Train, None).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("train.json"), "{error}");
        }
    }
}
