//! What a client says about itself when it connects a socket.

use amoiq_events::{SessionId, TenantId, UserId};
use serde::Deserialize;

use super::field::Field;

/// The `auth` of a CONNECT packet. Texts that are not texts count as absent; ids are validated.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConnectAuth {
    /// A token or an API key.
    pub token: Field<String>,
    /// An API key, where `token` is absent.
    pub api_key: Field<String>,
    /// The tenant, where the credential is good for several.
    pub tenant_id: Field<TenantId>,
    /// The user that the visitor claims to be.
    pub user_id: Field<UserId>,
    /// The visitor's session.
    pub session_id: Field<SessionId>,
    /// `admin` or `agent`: the client expects the rights of staff.
    pub role: Field<String>,
    /// The origin of the page.
    pub origin: Field<String>,
    /// The domain of the page.
    pub domain: Field<String>,
    /// The address of the page.
    pub url: Field<String>,
    /// Whether the client wants to recover missed events after a reconnect.
    pub recovery: Field<bool>,
    /// The recovery token of the connection before.
    pub pid: Field<String>,
    /// The offset of the last event that the client has seen.
    pub offset: Field<String>,
}

impl ConnectAuth {
    /// The text of a field; none when it is absent, empty or not a text.
    #[must_use]
    pub fn text(field: &Field<String>) -> Option<&str> {
        match field {
            Field::Value(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// Whether the client asks for recovery.
    #[must_use]
    pub fn wants_recovery(&self) -> bool {
        self.recovery == Field::Value(true)
    }
}
