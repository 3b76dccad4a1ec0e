//! A tenant's keys: what they may do, and what is kept of them. The tenant decides about them.

use serde::{Deserialize, Serialize};

use super::ManagedBy;
use crate::{KeyId, Timestamp};

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// `wk_`: in every visitor's page, so public.
    Widget,
    /// `sk_`: a customer's server, or the operator.
    Secret,
    /// `bk_`: a bot.
    Bot,
}

impl KeyKind {
    /// The prefix of keys of this kind.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Widget => "wk_",
            Self::Secret => "sk_",
            Self::Bot => "bk_",
        }
    }
}

/// The SHA-256 of a key: all that is kept of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct KeyHash(pub [u8; 32]);

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> Self {
        hex::encode(hash.0)
    }
}

impl TryFrom<String> for KeyHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut hash = [0; 32];
        let decoded = hex::decode_to_slice(text, &mut hash);
        decoded.map(|()| Self(hash)).map_err(|_not_hex| "a key's hash has 64 hexadecimal digits")
    }
}

/// `key.issued`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyIssued {
    /// Its public id.
    pub key_id: KeyId,
    /// What it may do.
    pub kind: KeyKind,
    /// Recognises it.
    pub hash: KeyHash,
    /// Who manages it.
    pub source: ManagedBy,
    /// For people: what it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A key that may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantKey {
    /// What it is.
    pub issued: KeyIssued,
    /// When it was issued.
    pub created: Timestamp,
}

/// A change of a tenant's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyChange<'a> {
    /// It may be used now.
    Added(&'a TenantKey),
    /// It may no longer be used.
    Removed(&'a TenantKey),
}

/// `key.revoked`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyRevoked {
    /// Its public id.
    pub key_id: KeyId,
}
