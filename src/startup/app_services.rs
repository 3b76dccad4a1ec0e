//! What the routes of the public API work with, each by its own type.

use std::{path::Path, sync::Arc, time::Duration};

use actix_web::web;
use amoiq_actors::{
    inbox::{InboxProjection, InboxView},
    presence::{
        ExchangeServices, OnlineUsers, PresenceExchange, PresenceHandle, PresenceSettings, PresenceSignal,
        PresenceSignals,
    },
    projections::{Projector, RebuildHandle, ViewStore},
    sessions::{
        DirectorySettings, IdleCloser, ProvenUsers, SessionDirectory, SessionFollower, SessionSettings,
    },
    timing::NodeDuty,
};
use amoiq_events::{Ambient, EventLog, EventStore};
use tokio::sync::mpsc;

use super::{core_services::CoreServices, threads};
use crate::{
    access::{
        auth::{Authenticator, origin::WidgetOrigins},
        forwarded::TrustedProxies,
        message_intake::{MessageIntake, MessageLimits},
        rate_limit::{RequestLimiter, SocketLimiter},
        session_guard::SessionGuard,
        visitor_notes::VisitorNotes,
    },
    api::online::OnlineDirectory,
    config::{Config, PresenceConfig},
    http::{
        body::BodyLimit,
        health::DrainState,
        history::{HistoryReader, page::HistoryBytes},
        sessions::{
            public_origin::PublicOrigin,
            widget::{SocketTokenDays, WidgetServices},
        },
        tokens::AnonymousTtl,
    },
};

/// How long a read waits until its projection has caught up.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// Presence changes of a tenant within this time are appended together.
const PRESENCE_BATCH: Duration = Duration::from_millis(50);

/// What the routes work with.
#[derive(Clone)]
pub(super) struct AppServices {
    pub(super) authenticator: web::Data<Authenticator>,
    pub(super) guard: web::Data<SessionGuard>,
    widget: web::Data<WidgetServices>,
    pub(super) request_limiter: web::Data<RequestLimiter>,
    pub(super) socket_limiter: web::Data<SocketLimiter>,
    widget_origins: web::Data<WidgetOrigins>,
    pub(super) proxies: web::Data<TrustedProxies>,
    body_limit: web::Data<BodyLimit>,
    pub(super) intake: web::Data<MessageIntake>,
    anonymous_ttl: web::Data<AnonymousTtl>,
    history: web::Data<HistoryReader>,
    pub(super) directory: web::Data<SessionDirectory>,
    pub(super) inbox: web::Data<InboxView>,
    pub(super) proven: ProvenUsers,
    /// For the operator interface.
    pub(super) rebuilds: Vec<RebuildHandle>,
    pub(super) online: web::Data<OnlineDirectory>,
    pub(super) drain: web::Data<DrainState>,
    store: web::Data<dyn EventStore>,
    log: web::Data<dyn EventLog>,
    ambient: web::Data<Ambient>,
}

impl AppServices {
    /// Starts the actors and what they need. `presence` has followed the log since before this process announced itself.
    pub(super) fn start(core: &CoreServices, presence: PresenceServices) -> anyhow::Result<Self> {
        let CoreServices { config, store, log, ambient, .. } = core;
        let (inbox, rebuilds) = start_inbox(core.data_directory(), log)?;
        let from = log.head();
        let proven = ProvenUsers::of(inbox.clone(), from);
        let directory = SessionDirectory::new(directory_settings(config), store, ambient, &proven);
        if config.sessions.threads > 0 {
            directory.run_all();
        }
        SessionFollower::start(log, from, directory.clone(), proven.clone(), inbox.clone());
        close_idle(core, &directory, &inbox);
        let online = OnlineDirectory {
            presence: presence.presence,
            users: presence.users,
            store: Arc::clone(log),
            limit: config.presence.list_limit,
        };
        let history = HistoryReader {
            directory: directory.clone(),
            inbox: inbox.clone(),
            store: Arc::clone(log),
            page_bytes: HistoryBytes(config.limits.history_bytes),
        };
        let limits = &config.rate_limit;
        let reads_history = config.security.widget_key_reads_history;
        let looked_up = (inbox.clone(), Arc::clone(log));
        let guard = web::Data::new(SessionGuard::new(directory.clone(), looked_up, limits, reads_history));
        let authenticator = web::Data::new(authenticator(core)?);
        let proxies = web::Data::new(TrustedProxies::new(config.server.trusted_proxies.clone()));
        let intake = web::Data::new(message_intake(core, &directory, &online));
        let directory = web::Data::new(directory);
        let widget = WidgetServices {
            authenticator: authenticator.clone(),
            guard: guard.clone(),
            directory: directory.clone(),
            notes: intake.notes.clone(),
            intake: intake.clone(),
            origin: PublicOrigin::new(&config.server.public_url, Arc::clone(&proxies)),
            token_days: SocketTokenDays(config.auth.ws_token_days),
        };
        Ok(Self {
            authenticator,
            widget: web::Data::new(widget),
            guard: guard.clone(),
            request_limiter: web::Data::new(RequestLimiter::new(limits)),
            socket_limiter: web::Data::new(SocketLimiter::new(limits)),
            widget_origins: web::Data::new(WidgetOrigins(config.server.widget_origins.clone())),
            proxies,
            body_limit: web::Data::new(BodyLimit(config.limits.body_bytes)),
            intake,
            anonymous_ttl: web::Data::new(AnonymousTtl(config.auth.anonymous_token_seconds)),
            history: web::Data::new(history),
            directory,
            inbox: web::Data::new(inbox),
            proven,
            rebuilds: vec![rebuilds],
            online: web::Data::new(online),
            drain: web::Data::default(),
            store: web::Data::from(Arc::clone(store)),
            log: web::Data::from(Arc::clone(log)),
            ambient: web::Data::new(ambient.clone()),
        })
    }

