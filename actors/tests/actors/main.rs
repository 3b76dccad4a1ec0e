//! What the actors keep to, each fact by itself, over a store that follows a script.
//!
//! | module | holds |
//! |---|---|
//! | [`given`] | a directory of sessions to test, and shorthands |
//! | [`sessions`] | what becomes of an append, which sessions are in memory, what they hold, reading, closing |
//! | [`erasure`] | what an erasure removes, and what fails meanwhile |
//! | [`tenants`] | the registry and the actor of a tenant |
//! | [`projections`] | the projector and its database, rebuilds, damage |
//! | [`delivery_store`] | the database of webhook deliveries |
//! | [`webhooks`] | how lanes deliver messages to endpoints |
//! | [`presence`] | who is online, by connections, and the list that is folded from it |

#![expect(clippy::expect_used, reason = "a test that cannot go on says why and stops")]

mod delivery_store;
mod erasure;
mod given;
mod presence;
mod projections;
mod sessions;
mod tenants;
mod webhooks;
