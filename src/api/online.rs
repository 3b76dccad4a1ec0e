//! Who is online, as agents are told: on HTTP and on sockets.

use std::{sync::Arc, time::Duration};

use amoiq_actors::{
    presence::{OnlineList, OnlineUser, OnlineUsers, PresenceHandle},
    sessions::ChatMessage,
};
use amoiq_events::{
    EventLog, SessionId, ShortText, TenantId, Timestamp, UserId,
    presence::{UserOffline, UserOnline},
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::schema::{IdSchema, TimestampSchema};
use crate::api::problem::Problem;

/// How long a list waits for visitors who have just come to be in the log.
const PATIENCE: Duration = Duration::from_millis(500);

/// Lists who is online.
#[derive(Clone)]
pub struct OnlineDirectory {
    /// By connections.
    pub presence: PresenceHandle,
    /// As the log and the signals tell.
    pub users: OnlineUsers,
    /// The log.
    pub store: Arc<dyn EventLog>,
    /// How many users a list names: `presence.list_limit`.
    pub limit: usize,
}

impl OnlineDirectory {
    /// A message was stored. A session's first one brings its visitor into the log; nobody waits for that.
    pub fn stored(&self, tenant: &TenantId, session: &SessionId, message: &ChatMessage) {
        if message.seq == 1 {
            self.wrote(tenant, session);
        }
    }

    /// There are messages in a session.
    pub fn wrote(&self, tenant: &TenantId, session: &SessionId) {
        let (presence, tenant, session) = (self.presence.clone(), tenant.clone(), session.clone());
        actix_web::rt::spawn(async move {
            // Gone only when the service stops.
            let _stopping = presence.wrote(&tenant, session).await;
        });
    }

    /// `{users, total}`, written once: the newest first. Whoever had connected when this was asked is in it,
    /// unless they are one of a crowd, of which a little is said at a time.
    ///
    /// # Errors
    /// [`Problem::Overloaded`] when the list does not follow the log.
    pub async fn list(&self, tenant: &TenantId) -> Result<Box<RawValue>, Problem> {
        self.presence.announced(tenant, PATIENCE).await;
        let head = self.store.current_head().await?;
        let online = self.users.list(tenant, self.limit, head).await?;
        to_raw_value(&OnlineUsersResponse::of(&online)).map_err(|error| {
            tracing::error!(%error, "a list could not be written");
            Problem::Internal
        })
    }
}

/// The users who are online, the newest first.
#[derive(Serialize, JsonSchema)]
pub struct OnlineUsersResponse<'a> {
    /// The newest `presence.list_limit` of them.
    users: Vec<OnlineUserResponse<'a>>,
    /// How many there are.
    total: usize,
}

/// Somebody who is online, in a list and when they come.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OnlineUserResponse<'a> {
    #[schemars(with = "IdSchema")]
    user_id: &'a UserId,
    #[schemars(with = "IdSchema")]
    session_id: &'a SessionId,
    #[schemars(with = "TimestampSchema")]
    connected_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<IdSchema>")]
    claimed_user_id: Option<&'a UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    domain: Option<&'a ShortText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    origin: Option<&'a ShortText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    url: Option<&'a ShortText>,
}

impl<'a> OnlineUsersResponse<'a> {
    fn of(online: &'a OnlineList) -> Self {
        Self { users: online.users.iter().map(OnlineUserResponse::listed).collect(), total: online.total }
    }
}

impl<'a> OnlineUserResponse<'a> {
    fn listed(user: &'a OnlineUser) -> Self {
        Self {
            user_id: &user.user_id,
            session_id: &user.session_id,
            connected_at: user.connected_at,
            verified: user.verified,
            claimed_user_id: user.claimed_user_id.as_ref(),
            domain: user.domain.as_ref(),
            origin: user.origin.as_ref(),
            url: user.url.as_ref(),
        }
    }

    /// Somebody who came.
    #[must_use]
    pub fn of(user: &'a UserOnline) -> Self {
        Self {
            user_id: &user.user_id,
            session_id: &user.session_id,
            connected_at: user.connected_at,
            verified: user.verified,
            claimed_user_id: user.claimed_user_id.as_ref(),
            domain: user.domain.as_ref(),
            origin: user.origin.as_ref(),
            url: user.url.as_ref(),
        }
    }
}

/// Somebody who went.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OfflineUserResponse<'a> {
    #[schemars(with = "IdSchema")]
    user_id: &'a UserId,
    #[schemars(with = "IdSchema")]
    session_id: &'a SessionId,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<bool>,
}

impl<'a> OfflineUserResponse<'a> {
    /// Somebody who went.
    #[must_use]
    pub fn of(user: &'a UserOffline) -> Self {
        Self { user_id: &user.user_id, session_id: &user.session_id, verified: user.verified }
    }
}
