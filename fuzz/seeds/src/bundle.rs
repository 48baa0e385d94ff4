//! Seeds of the target `bundle`: small networks of every operator, as the parts of a bundle and as a file. They need no library:
//! the target puts positions and sums right.

/// Separates the parts of an input: no text contains it.
pub const SEPARATOR: [u8; 4] = [0xff, 0xfe, 0xfd, 0xfc];
/// The parts of an input, in their order.
const PARTS: [&str; 4] = ["graph", "tokenizer", "weights", "self_test"];
/// The tokens of the table: a byte inside a word, a byte at its end, two merges, start and end of a text.
const TOKENS: u32 = 2 * 256 + 4;
/// `{}` as a zlib stream (RFC 1950) of one stored block.
const EMPTY_JSON: [u8; 13] = [0x78, 0x01, 0x01, 2, 0, 0xfd, 0xff, b'{', b'}', 0x01, 0x75, 0x00, 0xf9];
/// The side of the images, in pixels: the smallest that a model may have.
const SIZE: usize = 32;

/// The seeds by their names.
pub fn bundles() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (name, network) in [("plain", plain()), ("int8", int8()), ("decoder", decoder()), ("published", published())] {
        seeds.push((format!("{name}_parts"), network.as_parts("{}", &token_table())));
        seeds.push((format!("{name}_file"), network.as_file()));
    }
    let json = tokenizer_json();
    seeds.push(("tokenizer_parts".into(), plain().as_parts(&json, &token_table())));
    seeds.push(("no_table_parts".into(), plain().as_parts(&json, &[])));
    seeds
}

/// A graph and its tensors as JSON, and the tensors' bytes.
#[derive(Default)]
struct Network {
    nodes: Vec<String>,
    outputs: Vec<usize>,
    tensors: Vec<String>,
    weights: Vec<u8>,
}

