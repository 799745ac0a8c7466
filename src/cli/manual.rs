//! `urecho completions` and `urecho man`: what a package installs beside the program, from the declarations of flags.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::error::{Error, Result};
use crate::output::console;

#[derive(Debug, Args)]
#[command(after_long_help = "\
For example: urecho completions bash > /usr/share/bash-completion/completions/urecho")]
pub(super) struct CompletionFlags {
    /// The shell
    shell: Shell,
}

/// Writes the completions of a shell to stdout.
pub(super) fn complete(flags: &CompletionFlags) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut shown(), "urecho", &mut script);
    ExitCode::from(console::pass(&script).exit_code(0))
}

/// The command line without hidden commands, which clap_complete would offer.
fn shown() -> Command {
    let all = Cli::command();
    let commands = all.get_subcommands().filter(|command| !command.is_hide_set());
    Command::new("urecho")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommands(commands.cloned().collect::<Vec<_>>())
}

#[derive(Debug, Args)]
pub(super) struct ManFlags {
    /// An existing directory; a page for each command is written to it
    directory: PathBuf,
}

/// Writes the man pages. Errors: [`Error::Machine`] if one cannot be written.
pub(super) fn write_pages(flags: &ManFlags) -> Result<ExitCode> {
    let written = clap_mangen::generate_to(Cli::command(), &flags.directory);
    written.map_err(|cause| {
        let directory = flags.directory.display();
        Error::Machine(format!("cannot write man pages to {directory}: {cause}"))
    })?;
    Ok(ExitCode::SUCCESS)
}
