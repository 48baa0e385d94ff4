//! Operators on token sequences, on the attention pool's grid and on prompt vectors.

use super::{NodeTensor, Weigher};
use burn::tensor::module::{embedding, layer_norm};
use burn::tensor::{Device, Tensor, TensorData, activation};
use causalclipseg::graph::{NORM_EPSILON, Op};

/// Computes an operator; `None` if it does not accept these inputs.
pub(super) fn apply(op: &Op, inputs: &[NodeTensor], weights: &Weigher) -> Option<NodeTensor> {
    use NodeTensor::{Map, Sequence, Tokens, Vector};
    Some(match (op, inputs) {
        (Op::QuickGelu, [Sequence(x)]) => Sequence(x.clone().mul(activation::sigmoid(x.clone().mul_scalar(1.702)))),
        (Op::LayerNorm { prefix }, [Sequence(x)]) => Sequence(layer_norm(
            x.clone(),
            weights.vector(prefix, "weight"),
            Some(weights.vector(prefix, "bias")),
            NORM_EPSILON as f64,
        )),
        (Op::SequenceToGrid { height, width }, [Sequence(x)]) => {
            let [batch, _, channels] = x.dims();
            Map(x.clone().swap_dims(1, 2).reshape([batch, channels, *height, *width]))
        }
        (Op::AddPositions { table, skip, .. }, [Sequence(x)]) => {
            let [_, length, width] = x.dims();
            let rows = weights.matrix(table).slice([*skip..skip + length, 0..width]);
            Sequence(x.clone().add(rows.unsqueeze::<3>()))
        }
        (Op::Linear { .. }, [Sequence(x)]) => Sequence(by_rows(x.clone(), |rows| linear(op, rows, weights))),
        (Op::Linear { .. }, [Vector(x)]) => Vector(linear(op, x.clone(), weights)),
        (Op::Project { matrix, .. }, [Sequence(x)]) => {
            Sequence(by_rows(x.clone(), |rows| rows.matmul(weights.matrix(matrix))))
        }
        (Op::Project { matrix, .. }, [Vector(x)]) => Vector(x.clone().matmul(weights.matrix(matrix))),
        (Op::Add, [Sequence(x), Sequence(y)]) => Sequence(x.clone().add(y.clone())),
        (Op::Add, [Vector(x), Vector(y)]) => Vector(x.clone().add(y.clone())),
        (Op::Attention { heads, causal }, [Sequence(q), Sequence(k), Sequence(v)]) => {
            Sequence(attention(q.clone(), k.clone(), v.clone(), *heads, *causal))
        }
        (Op::Embed { table, .. }, [Tokens(tokens)]) => Sequence(embedding(weights.matrix(table), tokens.ids.clone())),
        (Op::EndOfText, [Sequence(x), Tokens(tokens)]) => {
            let [batch, length, width] = x.dims();
            let chosen = one_hot(&tokens.ends, tokens.length, &x.device().inner());
            debug_assert_eq!(length, tokens.length);
            Vector(chosen.matmul(x.clone()).reshape([batch, width]))
        }
        _ => return None,
    })
}

/// One matrix product over all rows of a batch, instead of one for each sequence.
fn by_rows(x: Tensor<3>, f: impl Fn(Tensor<2>) -> Tensor<2>) -> Tensor<3> {
    let [batch, length, width] = x.dims();
    let y = f(x.reshape([batch * length, width]));
    let [_, out] = y.dims();
    y.reshape([batch, length, out])
}

fn linear(op: &Op, x: Tensor<2>, weights: &Weigher) -> Tensor<2> {
    let Op::Linear { weight, bias, weight_rows, first_row, out } = op else {
        unreachable!("only called for linear layers")
    };
    let [_, width] = x.dims();
    let mut matrix = weights.matrix(weight);
    let is_part = out < weight_rows;
    if is_part {
        matrix = matrix.slice([*first_row..first_row + out, 0..width]);
    }
    let y = x.matmul(matrix.transpose());
    match bias {
        None => y,
        Some(name) => {
            let mut bias = weights.values(name);
            if is_part {
                bias = bias.narrow(0, *first_row, *out);
            }
            y.add(bias.unsqueeze::<2>())
        }
    }
}

fn attention(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, heads: usize, causal: bool) -> Tensor<3> {
    let [batch, length, width] = q.dims();
    let head = width / heads;
    let split = |x: Tensor<3>| x.reshape([batch, length, heads, head]).swap_dims(1, 2);
    let device = q.device().inner();
    let mut scores = split(q).matmul(split(k).swap_dims(2, 3)).div_scalar((head as f32).sqrt());
    if causal {
        scores = scores.add(future(length, &device));
    }
    activation::softmax(scores, 3).matmul(split(v)).swap_dims(1, 2).reshape([batch, length, width])
}

/// The causal attention mask, 1 x 1 x length x length.
fn future(length: usize, device: &Device) -> Tensor<4> {
    const EXCLUDED: f32 = -1e9;
    let values: Vec<f32> = (0..length * length).map(|i| if i % length > i / length { EXCLUDED } else { 0.0 }).collect();
    Tensor::from_data(TensorData::new(values, [1, 1, length, length]), device)
}

/// Batch x 1 x length.
fn one_hot(positions: &[usize], length: usize, device: &Device) -> Tensor<3> {
    let mut values = vec![0f32; positions.len() * length];
    for (row, position) in positions.iter().enumerate() {
        values[row * length + position] = 1.0;
    }
    Tensor::from_data(TensorData::new(values, [positions.len(), 1, length]), device)
}
