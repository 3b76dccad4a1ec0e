//! Checks settings that are texts with a format: addresses, networks, and one of a few words. The library would only report
//! invalid syntax; these errors name the value and the format. None of these settings is a secret.

use std::net::SocketAddr;

use anyhow::bail;
use config::{Source, Value, ValueKind};
use ipnet::IpNet;

const ADDRESSES: [&str; 2] = ["server.bind", "operator.bind"];

const NETWORKS: [&str; 3] =
    ["server.trusted_proxies", "operator.metrics_networks", "webhooks.allowed_networks"];

const PUBLIC_URL: &str = "server.public_url";

/// Settings that are one of a few words.
const WORDS: [(&str, &[&str]); 2] =
    [("log.format", &["auto", "pretty", "json"]), ("store.backend", &["sqlite", "postgres", "kurrentdb"])];

/// Checks the formats.
///
/// # Errors
/// When a text has another format; the error names the key, the value and the format.
pub(super) fn check(layers: &config::Config) -> anyhow::Result<()> {
    for key in ADDRESSES {
        for (text, origin) in texts(layers, key) {
            if text.parse::<SocketAddr>().is_err() {
                bail!(
                    "{key} is `{text}`{origin}, and must be an IP address with a port, such as 127.0.0.1:4000 or \
                     [::1]:4000; a host name is not allowed"
                );
            }
        }
    }
    for key in NETWORKS {
        for (text, origin) in texts(layers, key) {
            if text.parse::<IpNet>().is_err() {
                bail!(
                    "{key} contains `{text}`{origin}, and must contain networks, such as 10.0.0.0/8 or \
                     2001:db8::/32; a single address is written 10.0.0.1/32"
                );
            }
        }
    }
    for (text, origin) in texts(layers, PUBLIC_URL).into_iter().filter(|(text, _)| !text.is_empty()) {
        if !is_origin(&text) {
            bail!(
                "{PUBLIC_URL} is `{text}`{origin}, and must be a scheme (http, https, ws or wss) and a host, such as \
                 https://chat.example.com; a path is not allowed"
            );
        }
    }
    for (key, words) in WORDS {
        for (text, origin) in texts(layers, key) {
            if !words.contains(&&*text) {
                let (last, others) = words.split_last().unwrap_or((&"", &[]));
                bail!("{key} is `{text}`{origin}, and must be {} or {last}", others.join(", "));
            }
        }
    }
    Ok(())
}

fn is_origin(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https" | "ws" | "wss")
            && url.has_host()
            && url.path() == "/"
            && url.query().or(url.fragment()).is_none()
            && url.username().is_empty()
    })
}

/// The text of a key, or the texts of its list, each with its origin.
fn texts(layers: &config::Config, key: &str) -> Vec<(String, String)> {
    // A value that is requested by its key has lost its origin.
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
