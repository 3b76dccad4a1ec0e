//! How the process stops, and what signals do.

mod shutdown;
mod signals;
