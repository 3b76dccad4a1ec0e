//! What the routes are given, each by its own type.

use std::{
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use actix_web::web;
use amoiq_actors::{
    inbox::{InboxProjection, InboxView},
    presence::{OnlineUsers, PresenceHandle, PresenceSettings, PresenceSignal, PresenceSignals},
    projections::{Projector, RebuildHandle, ViewStore},
    sessions::{DirectorySettings, IdleCloser, ProvenUsers, SessionDirectory, SessionSettings},
    tenants::TenantRegistry,
};
use amoiq_events::{Ambient, EventStore, store::sqlite::SqliteStore};
use anyhow::Context;
use tokio::sync::mpsc;

use super::{sockets::SocketServer, threads, webhooks::WebhookServer};
use crate::{
    access::auth::{Authenticator, TokenKeys},
    access::forwarded::TrustedProxies,
    access::rate_limit::RateLimiter,
    access::secret::Secret,
    api::draft::{Drafts, MessageLimits},
    api::online::OnlineDirectory,
    config::{Auth, Config},
    http::{
        access::Policy, body::BodyLimit, history::size::HistoryBytes, limits::Gate, tokens::AnonymousTtl,
    },
    operator::Desk,
    realtime::chat::metering::SocketCounts,
    telemetry::logging::Losses,
    telemetry::metrics::Sources,
};

/// How long a read waits for its projection.
const READ_PATIENCE: Duration = Duration::from_secs(2);

/// Changes of a tenant's presence within this time are one append.
const PRESENCE_BATCH: Duration = Duration::from_millis(50);

/// A secret with fewer bytes can be guessed from a token that it signed.
const STRONG_BYTES: usize = 32;

/// What the routes are given.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) gate: web::Data<Gate>,
    body_limit: web::Data<BodyLimit>,
    pub(super) drafts: web::Data<Drafts>,
    anonymous_ttl: web::Data<AnonymousTtl>,
    history_bytes: web::Data<HistoryBytes>,
    pub(super) directory: web::Data<SessionDirectory>,
    pub(super) inbox: web::Data<InboxView>,
    pub(super) proven: ProvenUsers,
    /// For the operator's interface.
    pub(super) rebuilds: Vec<RebuildHandle>,
    pub(super) online: web::Data<OnlineDirectory>,
    store: web::Data<dyn EventStore>,
    ambient: web::Data<Ambient>,
}

impl Parts {
    /// Starts the actors and what they need. `online` has followed the log since before this process was noted
    /// in it.
    pub(super) fn build(
        config: &Config,
        data: &Path,
        store: &Arc<dyn EventStore>,
        ambient: &Ambient,
        registry: Arc<TenantRegistry>,
        online: PresenceParts,
    ) -> anyhow::Result<Self> {
        check_secrets(&config.auth)?;
        let (inbox, rebuilds) = inbox(data, store)?;
        let proven = ProvenUsers::of(inbox.clone(), store.head());
        let directory = SessionDirectory::start(directory_settings(config), store, ambient, &proven);
        close_idle(config, store, ambient, &directory, &inbox);
        let secret = jwt_secret(&config.auth.jwt_secret, data, ambient)?;
        let previous = previous_secrets(&config.auth.jwt_previous_secrets);
        let tokens = TokenKeys::new(&secret, previous, &config.auth, ambient.clone());
        let policy = Policy {
            widget_key_reads_history: config.security.widget_key_reads_history,
            widget_origins: config.server.widget_origins.clone(),
        };
        let gate = Gate {
            authenticator: Authenticator::new(registry, tokens, ambient.clone()),
            requests: RateLimiter::new(),
            misses: RateLimiter::new(),
            refused_messages: AtomicU64::new(0),
            sockets: SocketCounts::default(),
            limits: config.rate_limit.clone(),
            policy,
            proxies: TrustedProxies::new(config.server.trusted_proxies.clone()),
            ambient: ambient.clone(),
        };
        let limits = MessageLimits {
            text_characters: config.limits.text_characters,
            user_info_bytes: config.limits.user_info_bytes,
        };
        Ok(Self {
            gate: web::Data::new(gate),
            body_limit: web::Data::new(BodyLimit(config.limits.body_bytes)),
            drafts: web::Data::new(Drafts { limits, ambient: ambient.clone() }),
            anonymous_ttl: web::Data::new(AnonymousTtl(config.auth.anonymous_token_seconds)),
            history_bytes: web::Data::new(HistoryBytes(config.limits.history_bytes)),
            directory: web::Data::new(directory),
            inbox: web::Data::new(inbox),
            proven,
            rebuilds: vec![rebuilds],
            online: web::Data::new(OnlineDirectory {
                presence: online.presence,
                users: online.users,
                store: Arc::clone(store),
                limit: config.presence.list_limit,
            }),
            store: web::Data::from(Arc::clone(store)),
            ambient: web::Data::new(ambient.clone()),
        })
    }

    /// Where the numbers for operators are.
    pub(super) fn sources(
        &self,
        store: &Arc<SqliteStore>,
        data: &Path,
        desk: &Desk,
        sockets: &SocketServer,
        webhooks: &WebhookServer,
        losses: Losses,
    ) -> Sources {
        Sources {
            store: Arc::clone(store),
            data: data.to_owned(),
            ambient: desk.tenants.ambient.clone(),
            registry: Arc::clone(&desk.tenants.registry),
            census: Arc::clone(self.directory.counters()),
            inbox: self.inbox.progress().clone(),
            online: self.online.users.clone(),
            engine: sockets.metrics(),
            recovery: sockets.recovery(),
            gate: self.gate.clone(),
            webhooks: webhooks.lanes(),
            losses,
        }
    }

