//! The POLYDATA message: points, and lines between them.

use super::ProtocolError;
use super::fields::Fields;

/// Points in millimetres and lines over them. Vertices, polygons, strips and attributes are skipped.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolyData {
    pub points: Vec<[f32; 3]>,
    /// The lines, each a sequence of indices of points; closed where it ends with its first.
    pub lines: Vec<Vec<u32>>,
}

impl PolyData {
    /// Adds a line that returns to its first point.
    pub fn add_closed_line(&mut self, points: impl IntoIterator<Item = [f32; 3]>) {
        let first = self.points.len() as u32;
        self.points.extend(points);
        let end = self.points.len() as u32;
        if end > first {
            self.lines.push((first..end).chain([first]).collect());
        }
    }

    /// # Errors
    /// Counts contradict each other or the content's size, or lines refer to points that do not exist.
    pub(super) fn parse(content: &[u8]) -> Result<Self, ProtocolError> {
        let malformed = |what: &str| ProtocolError::malformed("POLYDATA", what);
        let mut fields = Fields::new("POLYDATA", content);
        let point_count = fields.u32()?;
        let (_vertices, vertex_bytes) = (fields.u32()?, fields.u32()?);
        let (line_count, line_bytes) = (fields.u32()?, fields.u32()?);
        let (_polygons, polygon_bytes) = (fields.u32()?, fields.u32()?);
        let (_strips, strip_bytes) = (fields.u32()?, fields.u32()?);
        let _attributes = fields.u32()?;
        let point_bytes = (point_count as usize).checked_mul(12).ok_or_else(|| malformed("too many points"))?;
        let coordinates = fields.take(point_bytes)?.as_chunks::<4>().0;
        let points = coordinates.as_chunks::<3>().0.iter().map(|point| point.map(f32::from_be_bytes)).collect();
        fields.take(vertex_bytes as usize)?;
        let mut cells = Fields::new("POLYDATA lines", fields.take(line_bytes as usize)?);
        fields.take(polygon_bytes as usize)?;
        fields.take(strip_bytes as usize)?;
        let mut lines = Vec::new();
        while cells.left() > 0 {
            let count = cells.u32()?;
            let bytes = (count as usize).checked_mul(4).ok_or_else(|| malformed("a line has too many points"))?;
            let line: Vec<u32> = cells.take(bytes)?.as_chunks::<4>().0.iter().map(|n| u32::from_be_bytes(*n)).collect();
            if line.iter().any(|point| *point >= point_count) {
                return Err(malformed("a line refers to a point that does not exist"));
            }
            lines.push(line);
        }
        if lines.len() != line_count as usize {
            return Err(malformed("the number of lines differs from the announced one"));
        }
        Ok(Self { points, lines })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let line_bytes: usize = self.lines.iter().map(|line| 4 * (line.len() + 1)).sum();
        out.reserve(40 + 12 * self.points.len() + line_bytes);
        let counts = [self.points.len(), 0, 0, self.lines.len(), line_bytes, 0, 0, 0, 0, 0];
        out.extend(counts.iter().flat_map(|count| (*count as u32).to_be_bytes()));
        out.extend(self.points.as_flattened().iter().flat_map(|coordinate| coordinate.to_be_bytes()));
        for line in &self.lines {
            out.extend((line.len() as u32).to_be_bytes());
            out.extend(line.iter().flat_map(|point| point.to_be_bytes()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_and_are_closed() {
        let mut data = PolyData::default();
        data.add_closed_line([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 1.0]]);
        data.add_closed_line([]);
        data.add_closed_line([[5.0, 5.0, 5.0], [6.0, 5.0, 5.0]]);
        assert_eq!(data.lines, [vec![0, 1, 2, 0], vec![3, 4, 3]]);
        let mut content = Vec::new();
        data.write(&mut content);
        assert_eq!(PolyData::parse(&content).unwrap(), data);
        for cut in 0..content.len() {
            assert!(PolyData::parse(&content[..cut]).is_err(), "{cut}");
        }
        // A point beyond the last.
        let last = content.len() - 1;
        content[last] = 5;
        assert!(PolyData::parse(&content).unwrap_err().to_string().contains("does not exist"));
        let mut empty = Vec::new();
        PolyData::default().write(&mut empty);
        assert_eq!(PolyData::parse(&empty).unwrap(), PolyData::default());
    }

    #[test]
    fn counts_are_compared_before_anything_is_kept() {
        let mut content = vec![0; 40];
        content[..4].fill(0xff);
        assert!(matches!(PolyData::parse(&content), Err(ProtocolError::CutShort { .. })));
        content[..4].fill(0);
        content[15] = 1;
        assert!(PolyData::parse(&content).is_err());
    }
}
