//! Who is online, as agents are told: on HTTP and on sockets.

use std::{sync::Arc, time::Duration};

use amoiq_actors::{Online, OnlineUser, OnlineUsers, Presence};
use amoiq_events::{EventStore, SessionId, ShortText, TenantId, Timestamp, UserId};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::problem::Problem;

/// How long a list waits for visitors who have just come to be in the log.
const PATIENCE: Duration = Duration::from_millis(500);

/// Lists who is online.
#[derive(Clone)]
pub struct OnlineDirectory {
    /// By connections.
    pub presence: Presence,
    /// As the log tells.
    pub users: OnlineUsers,
    /// The log.
    pub store: Arc<dyn EventStore>,
    /// How many users a list names: `presence.list_limit`.
    pub limit: usize,
}

impl OnlineDirectory {
    /// `{users, total}`, written once: the newest first. Whoever had connected when this was asked is in it,
    /// unless they are one of a crowd, of which a little is said at a time.
    ///
    /// # Errors
    /// [`Problem::Overloaded`] when the list does not follow the log.
    pub async fn list(&self, tenant: &TenantId) -> Result<Box<RawValue>, Problem> {
        self.presence.said(tenant, PATIENCE).await;
        let online = self.users.list(tenant, self.limit, self.store.head()).await?;
        to_raw_value(&OnlineView::of(&online)).map_err(|error| {
            tracing::error!(%error, "a list could not be written");
            Problem::Internal
        })
    }
}

#[derive(Serialize)]
struct OnlineView<'a> {
    users: Vec<UserView<'a>>,
    total: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UserView<'a> {
    user_id: &'a UserId,
    session_id: &'a SessionId,
    connected_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'a ShortText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'a ShortText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a ShortText>,
}

impl<'a> OnlineView<'a> {
    fn of(online: &'a Online) -> Self {
        let view = |user: &'a OnlineUser| UserView {
            user_id: &user.user_id,
            session_id: &user.session_id,
            connected_at: user.connected_at,
            domain: user.domain.as_ref(),
            origin: user.origin.as_ref(),
            url: user.url.as_ref(),
        };
        Self { users: online.users.iter().map(view).collect(), total: online.total }
    }
}
