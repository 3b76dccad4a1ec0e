//! `amoiq config`: shows the settings of the service, or checks them.

use std::{collections::HashMap, path::Path};

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::output::{print_result, print_warning};
use crate::{
    config::{
        Config, StoreBackend,
        effective::{EffectiveConfig, ShownSetting},
        environment,
    },
    startup::{self, kurrent_log, open_log},
    telemetry::logging,
};

/// Show the settings and where each comes from, or check whether the service would start with them.
#[derive(Debug, Args)]
pub(super) struct ConfigCommand {
    #[command(subcommand)]
    action: ConfigAction,
}

#[derive(Debug, Subcommand)]
enum ConfigAction {
    /// Show every setting with its value and where that comes from. Secrets are hidden.
    Show {
        /// Print the settings as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check whether the service would start with these settings. Nothing is started, and no store is opened.
    Check,
}

/// Runs the command.
///
/// # Errors
/// When the service would not start with these settings; the text says why.
pub(super) fn run(file: Option<&Path>, command: &ConfigCommand) -> anyhow::Result<()> {
    for warning in environment::lookalikes(std::env::vars_os()) {
        print_warning(&warning);
    }
    let variables: HashMap<_, _> = environment::settings(std::env::vars_os())?;
    let effective = EffectiveConfig::of(file, variables)?;
    match command.action {
        // All settings are shown even if one is invalid: the mistake is easier to find among the others.
        ConfigAction::Show { json } => {
            print_result(&shown(&effective, json)?)?;
            effective.config().map(|_| ())
        }
        ConfigAction::Check => {
            check(&effective.config()?)?;
            print_result("the service would start with these settings")
        }
    }
}

/// The checks of the start before it opens anything.
fn check(config: &Config) -> anyhow::Result<()> {
    logging::check(&config.log)?;
    startup::check_secrets(&config.auth)?;
    match config.store.backend {
        StoreBackend::Sqlite => {}
        StoreBackend::Postgres => open_log::postgres_options(&config.store).check().context("store.url")?,
        StoreBackend::Kurrentdb => kurrent_log::check(&config.store).context("store.backend = kurrentdb")?,
    }
    startup::desired_tenants(&config.tenants, &config.webhooks)?;
    Ok(())
}

fn shown(effective: &EffectiveConfig, is_json: bool) -> anyhow::Result<String> {
    let settings = effective.settings()?;
    if is_json {
        let one = |(key, ShownSetting { value, origin }): (&String, &ShownSetting)| {
            (key.clone(), json!({ "value": value, "origin": origin }))
        };
        return Ok(serde_json::to_string_pretty(&Value::Object(settings.iter().map(one).collect()))?);
    }
    let lines: Vec<_> =
        settings.iter().map(|(key, setting)| (format!("{key} = {}", setting.value), setting)).collect();
    let width = lines.iter().map(|(line, _)| line.chars().count()).filter(|width| *width < 60).max();
    let width = width.unwrap_or_default();
    let line = |(line, setting): &(String, &ShownSetting)| format!("{line:width$}  # {}", setting.origin);
    Ok(lines.iter().map(line).collect::<Vec<_>>().join("\n"))
}
