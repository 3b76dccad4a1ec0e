//! Stores to work on: written by this program, written by a release, and damaged.

pub mod released_stores;
pub mod store_damage;
pub mod written_stores;
