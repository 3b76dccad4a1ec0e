//! The chat over Socket.IO.

pub mod chat;
