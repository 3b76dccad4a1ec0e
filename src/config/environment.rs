//! Settings in environment variables: `AMOIQ__SECTION__KEY`. A variable that starts like this is meant as a setting, so an
//! unknown one is an error. Other variables belong to other programs: Kubernetes sets `AMOIQ_SERVICE_HOST` in every
//! container next to a service called amoiq. They are ignored, except for a warning about those that look like a setting
//! with the wrong number of underscores.

use std::{collections::HashMap, ffi::OsString};

use anyhow::bail;

use super::schema::ConfigSchema;

/// The prefix of variables that are settings.
const PREFIX: &str = "AMOIQ__";

/// The variables that are settings. The values of all others are not read.
///
/// # Errors
/// When one of them is not UTF-8; the text names it.
pub fn settings(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> anyhow::Result<HashMap<String, String>> {
    let is_ours = |(name, _): &(OsString, OsString)| name.as_encoded_bytes().starts_with(PREFIX.as_bytes());
    variables
        .filter(is_ours)
        .map(|(name, value)| match (name.to_str(), value.into_string()) {
            (Some(name), Ok(value)) => Ok((name.to_owned(), value)),
            // The value is not shown: it may be a secret.
            _ => bail!("{} in the environment is not UTF-8", name.display()),
        })
        .collect()
}

/// Warnings about variables that look like a setting and are none, such as `AMOIQ_SERVER_BIND`.
#[must_use]
pub fn lookalikes(variables: impl Iterator<Item = (OsString, OsString)>) -> Vec<String> {
    // The defaults are part of the program, so they can be read.
    let Ok(schema) = ConfigSchema::known() else { return Vec::new() };
    let names = variables.filter_map(|(name, _)| name.into_string().ok());
    let mut warnings: Vec<_> = names
        .filter(|name| !name.starts_with(PREFIX))
        .filter_map(|name| {
            let meant = meant(&schema, &name)?;
            Some(format!("{name} in the environment is not a setting and is ignored: did you mean {meant}?"))
        })
        .collect();
    warnings.sort_unstable();
    warnings
}

/// The key that a variable sets.
///
/// # Errors
/// When it sets none; the text names the variable.
pub(super) fn key_of(schema: &ConfigSchema, variable: &str) -> anyhow::Result<String> {
    let key = variable.strip_prefix(PREFIX).unwrap_or(variable).replace("__", ".").to_lowercase();
    if schema.takes_value(&key) {
        return Ok(key);
    }
    match meant(schema, variable) {
        Some(meant) => bail!("{variable} in the environment is not a setting: did you mean {meant}?"),
        None => bail!("{variable} in the environment is not a setting; config.toml lists all settings"),
    }
}

/// The variable of the setting whose name differs only in case and in the number of underscores.
fn meant(schema: &ConfigSchema, variable: &str) -> Option<String> {
    let squashed = squash(variable);
    let variables =
        schema.keys().into_iter().map(|key| format!("{PREFIX}{}", key.replace('.', "__").to_uppercase()));
    variables.into_iter().find(|known| squash(known) == squashed && known != variable)
}

fn squash(name: &str) -> String {
    let words = name.split('_').filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_").to_uppercase()
}
