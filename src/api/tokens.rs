//! Tokens: short-lived credentials that a key's holder asks for.

use std::borrow::Cow;

use amoiq_events::{SessionId, ShortText, TenantId, UserId};
use schemars::{JsonSchema, Schema, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    field::{Field, FieldValue},
    schema::IdSchema,
};

/// What a token's holder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenRole {
    /// A visitor of the tenant's site.
    Visitor,
    /// A person who answers.
    Agent,
    /// A person who sees everything.
    Admin,
}

impl FieldValue for TokenRole {
    fn read(value: Value) -> Result<Option<Self>, Cow<'static, str>> {
        match String::read(value)?.as_deref() {
            Some("visitor") => Ok(Some(Self::Visitor)),
            Some("agent") => Ok(Some(Self::Agent)),
            Some("admin") => Ok(Some(Self::Admin)),
            _ => Err("must be visitor, agent or admin".into()),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "enum": ["visitor", "agent", "admin"] })
    }
}

/// Asks for an anonymous token.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct AnonymousTokenRequest {
    /// The tenant, where the credential is good for several.
    pub tenant_id: Field<TenantId>,
    /// The session that the token opens; a new one unless given.
    pub session_id: Field<SessionId>,
    /// The page's origin.
    pub origin: Field<ShortText>,
}

/// Asks for a token for a verified user, an agent or an admin.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["userId", "role"]))]
pub struct MintTokenRequest {
    /// The tenant, where the credential is good for several.
    pub tenant_id: Field<TenantId>,
    /// Whose token it is.
    pub user_id: Field<UserId>,
    /// The only session that it opens; for visitors.
    pub session_id: Field<SessionId>,
    /// What its holder is.
    pub role: Field<TokenRole>,
    /// The name to show.
    pub name: Field<ShortText>,
    /// How long it is good, in seconds; 3,600 unless given. At most 24 hours for agents and admins, 30 days for
    /// visitors.
    pub ttl_seconds: Field<u32>,
}

/// A token.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenResponse {
    /// The token, a JWT.
    pub token: String,
    /// How long it is good, in seconds.
    pub expires_in: u32,
    /// The session that an anonymous token opens.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<IdSchema>")]
    pub session_id: Option<SessionId>,
}
