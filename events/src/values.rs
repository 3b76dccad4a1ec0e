//! Values that everything else is made of: ids, texts, times, positions, and what surrounds an event.

pub mod ambient;
pub mod envelope;
pub mod histogram;
pub mod id;
pub mod stream;
pub mod text;
pub mod timestamp;
