//! Completions for shells and manual pages, out of the definitions that the arguments are parsed with.

use super::{Arguments, Failure};
use clap::CommandFactory;
use clap_complete::Shell;

#[derive(clap::Args)]
pub(super) struct CompletionArguments {
    /// The shell that is to complete arguments
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(clap::Args)]
pub(super) struct PageArguments {
    /// The command that the page is about, such as `segment` [default: all of them in short]
    command: Option<String>,
}

/// Prints a script that a shell reads.
pub(super) fn completions(arguments: &CompletionArguments) -> Result<(), Failure> {
    let mut command = Arguments::command();
    let name = command.get_name().to_string();
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, name, &mut script);
    super::say(String::from_utf8(script)?.trim_end())
}

/// Prints a page as `man` reads it: `causalclipseg.1`, or `causalclipseg-segment.1` for one command.
pub(super) fn page(arguments: &PageArguments) -> Result<(), Failure> {
    let mut program = Arguments::command();
    // Names in full, `causalclipseg-segment`, are made when the arguments are built.
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
