//! Combines the layers of settings (the defaults, a file, the environment), and knows which layer each value comes from.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use anyhow::{Context, anyhow};
use config::{ConfigError, File, FileFormat, Format, Map, Source, Value, ValueKind};
use serde_json::json;

use super::{Config, DEFAULTS, environment, schema::ConfigSchema, text_formats};
use crate::access::network::canonical;

/// Keys whose values are never shown; for a list of sections, the keys within. URLs are among them: that of a webhook may
/// contain the secret by which the receiver recognises the sender, that of a database its password.
const HIDDEN: [&str; 9] = [
    "jwt_secret",
    "jwt_previous_secrets",
    "widget_keys",
    "secret_keys",
    "bot_keys",
    "secret",
    "url",
    "password",
    "postgres",
];

/// What is shown instead of a hidden value.
const HIDDEN_VALUE: &str = "(hidden)";

/// All settings, each with its origin.
pub struct EffectiveConfig {
    layers: config::Config,
}

/// A file of settings. The library's own type names a file by its path from the working directory; errors should name it
/// as the user did.
#[derive(Debug, Clone)]
struct SettingsFile {
    /// As it was given.
    path: String,
    text: String,
}

impl SettingsFile {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Ok(Self { path: path.display().to_string(), text })
    }
}

impl Source for SettingsFile {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let text = self.text.strip_prefix('\u{feff}').unwrap_or(&self.text);
        let parsed = FileFormat::Toml.parse(Some(&self.path), text);
        parsed.map_err(|cause| ConfigError::FileParse { uri: Some(self.path.clone()), cause })
    }
}

/// A setting as `amoiq config show` prints it.
#[derive(Debug, PartialEq, Eq)]
pub struct ShownSetting {
    /// The value, or a text that says that it is hidden.
    pub value: serde_json::Value,
    /// `default`, a file, or a variable of the environment.
    pub origin: String,
}

impl EffectiveConfig {
    /// Combines the layers.
    ///
    /// # Errors
    /// When the file cannot be read, a variable is not a setting, or a value has the wrong type.
    pub fn of(file: Option<&Path>, environment: HashMap<String, String>) -> anyhow::Result<Self> {
        let mut layers = config::Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
        if let Some(file) = file {
            layers = layers.add_source(SettingsFile::read(file)?);
        }
        let schema = ConfigSchema::known()?;
        // In a fixed order, so that the same mistakes always give the same error.
        for (variable, text) in environment.into_iter().collect::<BTreeMap<_, _>>() {
            let key = environment::key_of(&schema, &variable)?;
            layers = layers.set_override(&key, schema.read(&key, &text, &variable)?)?;
        }
        let layers = layers.build().map_err(without_source)?;
        schema.compare(&layers)?;
        text_formats::check(&layers)?;
        Ok(Self { layers })
    }

    /// The settings, checked.
    ///
    /// # Errors
    /// When a key is unknown, or a value is outside of its range.
    pub fn config(&self) -> anyhow::Result<Config> {
        let mut config: Config = self.layers.clone().try_deserialize()?;
        config.check()?;
        for networks in [&mut config.server.trusted_proxies, &mut config.operator.metrics_networks] {
            networks.iter_mut().for_each(|network| *network = canonical(*network));
        }
        Ok(config)
    }

    /// Every setting by its key, without secrets.
    ///
    /// # Errors
    /// When the layers cannot be combined, which is a defect.
    pub fn settings(&self) -> anyhow::Result<BTreeMap<String, ShownSetting>> {
        let mut settings = BTreeMap::new();
        Self::collect("", &Value::from(self.layers.collect()?), &mut settings);
        Ok(settings)
    }

    fn collect(key: &str, value: &Value, settings: &mut BTreeMap<String, ShownSetting>) {
        if let ValueKind::Table(values) = &value.kind {
            for (name, value) in values {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                Self::collect(&key, value, settings);
            }
            return;
        }
        let name = key.rsplit('.').next().unwrap_or(key);
        let origin = value.origin().unwrap_or("default").to_owned();
        settings.insert(key.to_owned(), ShownSetting { value: shown(name, value), origin });
    }
}

/// The mistake in a file, without the line that the parser quotes: it may contain a secret.
fn without_source(error: ConfigError) -> anyhow::Error {
    let ConfigError::FileParse { uri, cause } = error else { return error.into() };
    let file = uri.unwrap_or_default();
    let Some(cause) = cause.downcast_ref::<toml::de::Error>() else {
        return anyhow!("{file} is not TOML");
    };
    // Only the first line of the parser's message is free of the file's text: `TOML parse error at line 2, column 14`.
    let shown = cause.to_string();
    let place = shown.lines().next().filter(|line| line.starts_with("TOML parse error"));
    anyhow!("{file}: {}: {}", place.unwrap_or("TOML parse error"), cause.message())
}

fn shown(name: &str, value: &Value) -> serde_json::Value {
    let is_hidden = HIDDEN.contains(&name);
    match &value.kind {
        ValueKind::Table(values) => {
            let fields = values.iter().map(|(name, value)| (name.clone(), shown(name, value)));
            serde_json::Value::Object(fields.collect())
        }
        ValueKind::Array(values) => values.iter().map(|value| shown(name, value)).collect(),
        // An empty value is shown even if the key is hidden: it is worth knowing.
        ValueKind::String(text) if text.is_empty() => json!(""),
        _ if is_hidden => json!(HIDDEN_VALUE),
        ValueKind::Boolean(is_on) => json!(is_on),
        ValueKind::I64(number) => json!(number),
        ValueKind::U64(number) => json!(number),
        _ => json!(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_secret_is_hidden() {
        // A short section is one line.
        let fields = include_str!("../config.rs").split(['\n', ',', '{']);
        let fields = fields.filter_map(|field| field.trim().split_once(": "));
        let secrets = fields.filter(|(_, kind)| kind.contains("Secret"));
        let names: Vec<_> = secrets.map(|(name, _)| name.trim_start_matches("pub ")).collect();
        assert_eq!(names.len(), 9, "{names:?}");
        for name in names {
            assert!(HIDDEN.contains(&name), "{name}");
        }
    }
}