    pub(super) fn provide(&self, routes: &mut web::ServiceConfig) {
        routes
            .app_data(self.gate.clone())
            .app_data(self.body_limit.clone())
            .app_data(self.drafts.clone())
            .app_data(self.anonymous_ttl.clone())
            .app_data(self.history_bytes.clone())
            .app_data(self.directory.clone())
            .app_data(self.inbox.clone())
            .app_data(self.online.clone())
            .app_data(self.store.clone())
            .app_data(self.ambient.clone());
    }
}

/// Who is online.
pub(super) struct PresenceParts {
    presence: PresenceHandle,
    users: OnlineUsers,
}

/// The online users of a store, from its end on: whoever was online before this process is not any more. With them
/// what is told of visitors who have not written.
pub(super) fn presence(
    config: &Config,
    store: &Arc<dyn EventStore>,
    ambient: &Ambient,
) -> (PresenceParts, mpsc::Receiver<PresenceSignal>) {
    let (tells, signals) = PresenceSignals::new();
    let presence = PresenceHandle::start(presence_settings(config), store, ambient, &tells);
    let users = OnlineUsers::start(store, store.head(), READ_PATIENCE, &tells, presence.clone());
    (PresenceParts { presence, users }, signals)
}

fn presence_settings(config: &Config) -> PresenceSettings {
    PresenceSettings {
        offline_grace: Duration::from_millis(config.presence.offline_grace_ms),
        batch: PRESENCE_BATCH,
    }
}

fn inbox(data: &Path, store: &Arc<dyn EventStore>) -> anyhow::Result<(InboxView, RebuildHandle)> {
    let views = ViewStore::open(&data.join("views.db"))?;
    let (progress, rebuilds) = Projector::<InboxProjection>::start_with_rebuilds(&views, store);
    Ok((InboxView::new(views, progress, READ_PATIENCE), rebuilds))
}

/// Closes the conversations that nobody continues, where that is set.
fn close_idle(
    config: &Config,
    store: &Arc<dyn EventStore>,
    ambient: &Ambient,
    directory: &SessionDirectory,
    inbox: &InboxView,
) {
    let close_after_hours = u64::from(config.conversation.close_after_hours);
    if close_after_hours > 0 {
        let close_after = Duration::from_secs(close_after_hours * 3_600);
        let (store, ambient) = (Arc::clone(store), ambient.clone());
        IdleCloser::start(directory.clone(), inbox.clone(), store, ambient, close_after);
    }
}

/// What a configuration says of sessions.
pub(crate) fn directory_settings(config: &Config) -> DirectorySettings {
    DirectorySettings {
        arbiters: threads(config.sessions.threads, 2),
        max_sessions: config.sessions.max_in_memory,
        max_memory_bytes: config.sessions.max_memory_bytes,
        passivate_after: Duration::from_secs(config.sessions.passivate_after_seconds),
        session: SessionSettings { max_events: config.limits.events_per_session },
    }
}

/// Whether the configured secrets can be used. With an empty one everybody could sign.
///
/// # Errors
/// When one is blank.
pub(crate) fn check_secrets(auth: &Auth) -> anyhow::Result<()> {
    let is_blank = |secret: &Secret| secret.expose().trim().is_empty();
    let signs = auth.jwt_secret.expose();
    anyhow::ensure!(
        signs.is_empty() || !is_blank(&auth.jwt_secret),
        "auth.jwt_secret is blank: give one, or \"\" to have one made"
    );
    anyhow::ensure!(
        !auth.jwt_previous_secrets.iter().any(is_blank),
        "auth.jwt_previous_secrets holds an empty secret: take it out"
    );
    Ok(())
}

/// The configured secrets that signed before.
fn previous_secrets(configured: &[Secret]) -> &[Secret] {
    for secret in configured {
        if secret.expose().len() < STRONG_BYTES {
            tracing::warn!(
                "a secret of auth.jwt_previous_secrets has less than {STRONG_BYTES} bytes: it can be guessed"
            );
        }
    }
    configured
}

/// The configured secret, or the one that was made at the first start.
fn jwt_secret(configured: &Secret, data: &Path, ambient: &Ambient) -> anyhow::Result<Secret> {
    if !configured.expose().is_empty() {
        if configured.expose().len() < STRONG_BYTES {
            tracing::warn!(
                "auth.jwt_secret has less than {STRONG_BYTES} bytes: it can be guessed from a token"
            );
        }
        return Ok(configured.clone());
    }
    let path = data.join("jwt_secret");
    if !path.exists() {
        let secret: String = ambient.bytes::<32>().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(secret.as_bytes())?;
        file.sync_all()?;
        // Its name too: without it a power cut takes the secret, and every token with it.
        std::fs::File::open(data)?.sync_all()?;
    }
    let secret = std::fs::read(&path).with_context(|| path.display().to_string())?;
    let secret = String::from_utf8(secret).unwrap_or_default();
    anyhow::ensure!(
        secret.trim().len() >= STRONG_BYTES,
        "{} is damaged or cut short: delete it to have a new one made",
        path.display()
    );
    Ok(Secret::new(secret.trim().to_owned()))
}
