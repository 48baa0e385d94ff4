//! The meaning of an array's axes: colours, columns, rows, slices or frames.

use super::NrrdError;

/// The array's axes by meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Axes {
    /// The axis of the array that is the columns, and the one that is the rows.
    pub columns: usize,
    pub rows: usize,
    /// The axis that counts several pictures: slices or frames.
    pub frames: Option<usize>,
    /// Whether that axis comes before the columns.
    pub frames_first: bool,
    /// Whether that axis is an axis of space.
    pub is_volume: bool,
    /// The number of samples of a pixel.
    pub channels: u64,
}

/// The meaning of a `kinds` entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Space,
    List,
    Colours,
    Unknown,
}

impl Kind {
    fn of(word: &str) -> Self {
        match word {
            "domain" | "space" => Self::Space,
            "list" | "time" => Self::List,
            "vector" | "point" | "color" | "RGB-color" | "RGBA-color" | "3-color" | "4-color" | "3-vector"
            | "4-vector" | "HSV-color" | "XYZ-color" => Self::Colours,
            _ => Self::Unknown,
        }
    }
}

impl Axes {
    /// Reads the sizes, the words of `kinds` if there are any, and whether `space directions` has a direction for an
    /// axis.
    pub fn of(sizes: &[u64], kinds: &[String], in_space: &[bool]) -> Result<Self, NrrdError> {
        let unsupported = |reason: &str| Err(NrrdError::Unsupported(reason.into()));
        let kinds: Vec<Kind> = (0..sizes.len())
            .map(|axis| match (kinds.get(axis).map(|word| Kind::of(word)), in_space.get(axis)) {
                (Some(Kind::Space), _) | (None | Some(Kind::Unknown), Some(true)) => Kind::Space,
                // Without a direction: colours where they come first and have a count of colours, otherwise frames.
                (None | Some(Kind::Unknown), Some(false)) if axis == 0 && [1, 3, 4].contains(&sizes[0]) => {
                    Kind::Colours
                }
                (None | Some(Kind::Unknown), Some(false)) => Kind::List,
                (Some(kind), _) => kind,
                (None, None) => Kind::Space,
            })
            .map(|kind| if kind == Kind::Unknown { Kind::Space } else { kind })
            .collect();
        let mut first = 0;
        let mut channels = 1;
        if kinds.first() == Some(&Kind::Colours) {
            (channels, first) = (sizes[0], 1);
        }
        if kinds[first..].contains(&Kind::Colours) {
            return unsupported("its colours are not side by side in each pixel");
        }
        let frames_first = kinds.get(first) == Some(&Kind::List);
        if frames_first && channels > 1 {
            return unsupported("its frames come within each colour");
        }
        // Axes of length one beyond the second mean nothing.
        let mut rest: Vec<usize> = (first..sizes.len()).collect();
        let list_axis = frames_first.then(|| rest.remove(0));
        while rest.len() > 2
            && let Some(at) = (2..rest.len()).find(|at| sizes[rest[*at]] == 1)
        {
            // All of them may have length one: then the last stays, and counts one frame.
            if rest.len() == 3 && list_axis.is_none() {
                break;
            }
            rest.remove(at);
        }
        match (&rest[..], list_axis) {
            ([columns, rows], frames) => {
                Ok(Self { columns: *columns, rows: *rows, frames, frames_first, is_volume: false, channels })
            }
            ([columns, rows, frames], None) => Ok(Self {
                columns: *columns,
                rows: *rows,
                frames: Some(*frames),
                frames_first: false,
                is_volume: kinds[*frames] == Kind::Space,
                channels,
            }),
            ([_, _, _, ..], _) => unsupported("it has four dimensions, volumes over time"),
            _ => unsupported("it has fewer than two dimensions"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes(sizes: &[u64], kinds: &str) -> Result<Axes, NrrdError> {
        let kinds: Vec<String> = kinds.split_whitespace().map(str::to_string).collect();
        Axes::of(sizes, &kinds, &[])
    }

    fn found(columns: usize, frames: Option<usize>, channels: u64) -> Axes {
        Axes { columns, rows: columns + 1, frames, frames_first: false, is_volume: false, channels }
    }

    #[test]
    fn pictures_sequences_and_volumes() {
        assert_eq!(axes(&[5, 4], "").unwrap(), found(0, None, 1));
        assert_eq!(axes(&[5, 4, 7], "domain domain list").unwrap(), found(0, Some(2), 1));
        assert_eq!(axes(&[5, 4, 7], "").unwrap(), Axes { is_volume: true, ..found(0, Some(2), 1) });
        assert_eq!(axes(&[5, 4, 1], "domain domain domain").unwrap(), Axes { is_volume: true, ..found(0, Some(2), 1) });
        assert_eq!(axes(&[3, 5, 4], "RGB-color domain domain").unwrap(), found(1, None, 3));
        assert_eq!(axes(&[3, 5, 4, 2], "vector domain domain list").unwrap(), found(1, Some(3), 3));
        assert_eq!(axes(&[5, 4, 1, 9], "domain domain domain list").unwrap(), found(0, Some(3), 1));
        // 3D Slicer's sequences.
        let slicer = Axes { columns: 1, rows: 2, frames: Some(0), frames_first: true, is_volume: false, channels: 1 };
        assert_eq!(axes(&[9, 5, 4, 1], "list domain domain domain").unwrap(), slicer);
        assert_eq!(axes(&[9, 5, 4], "list domain domain").unwrap(), slicer);
        // Without kinds, an axis without a direction is not an axis of space.
        assert_eq!(Axes::of(&[3, 5, 4], &[], &[false, true, true]).unwrap(), found(1, None, 3));
        assert_eq!(Axes::of(&[5, 4, 9], &[], &[true, true, false]).unwrap(), found(0, Some(2), 1));
    }

    #[test]
    fn what_is_more_is_refused() {
        for (sizes, kinds, reason) in [
            (&[5, 4, 2, 9][..], "domain domain domain list", "volumes over time"),
            (&[9, 5, 4, 2], "list domain domain domain", "volumes over time"),
            (&[5, 4, 3], "domain domain RGB-color", "not side by side"),
            (&[3, 9, 5, 4], "vector list domain domain", "within each colour"),
            (&[5], "", "fewer than two"),
            (&[3, 5], "vector domain", "fewer than two"),
            (&[], "", "fewer than two"),
        ] {
            let error = axes(sizes, kinds).unwrap_err().to_string();
            assert!(error.contains(reason), "`{reason}` is not in: {error}");
        }
    }
}
