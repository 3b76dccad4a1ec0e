//! What must hold of the codec whatever bytes it is given.
//!
//! Each check takes any bytes and panics when the codec is wrong about them. The fuzz targets look for
//! such bytes; `tests/codec` replays the corpus that they left behind with the same checks.

pub mod frame_stream;
pub mod message;
pub mod polling_payload;
