//! What every request passes before and after its route: it is named and counted, CORS is answered, and its client is
//! recognised and limited.

pub mod cors;
pub mod limits;
pub mod trace;
