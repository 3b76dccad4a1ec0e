//! Erasure: what goes, and what fails meanwhile.

mod erasures;
mod failures;
pub(crate) mod given;
