//! Who is calling, whether they may, and how often: below HTTP, sockets and the operator interface.
//!
//! | module | holds |
//! |---|---|
//! | [`auth`] | who is calling, decided once for HTTP and for sockets |
//! | [`forwarded`] | who the client is behind proxies |
//! | [`key_uses`] | when each key was used last |
//! | [`network`] | networks in one form, however they are written |
//! | [`message_intake`] | messages on their way to their sessions |
//! | [`rate_limit`] | how often a caller may |
//! | [`session_guard`] | who may open which session |
//! | [`secret`] | texts that are never printed |
//! | [`tenants`] | the configured tenants, made into events |
//! | [`visitor_notes`] | what pages say of visitors who have not written |

pub mod auth;
pub mod forwarded;
pub mod key_uses;
pub mod message_intake;
pub mod network;
pub mod rate_limit;
pub mod secret;
pub mod session_guard;
pub mod tenants;
pub mod visitor_notes;
