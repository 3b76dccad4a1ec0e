//! API keys as the operator reads and writes them. A key itself is in one answer only: the one that issues it.

use std::borrow::Cow;

use amoiq_events::{
    KeyId, Timestamp,
    tenant::{KeyKind, ManagedBy},
};
use schemars::{JsonSchema, Schema, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::{
    field::{Field, FieldValue},
    schema::{IdSchema, KeyKindSchema, ManagedBySchema, TimestampSchema},
};

/// Issues a key.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["kind"]))]
pub struct IssueKeyRequest {
    /// What the key may do.
    #[serde(skip_serializing_if = "Field::is_absent")]
    pub kind: Field<KeyKind>,
    /// What it is for, for people; 1 to 200 characters.
    #[serde(skip_serializing_if = "Field::is_absent")]
    pub name: Field<String>,
}

impl FieldValue for KeyKind {
    fn read(value: Value) -> Result<Option<Self>, Cow<'static, str>> {
        match String::read(value)?.as_deref() {
            Some("widget") => Ok(Some(Self::Widget)),
            Some("secret") => Ok(Some(Self::Secret)),
            Some("bot") => Ok(Some(Self::Bot)),
            _ => Err("must be `widget`, `secret` or `bot`".into()),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "enum": ["widget", "secret", "bot"] })
    }
}

/// The part of a key that every answer about it tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeySummary {
    /// Its public id, `key-…`.
    #[schemars(with = "IdSchema")]
    pub id: KeyId,
    /// What it may do.
    #[schemars(with = "KeyKindSchema")]
    pub kind: KeyKind,
    /// Who manages it.
    #[schemars(with = "ManagedBySchema")]
    pub source: ManagedBy,
    /// What it is for.
    pub name: Option<String>,
}

/// A key in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyResponse {
    /// The key.
    #[serde(flatten)]
    pub summary: KeySummary,
    /// When it was issued.
    #[schemars(with = "TimestampSchema")]
    pub created: Timestamp,
    /// The day on which it was used last, `2026-11-30`.
    pub last_used: Option<String>,
}

/// A tenant's keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeysResponse {
    /// The keys.
    pub keys: Vec<KeyResponse>,
}

/// A key that was just issued: the only answer with the key itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyIssuedResponse {
    /// What lists show of it too.
    #[serde(flatten)]
    pub summary: KeySummary,
    /// The key.
    pub key: String,
}

/// A key that was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRevokedResponse {
    /// Its public id.
    #[schemars(with = "IdSchema")]
    pub id: KeyId,
    /// Always true.
    pub revoked: bool,
}
