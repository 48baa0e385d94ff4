//! The flags by which `pack` and `export` choose how frames fill the network's square input.

use causalclipseg::bundle::Provenance;
use causalclipseg::frame::Fit;

#[derive(Debug, clap::Args)]
pub struct FitFlags {
    /// Keep a frame's proportions and pad it with this grey, 0 to 255 [default: as the checkpoint was trained, where it says so,
    /// else stretch frames to the square]
    #[arg(long, value_name = "GREY", conflicts_with = "stretch")]
    letterbox: Option<u8>,
    /// Stretch frames to the square, also for a network that was trained on padded images
    #[arg(long)]
    stretch: bool,
}

impl FitFlags {
    /// The fit for a network; warns where the flags contradict its training.
    pub fn choose(&self, provenance: &Provenance) -> Fit {
        let trained = provenance.fit();
        let told = match (self.letterbox, self.stretch) {
            (Some(grey), _) => Fit::Letterbox { padding: [f32::from(grey) / 255.0; 3] },
            (None, true) => Fit::Stretch,
            (None, false) => return trained.unwrap_or(Fit::Stretch),
        };
        if let Some(trained) = trained.filter(|trained| !is_alike(*trained, told)) {
            log::warn!(
                "the network was trained on images that were {}, and frames will be {}: its masks will be worse; leave out \
                 --letterbox and --stretch to fit frames as in training",
                describe(trained),
                describe(told)
            );
        }
        told
    }
}

/// Whether two fits are the same to half a grey level, the precision of training images.
fn is_alike(one: Fit, other: Fit) -> bool {
    match (one, other) {
        (Fit::Letterbox { padding: one }, Fit::Letterbox { padding: other }) => {
            one.iter().zip(other).all(|(one, other)| (one - other).abs() <= 0.5 / 255.0)
        }
        (one, other) => one == other,
    }
}

fn describe(fit: Fit) -> String {
    match fit {
        Fit::Stretch => "stretched".into(),
        Fit::Letterbox { padding } => {
            let levels = padding.map(|level| (level * 255.0).round());
            format!("padded with red {}, green {}, blue {}", levels[0], levels[1], levels[2])
        }
    }
}
