//! Examples per second that a recipe draws from a data set, which limits the rate at which a GPU can be fed.
//! `cargo bench -p causalclipseg-convert --bench drawing -- --data DIR --config models/tiny-grafts.toml --threads 8`.

use causalclipseg::prompt::Tokenizer;
use causalclipseg_convert::data::{LoadOptions, Split, load_samples};
use causalclipseg_convert::tokenizer::clip_tokenizer_json;
use causalclipseg_convert::train::{DataSetSource, Source, TrainingConfig, prepare_sizes};
use clap::Parser;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

#[derive(Parser)]
struct Options {
    #[arg(long)]
    data: PathBuf,
    /// Training configuration with the recipe.
    #[arg(long)]
    config: PathBuf,
    #[arg(long, default_value_t = 160)]
    size: usize,
    #[arg(long, default_value_t = 1)]
    threads: usize,
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// A flag that Cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    let config = TrainingConfig::load(&options.config)?;
    let samples = load_samples(&options.data, Split::Val, &LoadOptions::default())?;
    let sizes = prepare_sizes(&samples, &[options.size], &config.fit, config.recipe.detail(), || ())?;
    let tokenizer = Arc::new(Tokenizer::from_json(&clip_tokenizer_json())?);
    let source = DataSetSource::new(Arc::new(sizes), config.recipe, config.seed, tokenizer, 77);
    let drawn = AtomicUsize::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(|| {
                while began.elapsed().as_secs_f64() < options.seconds {
                    let number = drawn.fetch_add(1, Ordering::Relaxed);
                    let (epoch, index) = (number / source.count(), number % source.count());
                    source.draw(epoch, index, options.size).unwrap_or_else(|error| panic!("example {index}: {error}"));
                }
            });
        }
    });
    let rate = drawn.into_inner() as f64 / began.elapsed().as_secs_f64();
    println!("{} threads, {} pixels: {rate:.0} examples/s", options.threads.max(1), options.size);
    Ok(())
}
