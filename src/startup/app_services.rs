//! What the routes of the public API work with, each by its own type.

use std::{
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
};
use amoiq_events::{Ambient, EventStore};
use tokio::sync::mpsc;

use super::{core_services::CoreServices, jwt_secrets, threads};
use crate::{
    access::auth::Authenticator,
    access::forwarded::TrustedProxies,
    access::rate_limit::RateLimiter,
    api::draft::{Drafts, MessageLimits},
    api::online::OnlineDirectory,
    config::{Config, PresenceConfig},
    http::{
        access::Policy, body::BodyLimit, history::size::HistoryBytes, limits::Gate, tokens::AnonymousTtl,
    },
    realtime::chat::metering::SocketCounts,
};

/// How long a read waits until its projection has caught up.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// PresenceHandle changes of a tenant within this time are appended together.
const PRESENCE_BATCH: Duration = Duration::from_millis(50);

/// What the routes work with.
#[derive(Clone)]
pub(super) struct AppServices {
    pub(super) gate: web::Data<Gate>,
    body_limit: web::Data<BodyLimit>,
    pub(super) drafts: web::Data<Drafts>,
    anonymous_ttl: web::Data<AnonymousTtl>,
    history_bytes: web::Data<HistoryBytes>,
    pub(super) directory: web::Data<SessionDirectory>,
    pub(super) inbox: web::Data<InboxView>,
    pub(super) proven: ProvenUsers,
    /// For the operator interface.
    pub(super) rebuilds: Vec<RebuildHandle>,
    pub(super) online: web::Data<OnlineDirectory>,
    log: web::Data<dyn EventStore>,
    ambient: web::Data<Ambient>,
}

impl AppServices {
    /// Starts the actors and what they need. `presence` has followed the log since before this process announced itself.
    pub(super) fn start(core: &CoreServices, presence: PresenceServices) -> anyhow::Result<Self> {
        let CoreServices { config, log, ambient, .. } = core;
        let (inbox, rebuilds) = start_inbox(core.data_directory(), log)?;
        let proven = ProvenUsers::of(inbox.clone(), log.head());
        let directory = SessionDirectory::start(directory_settings(config), log, ambient, &proven);
        close_idle(core, &directory, &inbox);
        let limits = MessageLimits {
            text_characters: config.limits.text_characters,
            user_info_bytes: config.limits.user_info_bytes,
        };
        Ok(Self {
            gate: web::Data::new(gate(core)?),
            body_limit: web::Data::new(BodyLimit(config.limits.body_bytes)),
            drafts: web::Data::new(Drafts { limits, ambient: ambient.clone() }),
            anonymous_ttl: web::Data::new(AnonymousTtl(config.auth.anonymous_token_seconds)),
            history_bytes: web::Data::new(HistoryBytes(config.limits.history_bytes)),
            directory: web::Data::new(directory),
            inbox: web::Data::new(inbox),
            proven,
            rebuilds: vec![rebuilds],
            online: web::Data::new(OnlineDirectory {
                presence: presence.presence,
                users: presence.users,
                store: Arc::clone(log),
                limit: config.presence.list_limit,
            }),
            log: web::Data::from(Arc::clone(log)),
            ambient: web::Data::new(ambient.clone()),
        })
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
            .app_data(self.log.clone())
            .app_data(self.ambient.clone());
    }
}

/// Who may call, and how often.
fn gate(core: &CoreServices) -> anyhow::Result<Gate> {
    let CoreServices { config, ambient, registry, .. } = core;
    let tokens = jwt_secrets::token_keys(core)?;
    let policy = Policy {
        widget_key_reads_history: config.security.widget_key_reads_history,
        widget_origins: config.server.widget_origins.clone(),
    };
    Ok(Gate {
        authenticator: Authenticator::new(Arc::clone(registry), tokens, ambient.clone()),
        requests: RateLimiter::new(),
        misses: RateLimiter::new(),
        refused_messages: AtomicU64::new(0),
        sockets: SocketCounts::default(),
        limits: config.rate_limit.clone(),
        policy,
        proxies: TrustedProxies::new(config.server.trusted_proxies.clone()),
        ambient: ambient.clone(),
    })
}

/// Who is online.
pub(super) struct PresenceServices {
    presence: PresenceHandle,
    users: OnlineUsers,
}

/// Follows presence from the end of the log on: nobody who was online before this process started still is. The receiver
/// gets the signals about visitors who have not written yet.
pub(super) fn start_presence(core: &CoreServices) -> (PresenceServices, mpsc::Receiver<PresenceSignal>) {
    let CoreServices { config, log, ambient, .. } = core;
    let (tells, signals) = PresenceSignals::new();
    let presence = PresenceHandle::start(presence_settings(&config.presence), log, ambient, &tells);
    let users = OnlineUsers::start(log, log.head(), READ_TIMEOUT, &tells, presence.clone());
    (PresenceServices { presence, users }, signals)
}

fn presence_settings(presence: &PresenceConfig) -> PresenceSettings {
    PresenceSettings {
        offline_grace: Duration::from_millis(presence.offline_grace_ms),
        batch: PRESENCE_BATCH,
    }
}

fn start_inbox(data: &Path, log: &Arc<dyn EventStore>) -> anyhow::Result<(InboxView, RebuildHandle)> {
    let views = ViewStore::open(&data.join("views.db"))?;
    let (progress, rebuilds) = Projector::<InboxProjection>::start_with_rebuilds(&views, log);
    Ok((InboxView::new(views, progress, READ_TIMEOUT), rebuilds))
}

/// Closes the conversations that nobody continues, if that is configured.
fn close_idle(core: &CoreServices, directory: &SessionDirectory, inbox: &InboxView) {
    let close_after_hours = u64::from(core.config.conversation.close_after_hours);
    if close_after_hours > 0 {
        let close_after = Duration::from_secs(close_after_hours * 3_600);
        let (log, ambient) = (Arc::clone(&core.log), core.ambient.clone());
        IdleCloser::start(directory.clone(), inbox.clone(), log, ambient, close_after);
    }
}

/// The settings of sessions.
pub(crate) fn directory_settings(config: &Config) -> DirectorySettings {
    DirectorySettings {
        arbiters: threads(config.sessions.threads, 2),
        max_sessions: config.sessions.max_in_memory,
        max_memory_bytes: config.sessions.max_memory_bytes,
        passivate_after: Duration::from_secs(config.sessions.passivate_after_seconds),
        session: SessionSettings { max_events: config.limits.events_per_session },
    }
}
