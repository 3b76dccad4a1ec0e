//! The ranges of settings. Outside of its range a setting would make the service useless or dangerous: it would deliver
//! nothing, let nobody in, panic, or need more than the machine has. A value outside is refused before the store is opened,
//! and the error names the key, the value and the range.
//!
//! A range says what can work, not what is sensible: that depends on the machine and its customers.

use std::ops::RangeInclusive;

use anyhow::{anyhow, bail, ensure};

use super::{
    AuthConfig, ClusterConfig, Config, LimitsConfig, RealtimeConfig, SessionsConfig, StoreBackend,
    StoreConfig, TenantConfig, WebhooksConfig,
};
use crate::{access::tenants::settings, api::operator::tenants::MAX_ORIGINS};

/// The most threads of one kind. With more, actix-web does not start.
pub const MOST_THREADS: usize = 512;

const MIB: u64 = 1024 * 1024;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
const YEAR_SECONDS: u64 = 365 * 86_400;
const DECADE_HOURS: u64 = 87_600;
const CENTURY_DAYS: u64 = 36_500;

/// The largest message. It is appended as a whole, with the data about its visitor, and one append may have 4 MiB. A page of
/// history contains many messages.
const MESSAGE_BYTES: u64 = MIB;

/// The same with a log in KurrentDB: an append may have 512 KiB, and what a visitor says about themselves may be in it twice.
const KURRENTDB_MESSAGE_BYTES: u64 = 256 * 1024;

/// A first message is three events, and closing and reopening a conversation is two more.
const LEAST_EVENTS: u64 = 5;

/// The shortest interval that does not keep the processor busy, and the shortest timeout that a network can meet.
const LEAST_WAIT_MS: u64 = 100;

/// The most waits between the attempts of one delivery.
const MOST_WAITS: u64 = 1_000;

/// The longest name of a node. Every sid ends with it.
const MOST_NAME_BYTES: usize = 64;

/// A key, its value and its range.
type RangeRule = (&'static str, u64, RangeInclusive<u64>);

impl Config {
    /// Checks whether a service can work with these settings.
    ///
    /// # Errors
    /// When a value is out of its range; the text names the key, the value and the range.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!(
            !self.store.path.as_os_str().is_empty(),
            "store.path is empty, and must name a directory that only this service uses"
        );
        self.store.check()?;
        let own = [
            ("server.workers", self.server.workers as u64, 0..=MOST_THREADS as u64),
            ("server.drain_seconds", self.server.drain_seconds.unwrap_or(0).into(), 0..=600),
            ("presence.offline_grace_ms", self.presence.offline_grace_ms, 0..=DAY_MS),
            ("presence.list_limit", self.presence.list_limit as u64, 0..=1_000_000),
            ("conversation.close_after_hours", self.conversation.close_after_hours.into(), 0..=DECADE_HOURS),
            ("retention.presence_days", self.retention.presence_days.into(), 0..=CENTURY_DAYS),
            ("retention.sessions_days", self.retention.sessions_days.into(), 0..=CENTURY_DAYS),
        ];
        within(own)?;
        self.cluster.check()?;
        ensure!(
            self.cluster.postgres.expose().is_empty() || self.store.backend == StoreBackend::Kurrentdb,
            "cluster.postgres is set, but store.backend is not kurrentdb: nodes on a log in PostgreSQL share everything through \
             store.url, and a log in files has one node"
        );
        within(self.auth.rows())?;
        within(self.realtime.rows())?;
        within(self.limits.rows())?;
        ensure!(
            self.store.backend != StoreBackend::Kurrentdb
                || self.limits.body_bytes as u64 <= KURRENTDB_MESSAGE_BYTES,
            "limits.body_bytes is {}, and must be at most {KURRENTDB_MESSAGE_BYTES} with store.backend = kurrentdb, which takes no \
             longer appends",
            self.limits.body_bytes
        );
        within(self.sessions.rows())?;
        within(self.webhooks.rows())?;
        self.webhooks.check()?;
        if let Some(wrong) = self.server.widget_origins.iter().find(|origin| !settings::is_origin(origin)) {
            bail!(
                "server.widget_origins: `{wrong}` is not an origin as browsers write it, such as \
                 `https://widget.example`, without a path"
            );
        }
        self.tenants.iter().try_for_each(TenantConfig::check)
    }
}

impl StoreConfig {
    /// The address is given exactly when the backend has one.
    fn check(&self) -> anyhow::Result<()> {
        let is_given = !self.url.expose().is_empty();
        let (name, example) = match self.backend {
            StoreBackend::Sqlite => {
                ensure!(
                    !is_given,
                    "store.url is set, but store.backend is sqlite: set store.backend to postgres or kurrentdb, or \
                     remove the address"
                );
                return Ok(());
            }
            StoreBackend::Postgres => ("postgres", "postgres://amoiq@db.example/amoiq"),
            StoreBackend::Kurrentdb => ("kurrentdb", "esdb://amoiq@db.example:2113"),
        };
        ensure!(
            is_given,
            "store.url is empty, and must be the address of the database, such as `{example}`, because store.backend is \
             {name}"
        );
        Ok(())
    }
}

impl ClusterConfig {
    /// The name is in sids, which are in addresses, and in the settings of proxies.
    fn check(&self) -> anyhow::Result<()> {
        let is_allowed = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
        ensure!(
            self.node.len() <= MOST_NAME_BYTES && self.node.chars().all(is_allowed),
            "cluster.node is `{}`, and must be a name of letters, digits, `-`, `_` and `.`, at most {MOST_NAME_BYTES}",
            self.node
        );
        Ok(())
    }
}

