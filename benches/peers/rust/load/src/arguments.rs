//! What the command line says: the kind of work, then `--name value` pairs.

use std::{net::SocketAddr, str::FromStr, time::Duration};

use anyhow::{Context, anyhow, bail, ensure};

/// Every name.
const NAMES: [&str; 14] = [
    "url",
    "pid",
    "connections",
    "seconds",
    "warmup",
    "rate",
    "sessions",
    "sockets",
    "messages",
    "from",
    "step",
    "to",
    "limit-ms",
    "window",
];

/// The values of the command line.
pub struct LoadArguments {
    /// The kind of work.
    pub kind: String,
    values: Vec<(String, String)>,
}

impl LoadArguments {
    /// Reads the command line, without the name of the program.
    pub fn parse(mut words: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let kind = words.next().context("the kind of work is missing")?;
        let mut values = Vec::new();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").filter(|name| NAMES.contains(name));
            let name = name.with_context(|| format!("{word} is none of --{}", NAMES.join(" --")))?;
            values.push((name.to_owned(), words.next().with_context(|| format!("{word} has no value"))?));
        }
        Ok(Self { kind, values })
    }

    /// All values of a name.
    pub fn all<V: FromStr>(&self, name: &str) -> anyhow::Result<Vec<V>> {
        let values = self.values.iter().filter(|(given, _)| given == name);
        let parse = |text: &str| text.parse().map_err(|_error| anyhow!("--{name} {text} makes no sense"));
        values.map(|(_, value)| parse(value)).collect()
    }

    /// The last value of a name.
    pub fn value<V: FromStr>(&self, name: &str, default: V) -> anyhow::Result<V> {
        Ok(self.all(name)?.pop().unwrap_or(default))
    }

    /// A number of seconds.
    pub fn seconds(&self, name: &str, default: f64) -> anyhow::Result<Duration> {
        Ok(Duration::try_from_secs_f64(self.value(name, default)?)?)
    }

    /// The addresses of the servers. Load goes to loopback only.
    pub fn addresses(&self) -> anyhow::Result<Vec<SocketAddr>> {
        let mut addresses = Vec::new();
        for url in self.all::<String>("url")? {
            let address = url.strip_prefix("http://").unwrap_or(&url).trim_end_matches('/').parse();
            let address: SocketAddr = address.context("--url is http://127.0.0.1:PORT")?;
            ensure!(address.ip().is_loopback(), "loopback only");
            addresses.push(address);
        }
        if addresses.is_empty() {
            bail!("--url http://127.0.0.1:PORT is missing");
        }
        Ok(addresses)
    }
}
