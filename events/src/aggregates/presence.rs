//! Visitors who come online and go offline. These are observations, so there is nothing to decide: the connections of a
//! tenant's visitors are the state, and a restart starts with nobody online.
//!
//! The log contains only visitors who have written. For all others a signal in memory says the same; when such a visitor
//! writes their first message, the log records that they are online, with [`UserOnline::is_told`].

use serde::{Deserialize, Serialize};

use crate::{SessionId, ShortText, Timestamp, UserId};

/// The first connection of a visitor opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserOnline {
    /// The visitor, as agents see them.
    pub user_id: UserId,
    /// The session that is online.
    pub session_id: SessionId,
    /// When the connection opened.
    pub connected_at: Timestamp,
    /// Whether a secret key vouched for `user_id`. Absent in events from before it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<bool>,
    /// Who they say they are, if that is another user's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_user_id: Option<UserId>,
    /// Whether staff were told already, before the visitor wrote anything ([`crate::presence`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_told: bool,
    /// The node that the visitor is connected to, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<ShortText>,
    /// The site's domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<ShortText>,
    /// The site's origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<ShortText>,
    /// The page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<ShortText>,
}

/// The last connection of a visitor closed, and the grace passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserOffline {
    /// The visitor.
    pub user_id: UserId,
    /// The session that was online.
    pub session_id: SessionId,
    /// Whether a secret key vouched for `user_id`. Absent in events from before it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<bool>,
    /// The node that the visitor was connected to, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<ShortText>,
}

/// An event of a `presence:` stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresenceEvent {
    /// `user.online`
    Online(UserOnline),
    /// `user.offline`
    Offline(UserOffline),
}

impl PresenceEvent {
    /// The visitor, as agents see them.
    #[must_use]
    pub fn user(&self) -> &UserId {
        match self {
            Self::Online(online) => &online.user_id,
            Self::Offline(offline) => &offline.user_id,
        }
    }

    /// The node that the visitor is or was connected to, where there are several.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        let node = match self {
            Self::Online(online) => &online.node,
            Self::Offline(offline) => &offline.node,
        };
        node.as_ref().map(ShortText::as_str)
    }

    /// The same, of a node.
    #[must_use]
    pub fn on(mut self, of: Option<&ShortText>) -> Self {
        let node = match &mut self {
            Self::Online(online) => &mut online.node,
            Self::Offline(offline) => &mut offline.node,
        };
        *node = of.cloned();
        self
    }
}
