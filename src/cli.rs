//! The command line. Without a command the service is run.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::{config::Config, startup};

pub mod progress;

/// The backend of an embeddable chat widget.
#[derive(Debug, Parser)]
#[command(name = "amoiq", version)]
struct Arguments {
    /// A TOML file with the settings that differ from the defaults.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Command {
    /// Run the service until SIGTERM or SIGINT (the default).
    Serve,
}

/// Runs what the command line asks for.
///
/// # Errors
/// When it fails; the text says what to do.
pub fn run() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let config = Config::load(arguments.config.as_deref())?;
    match arguments.command.unwrap_or(Command::Serve) {
        Command::Serve => startup::serve(config),
    }
}
