//! The ids of the domain. Each is a newtype that only `parse` can make, so a function that takes
//! one need not check it again.
//!
//! Text ids are whatever the customer's systems use: 1 to 256 bytes of UTF-8 without control
//! characters. Ids made here are a prefix and a `UUIDv7`.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize, Serializer};
use uuid::{Uuid, fmt::Hyphenated};

/// The longest text id, in bytes.
pub const MAX_ID_BYTES: usize = 256;

/// Why a text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// There is nothing in it.
    #[error("must not be empty")]
    Empty,
    /// It is longer than [`MAX_ID_BYTES`].
    #[error("must be at most {MAX_ID_BYTES} bytes")]
    TooLong,
    /// It contains a control character, such as NUL.
    #[error("must not contain control characters")]
    ControlCharacter,
    /// It is a name that the service uses itself.
    #[error("is reserved")]
    Reserved,
    /// It does not have the form of an id that the service makes.
    #[error("is not an id of this kind")]
    Malformed,
}

fn check(text: &str) -> Result<(), InvalidId> {
    if text.is_empty() {
        Err(InvalidId::Empty)
    } else if text.len() > MAX_ID_BYTES {
        Err(InvalidId::TooLong)
    } else if text.chars().any(char::is_control) {
        Err(InvalidId::ControlCharacter)
    } else {
        Ok(())
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes a text as an id.
            ///
            /// # Errors
            /// When the text is empty, over [`MAX_ID_BYTES`] or contains a control character.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                check(text)?;
                Ok(Self(text.into()))
            }

            /// The id as the text it was made from.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::parse(&text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// A visitor's session: the capability that opens its conversation.
    SessionId
}
text_id! {
    /// A person, as the customer's own systems name them.
    UserId
}
text_id! {
    /// The id under which a client sends a message, so that a repeat is recognised.
    ClientMessageId
}
text_id! {
    /// The public id of a key: for logs and for revoking, never enough to authenticate.
    KeyId
}
text_id! {
    /// A webhook endpoint of a tenant.
    WebhookId
}

impl UserId {
    /// The prefix of the names of visitors who gave none. Nobody else can claim such a name.
    const ANONYMOUS: &str = "anonymous-";

    /// The user id that is shown for a visitor who gave none.
    #[must_use]
    pub fn anonymous(session: &SessionId) -> String {
        format!("{}{session}", Self::ANONYMOUS)
    }

    /// The same as an id: cut where it is longer than an id may be.
    #[must_use]
    pub fn of_anonymous(session: &SessionId) -> Self {
        let name = Self::anonymous(session);
        let end = name.floor_char_boundary(MAX_ID_BYTES);
        Self(name.get(..end).unwrap_or_default().into())
    }

    /// Whether it is the name of a visitor who gave none.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.0.starts_with(Self::ANONYMOUS)
    }
}

/// A customer. `*` is not a tenant but means every one of them, see [`TenantId::every`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// Takes a text as a tenant's id.
    ///
    /// # Errors
    /// As for every text id, and when it is the reserved `*`.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        check(text)?;
        if text == "*" { Err(InvalidId::Reserved) } else { Ok(Self(text.into())) }
    }

    /// The owner of the keys that are good for every tenant. No request can name it.
    #[must_use]
    pub fn every() -> Self {
        Self("*".into())
    }

    /// Whether this is [`TenantId::every`].
    #[must_use]
    pub fn is_every(&self) -> bool {
        &*self.0 == "*"
    }

    /// The id as the text it was made from.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TenantId {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        if text == "*" { Ok(Self::every()) } else { Self::parse(&text) }
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Uuid);

        impl $name {
            const PREFIX: &str = $prefix;

            /// The length as a text.
            const TEXT_BYTES: usize = Self::PREFIX.len() + Hyphenated::LENGTH;

            /// The one with this number.
            #[must_use]
            pub fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The one with this number, as `as_bytes` gave it.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The number, as it is stored.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// Reads what [`fmt::Display`] wrote.
            ///
            /// # Errors
            /// [`InvalidId::Malformed`] for anything else.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                let uuid = text.strip_prefix(Self::PREFIX).and_then(|uuid| Uuid::try_parse(uuid).ok());
                uuid.map(Self).ok_or(InvalidId::Malformed)
            }

            /// Its text, without an allocation: every message is written several times.
            fn write<'a>(&self, buffer: &'a mut [u8; Self::TEXT_BYTES]) -> &'a str {
                let (prefix, number) = buffer.split_at_mut(Self::PREFIX.len());
                prefix.copy_from_slice(Self::PREFIX.as_bytes());
                self.0.hyphenated().encode_lower(number);
                str::from_utf8(buffer).unwrap_or_default()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.write(&mut [0; Self::TEXT_BYTES]))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.write(&mut [0; Self::TEXT_BYTES]))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::parse(&text)
            }
        }
    };
}

uuid_id! {
    /// A message, shown as `msg-` and a `UUIDv7`; [`crate::Ambient::message_id`] makes new ones.
    MessageId "msg-"
}
uuid_id! {
    /// A session's conversation, shown as `conv-` and the id of the event that started it.
    ConversationId "conv-"
}

/// The one that no event started; only until [`crate::codec`] has read which did.
impl Default for ConversationId {
    fn default() -> Self {
        Self(Uuid::nil())
    }
}

impl From<EventId> for ConversationId {
    fn from(started: EventId) -> Self {
        Self(started.as_uuid())
    }
}

impl From<ConversationId> for EventId {
    fn from(conversation: ConversationId) -> Self {
        Self(conversation.0)
    }
}

/// An event: a `UUIDv7`, made once and kept over every retry of its append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(Uuid);

impl EventId {
    /// The event with this number; [`crate::Ambient::event_id`] makes new ones.
    #[must_use]
    pub fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The event with this number, as [`EventId::as_bytes`] gave it.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The number, as it is stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The number, as a database takes it.
    pub(crate) fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_1_to_256_bytes() {
        assert_eq!(SessionId::parse(""), Err(InvalidId::Empty));
        assert!(SessionId::parse("s").is_ok());
        assert!(SessionId::parse(&"s".repeat(256)).is_ok());
        assert_eq!(SessionId::parse(&"s".repeat(257)), Err(InvalidId::TooLong));
        assert_eq!(SessionId::parse(&"é".repeat(129)), Err(InvalidId::TooLong));
    }

    #[test]
    fn an_id_holds_no_control_character() {
        for text in ["a\0", "a\n", "\u{7f}", "\u{85}"] {
            assert_eq!(UserId::parse(text), Err(InvalidId::ControlCharacter));
        }
    }

    #[test]
    fn no_request_can_name_every_tenant() {
        assert_eq!(TenantId::parse("*"), Err(InvalidId::Reserved));
        assert!(TenantId::every().is_every());
    }

    #[test]
    fn a_conversation_is_named_by_the_event_that_started_it() {
        let started = EventId::from_uuid(Uuid::from_u128(7));
        let conversation = ConversationId::from(started);
        assert_eq!(conversation.to_string(), format!("conv-{started}"));
        assert_eq!(EventId::from(conversation), started);
    }

    #[test]
    fn a_message_id_reads_back() {
        let id = MessageId::from_uuid(Uuid::from_u128(7));
        assert_eq!(MessageId::parse(&id.to_string()), Ok(id));
        assert_eq!(MessageId::parse("msg-"), Err(InvalidId::Malformed));
        assert_eq!(MessageId::parse("00000000-0000-0000-0000-000000000007"), Err(InvalidId::Malformed));
    }
}
