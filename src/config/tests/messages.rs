//! What is said about invalid settings, as users read it.

use super::*;

/// A section, a key, and a value that is not allowed, as the file has it.
const INVALID: [(&str, &str, &str); 26] = [
    ("store", "path", "''"),
    ("server", "bind", "'localhost:4000'"),
    ("server", "workers", "513"),
    ("server", "drain_seconds", "601"),
    ("server", "trusted_proxies", "['10.0.0.1']"),
    ("server", "widget_origins", "['https://w.example/']"),
    ("operator", "bind", "'4001'"),
    ("operator", "metrics_networks", "['any']"),
    ("cluster", "node", "'node a'"),
    ("auth", "anonymous_token_seconds", "0"),
    ("security", "widget_key_reads_history", "'yes'"),
    ("rate_limit", "http_per_minute", "1.5"),
    ("realtime", "ping_interval_ms", "99"),
    ("realtime", "max_payload_bytes", "1"),
    ("presence", "offline_grace_ms", "-1"),
    ("limits", "body_bytes", "1"),
    ("limits", "unknown", "1"),
    ("sessions", "max_in_memory", "0"),
    ("conversation", "close_after_hours", "87601"),
    ("retention", "sessions_days", "'forever'"),
    ("webhooks", "schedule_ms", "[]"),
    ("webhooks", "schedule_ms", "[9999999999]"),
    ("webhooks", "allowed_networks", "['10.0.0.0/33']"),
    ("webhooks", "breaker_max_ms", "1"),
    ("log", "format", "'xml'"),
    ("log", "level", "3"),
];

#[test]
fn what_is_said_about_an_invalid_setting_is_reviewed() {
    let mut lines = Vec::new();
    for (section, key, value) in INVALID {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "[{section}]\n{key} = {value}").unwrap();
        let error = refusal(Config::layered(Some(file.path()), HashMap::new()));
        let error = error.replace(&file.path().display().to_string(), "[file]");
        lines.push(format!("{section}.{key} = {value}\n  {error}"));
    }
    for tenant in ["name = ''", "origins = ['acme.example']", "colour = 'red'"] {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "[[tenants]]\nid = 'acme'\n{tenant}").unwrap();
        lines.push(format!(
            "tenants: {tenant}\n  {}",
            refusal(Config::layered(Some(file.path()), HashMap::new()))
        ));
    }
    let unknown = refusal(with_environment("AMOIQ__SERVER_BIND", "x"));
    lines.push(format!("AMOIQ__SERVER_BIND=x\n  {unknown}"));
    let lookalike = environment::lookalikes([("AMOIQ_SERVER_BIND".into(), "x".into())].into_iter());
    lines.push(format!("AMOIQ_SERVER_BIND=x\n  {}", lookalike.concat()));
    insta::assert_snapshot!("invalid_settings", lines.join("\n"));
}
