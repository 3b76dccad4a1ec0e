//! Projections: the projector, its database, rebuilds.

mod damaged_views;
pub(crate) mod given;
mod projector;
mod rebuilds;
