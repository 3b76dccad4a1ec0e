//! What clients send and read: the same over HTTP and over sockets.
//!
//! | module | holds |
//! |---|---|
//! | [`draft`] | a message as a client wrote it |
//! | [`message`] | a message as clients read it |
//! | [`online`] | who is online, as agents read it |
//! | [`problem`] | the catalogue of errors |

pub mod draft;
pub mod message;
pub mod online;
pub mod problem;
