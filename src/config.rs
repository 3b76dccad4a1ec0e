//! The settings. `config.toml` in the root of the project documents them and contains their defaults: it is compiled in. A
//! file overrides the defaults, the environment overrides both, and an unknown key is an error.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use serde::Deserialize;

use self::effective::EffectiveConfig;
use crate::access::{rate_limit::RateLimitSettings, secret::Secret};

pub mod effective;
pub mod environment;
mod ranges;
mod schema;
mod text_formats;

pub use ranges::MOST_THREADS;

/// The defaults, with their documentation.
pub const DEFAULTS: &str = include_str!("../config.toml");

/// The settings. `config.toml` documents each one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.toml documents every key")]
pub struct Config {
    pub server: ServerConfig,
    pub operator: OperatorConfig,
    pub store: StoreConfig,
    pub cluster: ClusterConfig,
    pub auth: AuthConfig,
    pub security: SecurityConfig,
    pub rate_limit: RateLimitSettings,
    pub realtime: RealtimeConfig,
    pub presence: PresenceConfig,
    pub limits: LimitsConfig,
    pub sessions: SessionsConfig,
    pub conversation: ConversationConfig,
    pub retention: RetentionConfig,
    pub webhooks: WebhooksConfig,
    pub log: LogConfig,
    #[serde(default)]
    pub tenants: Vec<TenantConfig>,
}

macro_rules! section {
    ($name:ident { $($field:ident: $type:ty),+ $(,)? }) => {
        #[doc = concat!("A section of `config.toml`: `", stringify!($name), "`.")]
        #[derive(Debug, Clone, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(missing_docs, reason = "config.toml documents every key")]
        pub struct $name { $(pub $field: $type,)+ }
    };
}

section!(ServerConfig {
    bind: SocketAddr,
    workers: usize,
    trusted_proxies: Vec<IpNet>,
    connections_per_ip: Option<usize>,
    drain_seconds: Option<u32>,
    widget_origins: Vec<String>,
    public_url: String,
});
section!(OperatorConfig { bind: SocketAddr, metrics_networks: Vec<IpNet> });
section!(StoreConfig {
    backend: StoreBackend,
    path: PathBuf,
    url: Secret,
    user: String,
    password: Secret,
    schema: String,
    accept_data_loss: bool,
});
section!(ClusterConfig { node: String, postgres: Secret });
section!(AuthConfig {
    jwt_secret: Secret,
    jwt_previous_secrets: Vec<Secret>,
    issuer: String,
    audience: String,
    anonymous_token_seconds: u32,
    ws_token_days: u32,
});
section!(SecurityConfig { widget_key_reads_history: bool });
section!(RealtimeConfig {
    ping_interval_ms: u64,
    ping_timeout_ms: u64,
    connect_timeout_ms: u64,
    upgrade_timeout_ms: u64,
    max_payload_bytes: usize,
    outbox_bytes: usize,
    max_connections: usize,
    connections_per_ip: usize,
    held_connections: usize,
    recovery_seconds: u64,
});
section!(PresenceConfig { offline_grace_ms: u64, list_limit: usize });
section!(LimitsConfig {
    body_bytes: usize,
    text_characters: usize,
    user_info_bytes: usize,
    events_per_session: u64,
    history_bytes: usize,
});
section!(SessionsConfig {
    max_in_memory: usize,
    max_memory_bytes: usize,
    passivate_after_seconds: u64,
    threads: usize,
});
section!(ConversationConfig { close_after_hours: u32 });
section!(RetentionConfig { presence_days: u32, sessions_days: u32 });
section!(WebhooksConfig {
    allowed_networks: Vec<IpNet>,
    schedule_ms: Vec<u64>,
    jitter_percent: u32,
    attempt_timeout_ms: u64,
    in_flight_per_endpoint: usize,
    in_flight: usize,
    pending_per_endpoint: usize,
    breaker_failures: u32,
    breaker_min_ms: u64,
    breaker_max_ms: u64,
    refused_hold_seconds: u32,
    disable_after_hours: u32,
    previous_secret_hours: u32,
    keep_attempts_days: u32,
    keep_deliveries: u32,
    endpoints_per_tenant: usize,
});
section!(LogConfig { level: String, format: LogFormat });

/// Where the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreBackend {
    /// In the data directory.
    Sqlite,
    /// In a PostgreSQL.
    Postgres,
    /// In a KurrentDB.
    Kurrentdb,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Pretty on a terminal, JSON otherwise.
    Auto,
    /// Several fields in one line, for people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// A tenant that the configuration defines.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.toml documents every key")]
pub struct TenantConfig {
    pub id: String,
    pub name: Option<String>,
    pub origins: Option<Vec<String>>,
    #[serde(default)]
    pub widget_keys: Vec<Secret>,
    #[serde(default)]
    pub secret_keys: Vec<Secret>,
    #[serde(default)]
    pub bot_keys: Vec<Secret>,
    #[serde(default)]
    pub webhooks: Vec<WebhookConfig>,
}

/// A webhook that the configuration defines.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.toml documents every key")]
pub struct WebhookConfig {
    pub url: String,
    pub secret: Secret,
}

impl Config {
    /// The defaults, overridden by a file and by the process's environment.
    ///
    /// # Errors
    /// When the file cannot be read, or a key is unknown or has a value that it does not take.
    pub fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        Self::layered(file, environment::settings(std::env::vars_os())?)
    }

    /// The same with the given environment variables.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn layered(file: Option<&Path>, environment: HashMap<String, String>) -> anyhow::Result<Self> {
        EffectiveConfig::of(file, environment)?.config()
    }
}

#[cfg(test)]
mod tests;
