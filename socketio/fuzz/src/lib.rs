//! What must hold for the codec with any input.
//!
//! Each check takes any bytes and panics when the codec is wrong about them. The fuzz targets search for such bytes;
//! `tests/codec` replays their corpus with the same checks.

pub mod frame_stream;
pub mod message;
pub mod polling_payload;
