//! Texts that have a form: addresses, networks, and words of which there are a few. The library would say that the
//! syntax is invalid; here the value and the form are said. None of these is a secret.

use std::net::SocketAddr;

use anyhow::bail;
use config::{Source, Value, ValueKind};
use ipnet::IpNet;

const ADDRESSES: [&str; 2] = ["server.bind", "operator.bind"];

const NETWORKS: [&str; 3] =
    ["server.trusted_proxies", "operator.metrics_networks", "webhooks.allowed_networks"];

/// Holds these settings against their forms.
///
/// # Errors
/// When one has another; the text names the key, the value and the form.
pub(super) fn check(layers: &config::Config) -> anyhow::Result<()> {
    for key in ADDRESSES {
        for (text, origin) in texts(layers, key) {
            if text.parse::<SocketAddr>().is_err() {
                bail!(
                    "{key} is `{text}`{origin}, and must be an address with a port, such as 127.0.0.1:4000 or \
                     [::1]:4000; a name is none"
                );
            }
        }
    }
    for key in NETWORKS {
        for (text, origin) in texts(layers, key) {
            if text.parse::<IpNet>().is_err() {
                bail!(
                    "{key} holds `{text}`{origin}, and must hold networks, such as 10.0.0.0/8 or 2001:db8::/32; a \
                     single address is 10.0.0.1/32"
                );
            }
        }
    }
    for (text, origin) in texts(layers, "log.format") {
        if !matches!(text.as_str(), "auto" | "pretty" | "json") {
            bail!("log.format is `{text}`{origin}, and must be auto, pretty or json");
        }
    }
    Ok(())
}

/// The text of a key, or the texts of its list, and where each comes from.
fn texts(layers: &config::Config, key: &str) -> Vec<(String, String)> {
    // A value that is asked for by itself has lost where it comes from.
    let Ok(tree) = layers.collect() else { return Vec::new() };
    let value =
        key.split('.').try_fold(Value::from(tree), |value, name| value.into_table().ok()?.remove(name));
    let Some(value) = value else { return Vec::new() };
    let origin = value.origin().map(|origin| format!(" ({origin})")).unwrap_or_default();
    let values = match value.kind {
        ValueKind::Array(values) => values,
        _ => vec![value],
    };
    values.into_iter().map(|value| (value.to_string(), origin.clone())).collect()
}
