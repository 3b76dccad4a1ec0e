//! The types of settings: each key takes the type of its default. The library that combines the layers would convert `off`,
//! `nan` and fractions to numbers, and a limit that becomes 0 this way is no limit any more. Here, a value is what was
//! written, or an error that names its key, never the value: it may be a secret.
//!
//! The ranges of numbers are in `ranges.rs`. Unknown keys are refused by serde.

use anyhow::{Context, bail};
use config::{File, FileFormat, Source, Value, ValueKind};

/// Settings without a default: numbers that depend on the machine or on other settings, and a tenant with everything that it
/// may have.
const OPTIONAL: &str = r#"
[server]
connections_per_ip = 0
drain_seconds = 0

[[tenants]]
id = ""
name = ""
origins = [""]
widget_keys = [""]
secret_keys = [""]
bot_keys = [""]
webhooks = [{ url = "", secret = "" }]
"#;

/// A sample value for every key, of the type that the key takes.
pub(super) struct ConfigSchema(Value);

impl ConfigSchema {
    /// The samples from the defaults.
    pub(super) fn known() -> anyhow::Result<Self> {
        let toml = |text| File::from_str(text, FileFormat::Toml);
        let tree =
            config::Config::builder().add_source(toml(super::DEFAULTS)).add_source(toml(OPTIONAL)).build()?;
        Ok(Self(Value::from(tree.collect()?)))
    }

    /// Every key that takes a value.
    pub(super) fn keys(&self) -> Vec<String> {
        let mut keys = Vec::new();
        collect("", &self.0, &mut keys);
        keys
    }

    /// Whether a key exists and takes a value, so that it is not a section.
    pub(super) fn takes_value(&self, key: &str) -> bool {
        self.sample(key).is_some_and(|sample| !matches!(sample, ValueKind::Table(_)))
    }

    fn sample(&self, key: &str) -> Option<&ValueKind> {
        let sample = key.split('.').try_fold(&self.0, |value, name| match &value.kind {
            ValueKind::Table(known) => known.get(name),
            _ => None,
        });
        sample.map(|value| &value.kind)
    }

    /// Reads the text of an environment variable as the type of its key.
    ///
    /// # Errors
    /// When it has another type.
    pub(super) fn read(&self, key: &str, text: &str, variable: &str) -> anyhow::Result<Value> {
        let sample = self.sample(key);
        let value = read(sample, text);
        let value =
            value.with_context(|| format!("{key} must be {} ({variable})", sample.map_or("a text", name)));
        Ok(Value::new(Some(&variable.to_owned()), value?))
    }

    /// Compares the given values with the types of their keys.
    ///
    /// # Errors
    /// When a value has another type.
    pub(super) fn compare(&self, given: &config::Config) -> anyhow::Result<()> {
        compare("", &self.0, &Value::from(given.collect()?))
    }
}

fn collect(key: &str, value: &Value, keys: &mut Vec<String>) {
    match &value.kind {
        ValueKind::Table(values) => {
            for (name, value) in values {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                collect(&key, value, keys);
            }
        }
        _ => keys.push(key.to_owned()),
    }
}

fn read(sample: Option<&ValueKind>, text: &str) -> Option<ValueKind> {
    match sample {
        Some(ValueKind::Boolean(_)) => boolean(text).map(ValueKind::from),
        Some(ValueKind::I64(_)) => text.parse::<u64>().ok().map(ValueKind::from),
        Some(ValueKind::Array(of)) => {
            let sample = of.first().map(|value| &value.kind);
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            // Sections cannot be written in a variable, and an empty list would remove those of the file.
            let is_of_texts = !matches!(sample, Some(ValueKind::Table(_)));
            let parts = is_of_texts.then(|| parts.map(|part| read(sample, part)).collect::<Option<Vec<_>>>());
            parts.flatten().map(ValueKind::from)
        }
        _ => Some(ValueKind::from(text)),
    }
}

/// A boolean as environment variables write it.
fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

fn compare(key: &str, sample: &Value, given: &Value) -> anyhow::Result<()> {
    match (&sample.kind, &given.kind) {
        (ValueKind::Table(known), ValueKind::Table(values)) => {
            let mut values: Vec<_> = values.iter().collect();
            // In a fixed order, so that the same mistakes always give the same error.
            values.sort_unstable_by_key(|(name, _)| *name);
            for (name, value) in values {
                let Some(sample) = known.get(name) else { continue };
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                compare(&key, sample, value)?;
            }
        }
        (ValueKind::Array(of), ValueKind::Array(values)) => {
            let text = Value::from("");
            let sample = of.first().unwrap_or(&text);
            for (place, value) in values.iter().enumerate() {
                compare(&format!("{key} (number {})", place + 1), sample, value)?;
            }
        }
        (ValueKind::Boolean(_), ValueKind::Boolean(_))
        | (ValueKind::String(_), ValueKind::String(_))
        | (ValueKind::I64(_), ValueKind::I64(0..) | ValueKind::U64(_)) => {}
        (sample, _) => match given.origin() {
            Some(file) => bail!("{key} must be {} ({file})", name(sample)),
            None => bail!("{key} must be {}", name(sample)),
        },
    }
    Ok(())
}

fn name(sample: &ValueKind) -> &'static str {
    match sample {
        ValueKind::Boolean(_) => "true or false",
        ValueKind::I64(_) => "a whole number, 0 or more",
        ValueKind::Table(_) => "a section",
        ValueKind::Array(of) => match of.first().map(|value| &value.kind) {
            Some(ValueKind::I64(_)) => "a list of whole numbers",
            Some(ValueKind::Table(_)) => "a list of sections",
            _ => "a list of texts",
        },
        _ => "a text",
    }
}
