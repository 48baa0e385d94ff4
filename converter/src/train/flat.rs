//! Where named weights are in one vector: a few operations on the vector replace a few for each weight.

use super::network::ParameterTable;
use burn::tensor::Tensor;
use std::ops::Range;

/// The names of concatenated weights, and their ranges in the vector.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FlatParts(Vec<(String, Range<usize>)>);

impl FlatParts {
    /// Weights with these lengths, in this order.
    pub fn new(weights: impl IntoIterator<Item = (String, usize)>) -> Self {
        let mut end = 0;
        let place = |(name, length): (String, usize)| {
            let start = end;
            end += length;
            (name, start..end)
        };
        Self(weights.into_iter().map(place).collect())
    }

    /// The names and ranges, in the vector's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Range<usize>)> {
        self.0.iter().map(|(name, range)| (name.as_str(), range.clone()))
    }

    /// The names, in the vector's order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The lengths, in the vector's order.
    pub fn lengths(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|(_, range)| range.len())
    }

    /// The values of these weights in one vector. There is at least one weight.
    pub fn gather(&self, table: &ParameterTable) -> Tensor<1> {
        Tensor::cat(self.names().map(|name| table.get(name).values.clone()).collect(), 0)
    }

    /// The parts of such a vector.
    pub fn split<'a>(&'a self, vector: &'a Tensor<1>) -> impl Iterator<Item = (&'a str, Tensor<1>)> {
        self.iter().map(|(name, range)| (name, vector.clone().slice([range])))
    }

    /// Writes the parts of such a vector into a table.
    pub fn scatter(&self, vector: &Tensor<1>, table: &mut ParameterTable) {
        self.split(vector).for_each(|(name, values)| table.set(name, values));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other() {
        let parts = FlatParts::new([("a".to_string(), 2), ("b".into(), 0), ("c".into(), 3)]);
        let found: Vec<(&str, Range<usize>)> = parts.iter().collect();
        assert_eq!(found, [("a", 0..2), ("b", 2..2), ("c", 2..5)]);
        assert_eq!(parts.lengths().collect::<Vec<_>>(), [2, 0, 3]);
        assert_eq!(FlatParts::new([]).iter().count(), 0);
    }
}