    /// Adds what the routes of one worker work with, and runs a part of the sessions there unless they have threads of
    /// their own.
    pub(super) fn provide(&self, routes: &mut web::ServiceConfig) {
        self.directory.run_shard();
        routes
            .app_data(self.authenticator.clone())
            .app_data(self.guard.clone())
            .app_data(self.widget.clone())
            .app_data(self.request_limiter.clone())
            .app_data(self.widget_origins.clone())
            .app_data(self.proxies.clone())
            .app_data(self.body_limit.clone())
            .app_data(self.intake.clone())
            .app_data(self.anonymous_ttl.clone())
            .app_data(self.history.clone())
            .app_data(self.directory.clone())
            .app_data(self.inbox.clone())
            .app_data(self.online.clone())
            .app_data(self.drain.clone())
            .app_data(self.store.clone())
            .app_data(self.log.clone())
            .app_data(self.ambient.clone());
    }
}

fn authenticator(core: &CoreServices) -> anyhow::Result<Authenticator> {
    let tokens = core.secrets.keys(&core.config.auth, &core.ambient);
    let authenticator = Authenticator::new(Arc::clone(&core.registry), tokens, core.ambient.clone());
    Ok(authenticator.with_news(core.tenant_news.clone()))
}

fn message_intake(
    core: &CoreServices,
    directory: &SessionDirectory,
    online: &OnlineDirectory,
) -> MessageIntake {
    let limits = &core.config.limits;
    MessageIntake {
        limits: MessageLimits {
            text_characters: limits.text_characters,
            user_info_bytes: limits.user_info_bytes,
        },
        ambient: core.ambient.clone(),
        directory: directory.clone(),
        online: online.clone(),
        notes: VisitorNotes::default(),
    }
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
    if let Some(exchange) = &core.node.signals {
        let services = ExchangeServices {
            exchange: Arc::clone(exchange),
            leases: Arc::clone(&core.node.leases),
            log: Arc::clone(log),
            ambient: ambient.clone(),
        };
        PresenceExchange::start(services, &tells, &presence);
    }
    (PresenceServices { presence, users }, signals)
}

fn presence_settings(presence: &PresenceConfig) -> PresenceSettings {
    PresenceSettings {
        offline_grace: Duration::from_millis(presence.offline_grace_ms),
        batch: PRESENCE_BATCH,
    }
}

fn start_inbox(data: &Path, log: &Arc<dyn EventLog>) -> anyhow::Result<(InboxView, RebuildHandle)> {
    let views = ViewStore::open(&data.join("views.db"))?;
    let (progress, rebuilds) = Projector::<InboxProjection>::start_with_rebuilds(&views, log);
    Ok((InboxView::new(views, progress, READ_TIMEOUT), rebuilds))
}

/// Closes the conversations that nobody continues, if that is configured.
fn close_idle(core: &CoreServices, directory: &SessionDirectory, inbox: &InboxView) {
    let close_after_hours = u64::from(core.config.conversation.close_after_hours);
    if close_after_hours > 0 {
        let close_after = Duration::from_secs(close_after_hours * 3_600);
        let closer = IdleCloser {
            directory: directory.clone(),
            inbox: inbox.clone(),
            store: Arc::clone(&core.log),
            duty: NodeDuty::new(Arc::clone(&core.node.leases), "idle conversations"),
            close_after,
        };
        closer.start(core.ambient.clone());
    }
}

/// The settings of sessions.
pub(crate) fn directory_settings(config: &Config) -> DirectorySettings {
    DirectorySettings {
        arbiters: match config.sessions.threads {
            0 => threads(config.server.workers),
            own => own,
        },
        max_sessions: config.sessions.max_in_memory,
        max_memory_bytes: config.sessions.max_memory_bytes,
        passivate_after: Duration::from_secs(config.sessions.passivate_after_seconds),
        session: SessionSettings { max_events: config.limits.events_per_session },
    }
}
