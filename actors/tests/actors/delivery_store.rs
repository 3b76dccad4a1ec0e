//! The database of webhook deliveries, `outbox.db`.
//!
//! | module | holds |
//! |---|---|
//! | [`records`] | what it stores, lists and removes |
//! | [`damage`] | what it reports about damage |
//! | [`migration`] | opening a file of the first release |
//! | [`given`] | a store to test |

mod damage;
pub(crate) mod given;
mod migration;
mod records;
