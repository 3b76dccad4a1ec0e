//! Socket.IO: namespaces, events, attachments, and what an application can do.

mod application;
mod attachments;
mod events;
mod namespaces;
