//! Shell completions and manual pages, generated from the argument definitions.

use super::{Arguments, Failure};
use clap::CommandFactory;
use clap_complete::Shell;

#[derive(clap::Args)]
pub(super) struct CompletionArguments {
    /// Shell to complete arguments for
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(clap::Args)]
pub(super) struct PageArguments {
    /// Command that the page describes, such as `segment` [default: an overview of all]
    command: Option<String>,
}

/// Prints a completion script.
pub(super) fn completions(arguments: &CompletionArguments) -> Result<(), Failure> {
    let mut command = Arguments::command();
    let name = command.get_name().to_string();
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, name, &mut script);
    super::say(String::from_utf8(script)?.trim_end())
}

/// Prints a manual page in roff: `causalclipseg.1`, or `causalclipseg-segment.1` for one command.
pub(super) fn page(arguments: &PageArguments) -> Result<(), Failure> {
    let mut program = Arguments::command();
    // Full names, such as `causalclipseg-segment`, are set when the arguments are built.
    program.build();
    let command = match &arguments.command {
        None => program,
        Some(name) => {
            let visible: Vec<_> = program.get_subcommands().filter(|command| !command.is_hide_set()).collect();
            let names: Vec<&str> = visible.iter().map(|command| command.get_name()).collect();
            let unknown = || format!("`{name}` is not a command: give one of {}", names.join(", "));
            let found = *visible.iter().find(|command| command.get_name() == name).ok_or_else(unknown)?;
            found.clone()
        }
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text)?;
    super::say(String::from_utf8(text)?.trim_end())
}
