//! The command line. Without a command it runs the service.
//!
//! Results go to standard output, with `--json` as JSON for scripts. Progress and warnings go to standard error.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use self::{
    service::{cluster, erase, health, keys, rebuild, tenants, webhooks},
    store::{backup, dead_letters, events, migrate, restore, state, verify},
};
use crate::{config::Config, startup};

mod bench;
mod config;
mod output;
mod service;
mod store;

/// The backend of an embeddable chat widget.
#[derive(Debug, Parser)]
#[command(name = "amoiq", version)]
struct CommandLine {
    /// A TOML file with the settings that differ from the defaults.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<AmoiqCommand>,
}

#[derive(Debug, Subcommand)]
enum AmoiqCommand {
    /// Run the service until SIGTERM or SIGINT (the default).
    Serve,
    /// Ask whether the service that runs here is ready, or alive.
    Health(health::HealthCommand),
    /// Show the settings and where each comes from, or check whether the service would start with them.
    Config(config::ConfigCommand),
    /// Manage the tenants of the running service.
    Tenant(tenants::ManageTenantsCommand),
    /// Manage the keys of the running service's tenants.
    Key(keys::ManageKeysCommand),
    /// Manage the webhook endpoints of the running service's tenants.
    Webhook(webhooks::ManageWebhooksCommand),
    /// Show the nodes that write the same log as the running service.
    Cluster(cluster::ClusterCommand),
    /// Erase a person from everything that the running service stores.
    Erase(erase::EraseCommand),
    /// Check the whole store for damage. Exit code 0: none, 1: damage, 2: the check could not run.
    Verify(verify::VerifyCommand),
    /// Copy the store into one new file. This also works while the service runs.
    Backup(backup::BackupCommand),
    /// Restore a backup into an empty `store.path`.
    Restore(restore::RestoreCommand),
    /// Show a session or a tenant as it is, or as it was at an earlier point.
    State(state::StateCommand),
    /// Print, export or import events. Printing and exporting also work while the service runs.
    Events(events::EventsCommand),
    /// Move the store to another backend. The service must be stopped.
    Migrate(migrate::MigrateCommand),
    /// Rebuild read models from the whole log, in the running service or in the files of a stopped one.
    Rebuild(rebuild::RebuildCommand),
    /// List the events that rebuilds skipped.
    DeadLetters(dead_letters::DeadLettersCommand),
    /// Measure what this machine can do, in a temporary store that is removed afterwards.
    Bench(bench::BenchCommand),
}

/// Runs the command that the arguments name.
///
/// # Errors
/// When it fails; the text says what to do.
pub fn run() -> anyhow::Result<ExitCode> {
    let CommandLine { config: file, command } = CommandLine::parse();
    let load = || Config::load(file.as_deref());
    match command.unwrap_or(AmoiqCommand::Serve) {
        AmoiqCommand::Serve => startup::serve(load()?)?,
        AmoiqCommand::Config(command) => config::run(file.as_deref(), &command)?,
        AmoiqCommand::Health(command) => health::run(&load()?, &command)?,
        AmoiqCommand::Tenant(command) => tenants::run(&load()?, &command)?,
        AmoiqCommand::Key(command) => keys::run(&load()?, &command)?,
        AmoiqCommand::Webhook(command) => webhooks::run(&load()?, &command)?,
        AmoiqCommand::Cluster(command) => cluster::run(&load()?, &command)?,
        AmoiqCommand::Erase(command) => erase::run(&load()?, &command)?,
        // Exit code 1 means damage. An invalid configuration is none.
        AmoiqCommand::Verify(command) => return Ok(verify::run(&command, load())),
        AmoiqCommand::Backup(command) => backup::run(&command, &load()?.store)?,
        AmoiqCommand::Restore(command) => restore::run(&command, &load()?.store)?,
        AmoiqCommand::State(command) => state::run(&command, &load()?.store)?,
        AmoiqCommand::Events(command) => events::run(&command, &load()?.store)?,
        AmoiqCommand::Migrate(command) => migrate::run(&command, &load()?)?,
        AmoiqCommand::Rebuild(command) => return rebuild::run(&load()?, &command),
        AmoiqCommand::DeadLetters(command) => dead_letters::run(&load()?, &command)?,
        AmoiqCommand::Bench(command) => bench::run(&command, &load()?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs asynchronous work on the files of a store. They answer without waiting, so one thread is enough.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

#[cfg(test)]
mod tests;
