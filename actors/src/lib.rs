//! Order: who decides in amoiq, one message at a time.
//!
//! Every session and every tenant is an actor: it holds the fold of its stream, decides, appends and
//! answers once the append is durable. What follows from an event (read models, later sockets and
//! webhooks) hangs on the store's subscription, never on the request.
//!
//! | module | holds |
//! |---|---|
//! | [`directory`] | finds or starts the actor of a session, passivates idle ones |
//! | [`session`] | the actor of one session |
//! | [`transcript`] | a session's messages, as every reader sees them |
//! | [`tenant`] | the actor of one tenant |
//! | [`registry`] | tenants and keys as a snapshot that no request waits for |
//! | [`projector`] | runs a projection from its checkpoint |
//! | [`generation`] | which tables of a projection serve, and which are being filled |
//! | [`rebuild`] | makes a projection again from the whole log |
//! | [`dead_letters`] | the events that projections pass by |
//! | [`inbox`] | the projection that knows a tenant's sessions and whose they are |
//! | [`proven`] | knows which users a secret key has vouched for |
//! | [`presence`] | counts the open connections of a tenant's visitors, and says who came and went |
//! | [`online`] | the projection in memory that knows who is online |
//! | [`views`] | the database of the read models |
//! | [`database`] | a database beside the log, and the threads that write and read it |
//! | [`webhooks`] | delivers messages to the endpoints of customers |
//! | `age` | how old something is, whatever is done to the wall clock |
//! | [`idle`] | closes conversations that nobody continues |
//! | [`erasure`] | erases sessions from everything that is kept |
//! | [`retention`] | lets go of what is old |

mod age;

pub mod database;
pub mod dead_letters;
pub mod directory;
pub mod erasure;
pub mod generation;
pub mod idle;
pub mod inbox;
pub mod online;
pub mod presence;
pub mod projector;
pub mod proven;
pub mod rebuild;
pub mod registry;
pub mod retention;
pub mod session;
pub mod tenant;
pub mod transcript;
pub mod views;
pub mod webhooks;

pub use dead_letters::DeadLetters;
pub use directory::{Directory, DirectorySettings};
pub use erasure::Eraser;
pub use inbox::Inbox;
pub use online::{Online, OnlineUser, OnlineUsers, Signal, Signals};
pub use presence::{ConnectionId, Presence, PresenceGone, PresenceSettings, Visitor, Whom};
pub use projector::{Progress, Projector};
pub use proven::ProvenUsers;
pub use rebuild::Rebuilds;
pub use registry::{Grant, TenantRegistry};
pub use session::{SessionError, SessionSettings};
pub use transcript::Message;
pub use views::Views;
