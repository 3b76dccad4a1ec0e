//! Erasure: what is removed, and what happens when something fails.

mod erasures;
mod failures;
pub(crate) mod given;
