//! Sessions: one actor for each, found through the directory.
//!
//! | file | holds |
//! |---|---|
//! | `session_directory` | finds or starts the actor of a session, and passivates idle ones |
//! | `session_actor` | the actor of one session |
//! | `transcript` | a session's messages, as every reader sees them |
//! | `recent_messages` | the newest of them in memory, packed |
//! | `directory_counters` | what operators see of the directory, and the memory of each session |
//! | `proven_users` | which users a secret key has vouched for |
//! | `session_follower` | follows what other nodes append about sessions |
//! | `idle_closer` | closes conversations that nobody continues |

mod directory_counters;
mod idle_closer;
mod proven_users;
mod recent_messages;
mod session_actor;
mod session_directory;
mod session_follower;
mod transcript;

pub use directory_counters::DirectoryCounters;
pub use idle_closer::IdleCloser;
pub use proven_users::ProvenUsers;
pub use session_actor::{ErasureCondition, SentMessage, SessionAccess, SessionError, SessionSettings};
pub use session_directory::{DirectorySettings, SessionDirectory};
pub use session_follower::SessionFollower;
pub use transcript::{ChatMessage, MessagePage, PageLimit, PageQuery, PageWindow, SessionConversation};