impl TenantConfig {
    /// Applies the rules that also apply to the operator's commands.
    fn check(&self) -> anyhow::Result<()> {
        let name = self.name.as_deref().map_or(Ok(()), settings::check_name);
        name.map_err(|reason| anyhow!("tenants: `{}`: name {reason}", self.id))?;
        let origins = self.origins.as_deref().unwrap_or_default();
        ensure!(
            origins.len() <= MAX_ORIGINS,
            "tenants: `{}`: origins has {}, and must have 0 to {}",
            self.id,
            origins.len(),
            MAX_ORIGINS
        );
        settings::check_origins(origins)
            .map_err(|reason| anyhow!("tenants: `{}`: origins: {reason}", self.id))
    }
}

fn within(rows: impl IntoIterator<Item = RangeRule>) -> anyhow::Result<()> {
    for (key, value, range) in rows {
        ensure!(range.contains(&value), "{key} is {value}, and must be {} to {}", range.start(), range.end());
    }
    Ok(())
}

impl AuthConfig {
    fn rows(&self) -> [RangeRule; 2] {
        [
            ("auth.anonymous_token_seconds", self.anonymous_token_seconds.into(), 1..=100 * YEAR_SECONDS),
            ("auth.ws_token_days", self.ws_token_days.into(), 1..=CENTURY_DAYS),
        ]
    }
}

impl RealtimeConfig {
    fn rows(&self) -> [RangeRule; 9] {
        let wait = LEAST_WAIT_MS..=HOUR_MS;
        [
            ("realtime.ping_interval_ms", self.ping_interval_ms, wait.clone()),
            ("realtime.ping_timeout_ms", self.ping_timeout_ms, wait.clone()),
            ("realtime.connect_timeout_ms", self.connect_timeout_ms, wait.clone()),
            ("realtime.upgrade_timeout_ms", self.upgrade_timeout_ms, wait),
            // A client must be able to send its token.
            ("realtime.max_payload_bytes", self.max_payload_bytes as u64, 4_096..=16 * MIB),
            ("realtime.outbox_bytes", self.outbox_bytes as u64, 16_384..=1024 * MIB),
            ("realtime.max_connections", self.max_connections as u64, 0..=10_000_000),
            ("realtime.held_connections", self.held_connections as u64, 0..=10_000_000),
            ("realtime.recovery_seconds", self.recovery_seconds, 0..=YEAR_SECONDS),
        ]
    }
}

impl LimitsConfig {
    fn rows(&self) -> [RangeRule; 5] {
        [
            ("limits.body_bytes", self.body_bytes as u64, 1_024..=MESSAGE_BYTES),
            ("limits.text_characters", self.text_characters as u64, 1..=1_000_000_000),
            ("limits.user_info_bytes", self.user_info_bytes as u64, 0..=MESSAGE_BYTES),
            ("limits.events_per_session", self.events_per_session, LEAST_EVENTS..=10_000_000),
            ("limits.history_bytes", self.history_bytes as u64, 1_024..=64 * MIB),
        ]
    }
}

impl SessionsConfig {
    fn rows(&self) -> [RangeRule; 4] {
        [
            ("sessions.max_in_memory", self.max_in_memory as u64, 1..=10_000_000),
            ("sessions.max_memory_bytes", self.max_memory_bytes as u64, MIB..=1024 * 1024 * MIB),
            ("sessions.passivate_after_seconds", self.passivate_after_seconds, 1..=YEAR_SECONDS),
            ("sessions.threads", self.threads as u64, 0..=MOST_THREADS as u64),
        ]
    }
}

impl WebhooksConfig {
    fn rows(&self) -> [RangeRule; 12] {
        [
            ("webhooks.jitter_percent", self.jitter_percent.into(), 0..=1_000),
            ("webhooks.attempt_timeout_ms", self.attempt_timeout_ms, LEAST_WAIT_MS..=HOUR_MS),
            ("webhooks.in_flight_per_endpoint", self.in_flight_per_endpoint as u64, 1..=10_000),
            ("webhooks.in_flight", self.in_flight as u64, 1..=100_000),
            ("webhooks.pending_per_endpoint", self.pending_per_endpoint as u64, 1..=1_000_000),
            ("webhooks.breaker_failures", self.breaker_failures.into(), 1..=1_000_000),
            ("webhooks.breaker_min_ms", self.breaker_min_ms, 1..=DAY_MS),
            ("webhooks.breaker_max_ms", self.breaker_max_ms, self.breaker_min_ms..=DAY_MS),
            ("webhooks.refused_hold_seconds", self.refused_hold_seconds.into(), 0..=DAY_MS / 1_000),
            ("webhooks.disable_after_hours", self.disable_after_hours.into(), 0..=DECADE_HOURS),
            ("webhooks.previous_secret_hours", self.previous_secret_hours.into(), 0..=DECADE_HOURS),
            ("webhooks.keep_attempts_days", self.keep_attempts_days.into(), 1..=CENTURY_DAYS),
        ]
    }

    fn check(&self) -> anyhow::Result<()> {
        let waits = self.schedule_ms.len() as u64;
        ensure!(
            (1..=MOST_WAITS).contains(&waits),
            "webhooks.schedule_ms has {waits} waits, and must have 1 to {MOST_WAITS}"
        );
        let each = self
            .schedule_ms
            .iter()
            .map(|&wait_ms| ("a wait of webhooks.schedule_ms", wait_ms, 0..=30 * DAY_MS));
        within(each)
    }
}
