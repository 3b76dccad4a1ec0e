//! The command line. Without a command the service is run.
//!
//! Results go to standard output, with `--json` for scripts; progress and complaints to standard error.

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{config::Config, startup};

mod backup;
mod bench;
mod config;
mod dead_letters;
mod erase;
mod events;
mod health;
mod key;
mod operator;
mod place;
pub mod progress;
mod rebuild;
mod restore;
mod state;
mod tenant;
mod verify;
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

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service until SIGTERM or SIGINT (the default).
    Serve,
    /// Whether the service that runs here is ready, or alive.
    Health(health::Arguments),
    /// The settings: all of them with their origin, and whether the service would take them.
    Config(config::Arguments),
    /// Customers of the running service.
    Tenant(tenant::Arguments),
    /// Keys of the running service's tenants.
    Key(key::Arguments),
    /// Webhook endpoints of the running service's tenants.
    Webhook(webhook::Arguments),
    /// Erase a person from everything that the running service keeps.
    Erase(erase::Arguments),
    /// Read the store whole and say what does not fit. Exit code 0: nothing, 1: something, 2: could not run.
    Verify(verify::Arguments),
    /// Copy the store into one new file, beside a running service too.
    Backup(backup::Arguments),
    /// Put what a backup holds into an empty `store.path`.
    Restore(restore::Arguments),
    /// Show a session, or a tenant, as it is or was.
    State(state::Arguments),
    /// Print events, beside a running service too; export and import them.
    Events(events::Arguments),
    /// Make read models again from the whole log, of the running service or of a stopped one.
    Rebuild(rebuild::Arguments),
    /// List the events that rebuilds skipped.
    DeadLetters(dead_letters::Arguments),
    /// Measure what this machine takes, on a store of its own that goes again.
    Bench(bench::Arguments),
}

/// Runs what the command line asks for.
///
/// # Errors
/// When it fails; the text says what to do.
pub fn run() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let file = arguments.config;
    let load = || Config::load(file.as_deref());
    match arguments.command.unwrap_or(Command::Serve) {
        Command::Serve => startup::serve(load()?)?,
        Command::Config(arguments) => config::run(file.as_deref(), &arguments)?,
        Command::Health(arguments) => health::run(&load()?, &arguments)?,
        Command::Tenant(arguments) => tenant::run(&load()?, &arguments)?,
        Command::Key(arguments) => key::run(&load()?, &arguments)?,
        Command::Webhook(arguments) => webhook::run(&load()?, &arguments)?,
        Command::Erase(arguments) => erase::run(&load()?, &arguments)?,
        // A configuration that cannot be read is no damage, which its exit code 1 says.
        Command::Verify(arguments) => return Ok(verify::run(&arguments, load())),
        Command::Backup(arguments) => backup::run(&arguments, &load()?.store.path)?,
        Command::Restore(arguments) => restore::run(&arguments, &load()?.store.path)?,
        Command::State(arguments) => state::run(&arguments, &load()?.store.path)?,
        Command::Events(arguments) => events::run(&arguments, &load()?.store.path)?,
        Command::Rebuild(arguments) => return rebuild::run(&load()?, &arguments),
        Command::DeadLetters(arguments) => dead_letters::run(&load()?, &arguments)?,
        Command::Bench(arguments) => bench::run(&arguments, &load()?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Says something on standard error that stops nothing.
fn complain(text: &str) {
    // Nowhere is left to say that standard error is closed.
    drop(writeln!(std::io::stderr(), "amoiq: {text}"));
}

/// Runs what reads a store: its answers are there at once, so one thread does.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
