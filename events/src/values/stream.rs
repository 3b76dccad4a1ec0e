//! Where an event lives. A stream's name says its kind, its tenant and, for a session, which session it is:
//! `session:{tenant}:{session}`. The parts are percent-encoded, so no id can name another stream.

use std::{fmt, sync::Arc};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::{SessionId, TenantId};

/// Everything but RFC 3986's unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The name of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamName(Arc<str>);

/// A text that is not a stream's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the name of a stream")]
pub struct InvalidStreamName(String);

/// What a stream's name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamKind {
    /// A tenant's settings, keys and webhooks.
    Tenant(TenantId),
    /// A session and its conversation.
    Session(TenantId, SessionId),
    /// When a tenant's visitors came online and went offline.
    Presence(TenantId),
    /// A process of the service.
    Node(String),
}

impl StreamName {
    /// The prefix that all streams of tenants share.
    pub const TENANTS: &'static str = "tenant:";

    /// A tenant's own stream.
    #[must_use]
    pub fn tenant(tenant: &TenantId) -> Self {
        Self(format!("tenant:{}", encode(tenant.as_str())).into())
    }

    /// A session's stream.
    #[must_use]
    pub fn session(tenant: &TenantId, session: &SessionId) -> Self {
        Self(format!("session:{}:{}", encode(tenant.as_str()), encode(session.as_str())).into())
    }

    /// A tenant's presence stream.
    #[must_use]
    pub fn presence(tenant: &TenantId) -> Self {
        Self(format!("presence:{}", encode(tenant.as_str())).into())
    }

    /// A node's stream.
    #[must_use]
    pub fn node(node: &str) -> Self {
        Self(format!("node:{}", encode(node)).into())
    }

    /// Parses a name.
    ///
    /// # Errors
    /// When the text is not a name that one of the constructors made.
    pub fn parse(text: &str) -> Result<Self, InvalidStreamName> {
        let name = Self(text.into());
        name.kind().map(|_| name).ok_or_else(|| InvalidStreamName(text.to_owned()))
    }

    /// What the name says; `None` when it is not one of ours.
    #[must_use]
    pub fn kind(&self) -> Option<StreamKind> {
        let (kind, rest) = self.0.split_once(':')?;
        match kind {
            "tenant" => Some(StreamKind::Tenant(decode_tenant(rest)?)),
            "presence" => Some(StreamKind::Presence(decode_tenant(rest)?)),
            "node" => Some(StreamKind::Node(decode(rest)?)),
            "session" => {
                let (tenant, session) = rest.split_once(':')?;
                let session = SessionId::parse(&decode(session)?).ok()?;
                Some(StreamKind::Session(decode_tenant(tenant)?, session))
            }
            _ => None,
        }
    }

    /// The tenant whose events live here; a node has none.
    #[must_use]
    pub fn tenant_id(&self) -> Option<TenantId> {
        match self.kind()? {
            StreamKind::Tenant(tenant) | StreamKind::Session(tenant, _) | StreamKind::Presence(tenant) => {
                Some(tenant)
            }
            StreamKind::Node(_) => None,
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, shared.
    pub(crate) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// A name that the store wrote itself and checks by checksum, so it is not parsed again.
    pub(crate) fn stored(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn encode(id: &str) -> impl fmt::Display + '_ {
    utf8_percent_encode(id, ENCODED)
}

fn decode(part: &str) -> Option<String> {
    // Nearly every id looks like this, and every message takes its stream's name apart several times.
    let is_as_encoded = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if part.bytes().all(is_as_encoded) {
        return Some(part.to_owned());
    }
    let text = percent_decode_str(part).decode_utf8().ok()?.into_owned();
    let as_written = encode(&text).to_string() == part;
    as_written.then_some(text)
}

fn decode_tenant(part: &str) -> Option<TenantId> {
    TenantId::try_from(decode(part)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_can_name_another_stream() {
        let evil = TenantId::parse("a:b").unwrap();
        let a = TenantId::parse("a").unwrap();
        let session = SessionId::parse("b:c").unwrap();
        let c = SessionId::parse("c").unwrap();
        assert_eq!(StreamName::session(&evil, &c).as_str(), "session:a%3Ab:c");
        assert_ne!(StreamName::session(&evil, &c), StreamName::session(&a, &session));
    }

    #[test]
    fn a_name_tells_its_parts() {
        let tenant = TenantId::parse("ä/b").unwrap();
        let session = SessionId::parse("s %3A").unwrap();
        let name = StreamName::session(&tenant, &session);
        assert_eq!(name.kind(), Some(StreamKind::Session(tenant.clone(), session)));
        assert_eq!(name.tenant_id(), Some(tenant));
        assert_eq!(StreamName::parse(name.as_str()), Ok(name));
    }

    #[test]
    fn a_text_that_no_constructor_makes_is_no_name() {
        for text in ["", "tenant", "tenant:", "other:a", "session:a", "tenant:a:b", "tenant:a%3ab"] {
            assert!(StreamName::parse(text).is_err(), "{text}");
        }
    }
}
