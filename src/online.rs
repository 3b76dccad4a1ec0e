//! Who is online, as agents are told: on HTTP and on sockets.

use std::{sync::Arc, time::Duration};

use amoiq_actors::{Online, OnlineUser, OnlineUsers, Presence};
use amoiq_events::{EventStore, TenantId};
use serde_json::{Value, json};

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
    /// `{users, total}`: the newest first. Whoever had connected when this was asked is in it.
    ///
    /// # Errors
    /// [`Problem::Overloaded`] when the list does not follow the log.
    pub async fn list(&self, tenant: &TenantId) -> Result<Value, Problem> {
        self.presence.said(tenant, PATIENCE).await;
        Ok(view(&self.users.list(tenant, self.limit, self.store.head()).await?))
    }
}

fn view(online: &Online) -> Value {
    let user = |user: &OnlineUser| {
        let mut view = json!({
            "userId": user.user_id,
            "sessionId": user.session_id,
            "connectedAt": user.connected_at,
        });
        for (name, value) in [("domain", &user.domain), ("origin", &user.origin), ("url", &user.url)] {
            if let (Some(value), Some(view)) = (value, view.as_object_mut()) {
                view.insert(name.to_owned(), json!(value));
            }
        }
        view
    };
    json!({ "users": online.users.iter().map(user).collect::<Vec<_>>(), "total": online.total })
}
