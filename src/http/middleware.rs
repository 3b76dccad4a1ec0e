//! What happens to every request before and after its route: it gets an id and is counted, CORS is answered, and its client
//! is recognised and limited.

pub mod cors;
pub mod limits;
pub mod trace;
