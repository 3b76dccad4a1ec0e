//! Requests about one session.

use amoiq_events::{SessionId, TenantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{field::Field, schema::IdSchema};

pub mod conversations;
pub mod widget;

/// Names a session: `join:session` and `leave:session` over sockets.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct JoinSessionRequest {
    /// The tenant; it has to be the socket's.
    pub tenant_id: Field<TenantId>,
    /// The session.
    pub session_id: Field<SessionId>,
}

/// Names at most a tenant: for requests that say everything else in their path.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct TenantRequest {
    /// The tenant, where the credential is good for several.
    pub tenant_id: Field<TenantId>,
}

/// Something was done to a session.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionResponse {
    /// Always true.
    pub success: bool,
    /// The session.
    #[schemars(with = "IdSchema")]
    pub session_id: SessionId,
}
