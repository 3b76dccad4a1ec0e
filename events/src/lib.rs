//! Facts: what can happen in amoiq, who decides it, and the log that stores it.
//!
//! This crate knows no actor, no HTTP and no socket. Everything in it is either a pure function
//! of its arguments or an [`EventStore`], the one thing that remembers.
//!
//! | module | holds |
//! |---|---|
//! | [`id`] | ids and texts that can only be made by parsing |
//! | [`ambient`] | time and randomness, as arguments |
//! | [`tenant`], [`session`], [`webhook`] | the aggregates: event, state, command, error, decide, apply |
//! | [`presence`], [`node`] | events that record what was observed rather than decided |
//! | [`stream`], [`envelope`] | where an event lives and what surrounds it |
//! | [`event`], [`codec`] | the catalogue, and its explicit form in the log |
//! | [`durable_file`] | small files that are replaced as a whole |
//! | [`histogram`] | counts of values, for operators |
//! | [`postgres`] | a database that several parts use: connections, their failures, tables |
//! | [`cluster`] | who does what when several nodes write one log |
//! | [`signals`] | who is online on other nodes: what may be lost and is not in the log |
//! | [`store`] | the event store: the traits, and the `memory`, `sqlite` and `postgres` backends |

pub mod aggregates;
pub mod cluster;
pub mod codec;
mod database_thread;
pub mod durable_file;
pub mod event;
pub mod postgres;
pub mod signals;
pub mod store;
pub mod values;

pub use aggregates::{node, presence, session, tenant, webhook};
pub use values::{ambient, envelope, histogram, id, stream, text, timestamp};

pub use ambient::Ambient;
pub use envelope::{NewEvent, Position, RecordedEvent, Version};
pub use event::Event;
pub use id::{
    ClientMessageId, ConversationId, EventId, KeyId, MessageId, SessionId, TenantId, UserId, WebhookId,
};
pub use store::{EventLog, EventStore};
pub use stream::StreamName;
pub use text::{MessageText, ShortText};
pub use timestamp::Timestamp;
