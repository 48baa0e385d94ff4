//! The network as published, and in its cheapest form.

/// The metadata key of a quantised checkpoint's form, to which its scales belong.
pub(crate) const FORM_KEY: &str = "quantised_form";

/// The graph of the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// The network as its authors wrote it.
    Published,
    /// The network after [`causalclipseg::lower`]'s exact rewrites: a quarter of the operations.
    Rewritten,
}

impl Form {
    /// The form's name in metadata and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Form::Published => "published",
            Form::Rewritten => "rewritten",
        }
    }

    /// The inverse of [`Self::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Form::Published, Form::Rewritten].into_iter().find(|form| form.name() == name)
    }
}
