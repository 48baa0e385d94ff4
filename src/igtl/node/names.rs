//! The device names of results.

use super::prompts::MAX_PROMPTS;
use crate::igtl::DeviceName;

/// The longest name: with one of these words and a number of two digits it fills a device name's 20 characters.
const LONGEST_NAME: usize = 20 - "Contour".len() - 2;

/// Device names by prompt. They differ between kinds of message too: some programs keep one message a name.
pub(super) struct ResultNames {
    masks: Vec<DeviceName>,
    contours: Vec<DeviceName>,
    reports: Vec<DeviceName>,
    status: DeviceName,
}

impl ResultNames {
    /// The names; `None` for a name that is too long, or has other characters than letters, digits and underscores.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let usable = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(usable) {
            return None;
        }
        let numbered = |kind: &str| {
            let of_prompt = |at: usize| {
                DeviceName::new(&match at {
                    0 => format!("{name}{kind}"),
                    _ => format!("{name}{kind}{}", at + 1),
                })
            };
            (0..MAX_PROMPTS).map(of_prompt).collect::<Option<Vec<_>>>()
        };
        Some(Self {
            masks: numbered("Mask")?,
            contours: numbered("Contour")?,
            reports: numbered("Report")?,
            status: DeviceName::new(name)?,
        })
    }

    /// The name of the mask of the prompt with this number, from 0.
    pub(crate) fn mask(&self, prompt: usize) -> Option<DeviceName> {
        self.masks.get(prompt).copied()
    }

    /// The name of the contours of the prompt with this number, from 0.
    pub(crate) fn contours(&self, prompt: usize) -> Option<DeviceName> {
        self.contours.get(prompt).copied()
    }

    /// The name of the report of the prompt with this number, from 0.
    pub(crate) fn report(&self, prompt: usize) -> Option<DeviceName> {
        self.reports.get(prompt).copied()
    }

    pub(crate) fn status(&self) -> DeviceName {
        self.status
    }

    /// Whether an image is one of our own masks: a peer that sends back its input must not cause an endless loop.
    pub(crate) fn is_own_mask(&self, device: &DeviceName) -> bool {
        self.masks.contains(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_numbered_and_bounded() {
        let names = ResultNames::new("Lesion_1234").unwrap();
        assert_eq!(names.mask(0).unwrap(), "Lesion_1234Mask");
        assert_eq!(names.contours(MAX_PROMPTS - 1).unwrap(), "Lesion_1234Contour16");
        assert_eq!(names.report(MAX_PROMPTS), None);
        assert!(names.is_own_mask(&names.mask(3).unwrap()) && !names.is_own_mask(&names.status()));
        for bad in ["", "Lesion_12345", "a b", "ä"] {
            assert!(ResultNames::new(bad).is_none(), "{bad}");
        }
    }
}