fn map(channels: usize, side: usize) -> String {
    format!(r#"{{"map":{{"channels":{channels},"height":{side},"width":{side}}}}}"#)
}

fn sequence(length: Option<usize>, width: usize) -> String {
    let length = length.map_or("null".to_string(), |length| length.to_string());
    format!(r#"{{"sequence":{{"length":{length},"width":{width}}}}}"#)
}

/// A convolution that keeps the map's size, or halves it with a stride of 2.
fn conv(weight: &str, out: usize, kernel: usize, stride: usize) -> String {
    let padding = kernel / 2;
    format!(
        r#"{{"conv":{{"weight":"{weight}","bias":null,"out_channels":{out},"kernel":{kernel},"stride":{stride},"padding":{padding}}}}}"#
    )
}

fn linear(weight: &str, out: usize) -> String {
    format!(r#"{{"linear":{{"weight":"{weight}","bias":null,"weight_rows":{out},"first_row":0,"out":{out}}}}}"#)
}

impl Network {
    fn node(&mut self, name: &str, op: &str, inputs: &[usize], shape: &str) -> usize {
        self.rounded(name, op, inputs, shape, "")
    }

    /// A node whose value is rounded to 8 bits.
    fn rounded(&mut self, name: &str, op: &str, inputs: &[usize], shape: &str, quantisation: &str) -> usize {
        let op = if op.starts_with('{') { op.to_string() } else { format!("\"{op}\"") };
        self.nodes.push(format!(r#"{{"name":"{name}","op":{op},"inputs":{inputs:?},"shape":{shape}{quantisation}}}"#));
        self.nodes.len() - 1
    }

    fn tensor(&mut self, name: &str, dtype: &str, shape: &[usize], bytes: &[u8], more: &str) {
        self.weights.resize(self.weights.len().next_multiple_of(64), 0);
        let (offset, length) = (self.weights.len(), bytes.len());
        self.tensors.push(format!(
            r#"{{"name":"{name}","dtype":"{dtype}","shape":{shape:?},"offset":{offset},"bytes":{length}{more}}}"#
        ));
        self.weights.extend(bytes);
    }

    /// A weight in f32, row by row.
    fn floats(&mut self, name: &str, shape: &[usize]) {
        self.tensor(name, "f32", shape, &numbers(shape.iter().product()), "");
    }

    /// An integer weight in the kernels' order, with scales and sums.
    fn integers(&mut self, name: &str, [out, depth, kernel]: [usize; 3]) {
        let length = out.next_multiple_of(16) * kernel * kernel * depth.next_multiple_of(4);
        let bytes: Vec<u8> = (0..length).map(|at| (at % 5) as u8).collect();
        let more = format!(r#","quantisation":{{"scale":"{name}.scale","zero_point":0}},"packing":"blocked""#);
        self.tensor(name, "i8", &[out, depth, kernel, kernel], &bytes, &more);
        self.floats(&format!("{name}.scale"), &[out]);
        self.tensor(&format!("{name}.sums"), "i32", &[out], &vec![1; 4 * out], "");
    }

    /// The image and the tokens.
    fn inputs(&mut self, quantisation: &str) -> [usize; 2] {
        let image = self.rounded("image", "input", &[], &map(3, SIZE), quantisation);
        [image, self.node("tokens", "input", &[], r#"{"tokens":{"context":8}}"#)]
    }

    /// A sentence's vector of `out` numbers.
    fn sentence(&mut self, tokens: usize, out: usize) -> usize {
        self.floats("words", &[TOKENS as usize, 1]);
        let embed = format!(r#"{{"embed":{{"table":"words","vocabulary":{TOKENS},"width":1}}}}"#);
        let words = self.node("embed", &embed, &[tokens], &sequence(None, 1));
        let attention = r#"{"attention":{"heads":1,"causal":true}}"#;
        let mean = self.node("attention", attention, &[words; 3], &sequence(None, 1));
        let state = self.node("state", "end_of_text", &[mean, tokens], r#"{"vector":{"width":1}}"#);
        self.floats("kernel.weight", &[out, 1]);
        self.node("kernel", &linear("kernel.weight", out), &[state], &format!(r#"{{"vector":{{"width":{out}}}}}"#))
    }

    /// The last stage of a rewritten network, from the tap products of two channels at half the size.
    fn tail(&mut self, taps: usize, tokens: usize) {
        let kernel = self.sentence(tokens, 2 * 9 + 10);
        self.floats("blend.bias", &[2]);
        let blend = r#"{"blend_taps":{"scale":2,"bias":"blend.bias"}}"#;
        let blend = self.node("blend", blend, &[taps], &map(2, SIZE));
        let relu = self.node("relu.last", "relu", &[blend], &map(2, SIZE));
        let pred = self.node("pred", r#"{"prompt_conv":{"folded":true}}"#, &[relu, kernel], &map(1, SIZE));
        self.outputs.push(pred);
    }

    fn graph(&self) -> String {
        format!(r#"{{"nodes":[{}],"outputs":{:?}}}"#, self.nodes.join(","), self.outputs)
    }

    /// The manifest, of parts at these positions. The target fills in the sums.
    fn manifest(&self, ranges: [(usize, usize); 4], table: Option<usize>) -> String {
        let part = |(name, (offset, bytes)): (&str, (usize, usize))| {
            let more = match table.filter(|_| name == "tokenizer") {
                Some(at) => format!(r#","compression":"zlib","token_table":{at}"#),
                None if name == "tokenizer" => r#","compression":"zlib""#.to_string(),
                None => String::new(),
            };
            format!(r#"{{"name":"{name}","offset":{offset},"bytes":{bytes},"sha256":"{}"{more}}}"#, "0".repeat(64))
        };
        let parts: Vec<String> = PARTS.into_iter().zip(ranges).map(part).collect();
        format!(
            r#"{{"model":{{"name":"seed","edition":"tiny","input_size":{SIZE},"normalisation":{{"mean":[0.5,0.5,0.5],"std":[0.25,0.25,0.25]}},"fit":"stretch","threshold":0.5,"trained":true,"gmac":0.001,"provenance":{{"words":"a cyst","structures":"nerve"}}}},"precision":"f32","parameters":1,"parts":[{}],"tensors":[{}]}}"#,
            parts.join(","),
            self.tensors.join(",")
        )
    }

    fn as_parts(&self, tokenizer_json: &str, table: &[u8]) -> Vec<u8> {
        let manifest = self.manifest([(0, 0); 4], (!table.is_empty()).then_some(0));
        let parts = [
            manifest.into_bytes(),
            self.graph().into_bytes(),
            tokenizer_json.as_bytes().to_vec(),
            table.to_vec(),
            self.weights.clone(),
            self_test().into_bytes(),
        ];
        [vec![0], parts.join(&SEPARATOR[..])].concat()
    }

    fn as_file(&self) -> Vec<u8> {
        let mut tokenizer = EMPTY_JSON.to_vec();
        tokenizer.resize(tokenizer.len().next_multiple_of(64), 0);
        let table = tokenizer.len();
        tokenizer.extend(token_table());
        let mut data = Vec::new();
        let ranges =
            [self.graph().into_bytes(), tokenizer, self.weights.clone(), self_test().into_bytes()].map(|part| {
                data.resize(data.len().next_multiple_of(64), 0);
                data.extend(&part);
                (data.len() - part.len(), part.len())
            });
        let manifest = self.manifest(ranges, Some(table)).into_bytes();
        let mut file = b"\x89CCS\r\n\x1a\n\x01\0\0\0\0\0\0\0".to_vec();
        file.extend((manifest.len() as u64).to_le_bytes());
        file.extend([0; 32]);
        file.extend(manifest);
        file.resize(file.len().next_multiple_of(64), 0);
        [vec![1], file, data].concat()
    }
}

/// So many numbers above zero, as variances and scales are, and below one.
fn numbers(count: usize) -> Vec<u8> {
    (0..count).flat_map(|at| ((at % 9) as f32 / 16.0 + 0.0625).to_le_bytes()).collect()
}

/// The least network that runs: a convolution in the kernels' order, the last stage and a sentence.
fn plain() -> Network {
    let mut network = Network::default();
    let [image, tokens] = network.inputs("");
    let half = SIZE / 2;
    network.tensor("conv.weight", "f32", &[4, 3, 3, 3], &numbers(16 * 27), r#","packing":"blocked""#);
    let features = network.node("conv", &conv("conv.weight", 4, 3, 2), &[image], &map(4, half));
    let features = network.node("relu", "relu", &[features], &map(4, half));
    network.floats("taps.weight", &[18, 4, 1, 1]);
    let taps = network.node("taps", &conv("taps.weight", 18, 1, 1), &[features], &map(18, half));
    network.tail(taps, tokens);
    network
}

/// The same with weights and values of 8 bits.
fn int8() -> Network {
    let rounded = r#","quantisation":{"scale":0.02,"zero_point":100}"#;
    let mut network = Network::default();
    let [image, tokens] = network.inputs(rounded);
    let half = SIZE / 2;
    network.integers("conv.weight", [4, 3, 3]);
    let features = network.node("conv", &conv("conv.weight", 4, 3, 2), &[image], &map(4, half));
    let features = network.rounded("relu", "relu", &[features], &map(4, half), rounded);
    network.integers("taps.weight", [18, 4, 1]);
    let taps = network.rounded("taps", &conv("taps.weight", 18, 1, 1), &[features], &map(18, half), rounded);
    network.tail(taps, tokens);
    network
}

/// The other operators that the fast engine runs, on maps of eight pixels a side.
fn decoder() -> Network {
    let mut network = Network::default();
    let [image, tokens] = network.inputs("");
    let (half, side) = (SIZE / 2, SIZE / 4);
    let weight = |network: &mut Network, out: usize, depth: usize| {
        let name = format!("weight.{}", network.tensors.len());
        network.floats(&name, &[out, depth, 1, 1]);
        conv(&name, out, 1, 1)
    };
    let first = weight(&mut network, 4, 3);
    let first = network.node("first", &first, &[image], &map(4, SIZE));
    let first = network.node("pool.0", r#"{"average_pool":{"size":2}}"#, &[first], &map(4, half));
    let first = network.node("pool.1", r#"{"average_pool":{"size":2}}"#, &[first], &map(4, side));
    let features = weight(&mut network, 4, 4);
    let features = network.node("features", &features, &[first], &map(4, side));
    network.floats("map", &[4, side, side]);
    let features = network.node("placed", r#"{"add_map":{"map":"map"}}"#, &[features], &map(4, side));
    let features = network.node("sum", "add", &[features, first], &map(4, side));
    let features = network.node("relu", "relu", &[features], &map(4, side));
    let logits = weight(&mut network, 4, 4);
    let logits = network.node("logits", &logits, &[features], &map(4, side));
    let mask = network.node("mask", "sigmoid", &[logits], &map(4, side));
    let rest = network.node("rest", "complement", &[mask], &map(4, side));
    let gated = network.node("gated", "multiply", &[features, rest], &map(4, side));
    let other = weight(&mut network, 4, 4);
    let other = network.node("other", &other, &[first], &map(4, side));
    let both = network.node("both", "concat", &[gated, other], &map(8, side));

    let pixels = side * side;
    let rows = network.node("rows", "grid_to_sequence", &[both], &sequence(Some(pixels), 8));
    network.floats("positions", &[pixels + 1, 8]);
    let add = format!(r#"{{"add_positions":{{"table":"positions","rows":{},"skip":1}}}}"#, pixels + 1);
    let rows = network.node("positions", &add, &[rows], &sequence(Some(pixels), 8));
    network.floats("ln.weight", &[8]);
    network.floats("ln.bias", &[8]);
    let rows = network.node("ln", r#"{"layer_norm":{"prefix":"ln"}}"#, &[rows], &sequence(Some(pixels), 8));
    network.floats("query.weight", &[8, 8]);
    let query = network.node("query", &linear("query.weight", 8), &[rows], &sequence(Some(pixels), 8));
    let heads = r#"{"attention":{"heads":2,"causal":false}}"#;
    let rows = network.node("heads", heads, &[query, rows, rows], &sequence(Some(pixels), 8));
    network.floats("up.weight", &[8, 8]);
    let rows = network.node("up", &linear("up.weight", 8), &[rows], &sequence(Some(pixels), 8));
    let rows = network.node("gelu", "quick_gelu", &[rows], &sequence(Some(pixels), 8));
    network.floats("matrix", &[8, 4]);
    let project = r#"{"project":{"matrix":"matrix","out":4}}"#;
    let rows = network.node("project", project, &[rows], &sequence(Some(pixels), 4));
    let grid = format!(r#"{{"sequence_to_grid":{{"height":{side},"width":{side}}}}}"#);
    let grid = network.node("grid", &grid, &[rows], &map(4, side));

    let kernels = weight(&mut network, 36, 4);
    let kernels = network.node("kernels", &kernels, &[grid], &map(36, side));
    let large = network.node("carafe", r#"{"carafe":{"scale":2}}"#, &[grid, kernels], &map(4, half));
    let taps = weight(&mut network, 18, 4);
    let taps = network.node("taps", &taps, &[large], &map(18, half));
    network.tail(taps, tokens);
    network
}

/// Operators that only the published form of a network has, and that the fast engine does not run.
fn published() -> Network {
    let mut network = Network::default();
    let [image, tokens] = network.inputs("");
    let side = SIZE / 4;
    let small = network.node("pool", r#"{"average_pool":{"size":4}}"#, &[image], &map(3, side));
    for name in ["weight", "bias", "running_mean", "running_var"] {
        network.floats(&format!("norm.{name}"), &[3]);
    }
    let norm = network.node("norm", r#"{"batch_norm":{"prefix":"norm"}}"#, &[small], &map(3, side));
    let placed = network.node("coordinates", "append_coordinates", &[norm], &map(5, side));
    let large = network.node("upsample", r#"{"upsample":{"scale":4}}"#, &[placed], &map(5, SIZE));
    let kernel = network.sentence(tokens, 5 * 9 + 1);
    let pred = network.node("pred", r#"{"prompt_conv":{"folded":false}}"#, &[large, kernel], &map(1, SIZE));
    network.outputs.push(pred);
    network
}

/// The characters that represent bytes in byte-level BPE.
fn byte_characters() -> impl Iterator<Item = char> {
    let mut others = 0x100..;
    (0..=255u8).filter_map(move |byte| match byte {
        b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => Some(char::from(byte)),
        _ => others.next().and_then(char::from_u32),
    })
}

/// A tokenizer.json of CLIP's kind, of single bytes and two merges.
fn tokenizer_json() -> String {
    let inside = byte_characters().map(String::from);
    let at_end = byte_characters().map(|character| format!("{character}</w>"));
    let others = ["ma", "mas</w>", "<|startoftext|>", "<|endoftext|>"].map(String::from);
    let quoted = |token: String| token.replace('\\', r"\\").replace('"', "\\\"");
    let tokens: Vec<String> = inside
        .chain(at_end)
        .chain(others)
        .enumerate()
        .map(|(id, token)| format!(r#""{}":{id}"#, quoted(token)))
        .collect();
    let special = |id: u32, content: &str| {
        format!(
            r#"{{"id":{id},"content":"{content}","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}}"#
        )
    };
    let word = r"'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+";
    format!(
        r#"{{"version":"1.0","added_tokens":[{},{}],"normalizer":{{"type":"Sequence","normalizers":[{{"type":"NFC"}},{{"type":"Replace","pattern":{{"Regex":"\\s+"}},"content":" "}},{{"type":"Lowercase"}}]}},"pre_tokenizer":{{"type":"Sequence","pretokenizers":[{{"type":"Split","pattern":{{"Regex":"{word}"}},"behavior":"Removed","invert":true}},{{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}}]}},"model":{{"type":"BPE","end_of_word_suffix":"</w>","vocab":{{{}}},"merges":["m a",["ma","s</w>"]]}}}}"#,
        special(TOKENS - 2, "<|startoftext|>"),
        special(TOKENS - 1, "<|endoftext|>"),
        tokens.join(",")
    )
}

/// The table of that tokenizer, whose tokens are numbered in the order of the bytes.
fn token_table() -> Vec<u8> {
    let merges: [[u16; 3]; 2] = [[u16::from(b'm'), u16::from(b'a'), 512], [512, 256 + u16::from(b's'), 513]];
    let mut table: Vec<u8> = [1, TOKENS, TOKENS - 2, TOKENS - 1, 2].into_iter().flat_map(u32::to_le_bytes).collect();
    table.extend((0..512u16).flat_map(u16::to_le_bytes));
    table.extend(merges.into_iter().flatten().flat_map(u16::to_le_bytes));
    table
}

/// A vector whose logits are not those of a network.
fn self_test() -> String {
    let logits = vec!["0.5"; (SIZE * SIZE).div_ceil(97)].join(",");
    format!(
        r#"{{"vectors":[{{"seed":1,"size":{SIZE},"prompt":"a cyst","every":97,"logits":[{logits}],"tolerance":0.5}}]}}"#
    )
}
