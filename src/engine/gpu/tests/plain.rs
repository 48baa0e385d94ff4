//! The steps, written plainly: pixels by channels in f32.

/// Height, width, channels.
pub(crate) type Size = [usize; 3];

pub(crate) fn at(x: &[f32], [height, width, channels]: Size, row: isize, column: isize, channel: usize) -> f32 {
    let inside = (0..height as isize).contains(&row) && (0..width as isize).contains(&column);
    if inside { x[(row as usize * width + column as usize) * channels + channel] } else { 0.0 }
}

/// Weights: out x in x kernel x kernel.
pub(crate) struct Convolution<'a> {
    pub weights: &'a [f32],
    pub bias: &'a [f32],
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
}

pub(crate) fn convolution(x: &[f32], size: Size, of: &Convolution) -> (Vec<f32>, Size) {
    let [height, width, channels] = size;
    let Convolution { weights, bias, kernel, stride, padding } = *of;
    let extent = |size: usize| (size + 2 * padding - kernel) / stride + 1;
    let out = [extent(height), extent(width), bias.len()];
    let mut y = Vec::new();
    for row in 0..out[0] {
        for column in 0..out[1] {
            for (output, bias) in bias.iter().enumerate() {
                let mut sum = f64::from(*bias);
                for input in 0..channels {
                    for ky in 0..kernel {
                        for kx in 0..kernel {
                            let source_row = (row * stride + ky) as isize - padding as isize;
                            let source_column = (column * stride + kx) as isize - padding as isize;
                            let weight = weights[((output * channels + input) * kernel + ky) * kernel + kx];
                            sum += f64::from(weight * at(x, size, source_row, source_column, input));
                        }
                    }
                }
                y.push(sum as f32);
            }
        }
    }
    (y, out)
}

pub(crate) fn average_pool(x: &[f32], size: Size, window: usize) -> Vec<f32> {
    let [height, width, channels] = size;
    let mut y = Vec::new();
    for row in 0..height / window {
        for column in 0..width / window {
            for channel in 0..channels {
                let places = (0..window * window).map(|place| {
                    let (dy, dx) = (place / window, place % window);
                    at(x, size, (row * window + dy) as isize, (column * window + dx) as isize, channel)
                });
                y.push(places.sum::<f32>() / (window * window) as f32);
            }
        }
    }
    y
}

pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

pub(crate) fn softmax(values: &[f32]) -> Vec<f32> {
    let largest = values.iter().copied().fold(f32::MIN, f32::max);
    let powers: Vec<f32> = values.iter().map(|value| (value - largest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

pub(crate) fn attention(q: &[f32], k: &[f32], v: &[f32], width: usize, heads: usize, causal: bool) -> Vec<f32> {
    let (length, head_width) = (q.len() / width, width / heads);
    let mut y = vec![0.0; q.len()];
    for head in 0..heads {
        let row = |x: &[f32], index: usize| x[index * width + head * head_width..][..head_width].to_vec();
        for query in 0..length {
            let seen = if causal { query + 1 } else { length };
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
            let scores = (0..seen).map(|key| dot(&row(q, query), &row(k, key)) / (head_width as f32).sqrt());
            let scores: Vec<f32> = scores.collect();
            for (key, share) in softmax(&scores).into_iter().enumerate() {
                for (channel, value) in row(v, key).into_iter().enumerate() {
                    y[query * width + head * head_width + channel] += share * value;
                }
            }
        }
    }
    y
}

/// `logits`: scale² * 9 channels; logit `tap * scale² + place` belongs to place.
pub(crate) fn carafe(x: &[f32], size: Size, logits: &[f32], scale: usize) -> Vec<f32> {
    let [height, width, channels] = size;
    let places = scale * scale;
    let mut y = Vec::new();
    for row in 0..height * scale {
        for column in 0..width * scale {
            let (low_row, low_column) = (row / scale, column / scale);
            let place = row % scale * scale + column % scale;
            let pixel = &logits[(low_row * width + low_column) * 9 * places..][..9 * places];
            let weights = softmax(&(0..9).map(|tap| pixel[tap * places + place]).collect::<Vec<f32>>());
            for channel in 0..channels {
                let tap = |tap: usize| {
                    let (dy, dx) = (tap as isize / 3 - 1, tap as isize % 3 - 1);
                    weights[tap] * at(x, size, low_row as isize + dy, low_column as isize + dx, channel)
                };
                y.push((0..9).map(tap).sum::<f32>());
            }
        }
    }
    y
}

/// Bilinear, align_corners = false.
pub(crate) fn upsample(x: &[f32], size: Size, scale: usize) -> (Vec<f32>, Size) {
    let [height, width, channels] = size;
    let source = |position: usize, extent: usize| {
        let at = ((position as f64 + 0.5) / scale as f64 - 0.5).max(0.0);
        let lower = (at.floor() as usize).min(extent - 1);
        (lower as isize, (lower + 1).min(extent - 1) as isize, (at - lower as f64) as f32)
    };
    let mut y = Vec::new();
    for row in 0..height * scale {
        let (above, below, down) = source(row, height);
        for column in 0..width * scale {
            let (left, right, over) = source(column, width);
            for channel in 0..channels {
                let line =
                    |row| (1.0 - over) * at(x, size, row, left, channel) + over * at(x, size, row, right, channel);
                y.push((1.0 - down) * line(above) + down * line(below));
            }
        }
    }
    (y, [height * scale, width * scale, channels])
}

/// Blends `9 * C` tap products: upsampled, shifted to where their taps read, summed, with a bias.
pub(crate) fn blend(products: &[f32], size: Size, scale: usize, bias: &[f32], relu: bool) -> (Vec<f32>, Size) {
    let (all, [height, width, nine]) = upsample(products, size, scale);
    let channels = nine / 9;
    let mut y = Vec::new();
    for row in 0..height as isize {
        for column in 0..width as isize {
            for (channel, bias) in bias.iter().enumerate() {
                let tap = |tap: usize| {
                    let (dy, dx) = (tap as isize / 3 - 1, tap as isize % 3 - 1);
                    at(&all, [height, width, nine], row + dy, column + dx, tap * channels + channel)
                };
                let sum = bias + (0..9).map(tap).sum::<f32>();
                y.push(if relu { sum.max(0.0) } else { sum });
            }
        }
    }
    (y, [height, width, channels])
}

/// A sentence's convolution: 9 x C weights, nine constants that each tap adds inside the frame, and a bias.
pub(crate) fn sentence(features: &[f32], size: Size, kernel: &[f32]) -> Vec<f32> {
    let [height, width, channels] = size;
    let mut y = Vec::new();
    for row in 0..height as isize {
        for column in 0..width as isize {
            let mut sum = kernel[9 * channels + 9];
            for tap in 0..9 {
                let (row, column) = (row + tap as isize / 3 - 1, column + tap as isize % 3 - 1);
                if (0..height as isize).contains(&row) && (0..width as isize).contains(&column) {
                    sum += kernel[9 * channels + tap];
                    for channel in 0..channels {
                        sum += kernel[tap * channels + channel] * at(features, size, row, column, channel);
                    }
                }
            }
            y.push(sum);
        }
    }
    y
}
