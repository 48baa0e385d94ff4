//! The network as published, and as cheaply as it goes.

/// Metadata of a quantised checkpoint: the form that its scales belong to.
pub(crate) const FORM_KEY: &str = "quantised_form";

/// Which graph of one function.
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

    /// Undoes [`Self::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Form::Published, Form::Rewritten].into_iter().find(|form| form.name() == name)
    }
}
