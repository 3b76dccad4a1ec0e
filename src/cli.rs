//! The command line. Without a command the service is run.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::{config::Config, startup};

mod health;
mod key;
mod operator;
mod tenant;
mod webhook;

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

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Run the service until SIGTERM or SIGINT (the default).
    Serve,
    /// Whether the service that runs here is ready.
    Health,
    /// Customers of the running service.
    Tenant(tenant::Arguments),
    /// Keys of the running service's tenants.
    Key(key::Arguments),
    /// Webhook endpoints of the running service's tenants.
    Webhook(webhook::Arguments),
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
        Command::Health => health::run(&config),
        Command::Tenant(arguments) => tenant::run(&config, &arguments),
        Command::Key(arguments) => key::run(&config, &arguments),
        Command::Webhook(arguments) => webhook::run(&config, &arguments),
    }
}
