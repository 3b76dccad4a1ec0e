//! Which kind of value a key takes: that of its default. The library that puts the layers together would make
//! numbers of `off`, of `nan` and of fractions, and a limit that so becomes 0 is none any more. A value is what
//! was written, or an error that names its key and never the value: it may be a secret.
//!
//! Which numbers a key takes is not known here (`check.rs`), nor which keys there are: serde refuses the others.

use anyhow::{Context, bail};
use config::{File, FileFormat, Source, Value, ValueKind};

/// What the defaults leave out: a number that depends on the machine, and a customer with all that one may have.
const OPTIONAL: &str = r#"
[server]
connections_per_ip = 0

[[tenants]]
id = ""
name = ""
origins = [""]
widget_keys = [""]
secret_keys = [""]
bot_keys = [""]
webhooks = [{ url = "", secret = "" }]
"#;

/// A value for every key, of the kind that it takes.
pub(super) struct ConfigSchema(Value);

impl ConfigSchema {
    /// Those of the defaults.
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

    /// Whether a key takes a value: it is there, and no section.
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

    /// Takes the text of a variable of the environment as what its key takes.
    ///
    /// # Errors
    /// When it is not that.
    pub(super) fn read(&self, key: &str, text: &str, variable: &str) -> anyhow::Result<Value> {
        let sample = self.sample(key);
        let value = read(sample, text);
        let value =
            value.with_context(|| format!("{key} must be {} ({variable})", sample.map_or("a text", name)));
        Ok(Value::new(Some(&variable.to_owned()), value?))
    }

    /// Compares what is given with what the keys take.
    ///
    /// # Errors
    /// When a value is of another kind.
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
        Some(ValueKind::Boolean(_)) => switch(text).map(ValueKind::from),
        Some(ValueKind::I64(_)) => text.parse::<u64>().ok().map(ValueKind::from),
        Some(ValueKind::Array(of)) => {
            let sample = of.first().map(|value| &value.kind);
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            // An empty list of them would take away what the file has.
            let is_of_texts = !matches!(sample, Some(ValueKind::Table(_)));
            let parts = is_of_texts.then(|| parts.map(|part| read(sample, part)).collect::<Option<Vec<_>>>());
            parts.flatten().map(ValueKind::from)
        }
        _ => Some(ValueKind::from(text)),
    }
}

/// A switch as variables of the environment have it.
fn switch(text: &str) -> Option<bool> {
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
            // The same error each time.
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
