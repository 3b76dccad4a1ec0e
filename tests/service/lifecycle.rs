//! How the process stops, and what signals do.

mod drain;
mod shutdown;
mod signals;
