//! What closes a session, and what its client is told.

mod close_texts;
mod session_ends;
