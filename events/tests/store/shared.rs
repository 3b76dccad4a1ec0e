//! Several nodes on one PostgreSQL, and what they survive of it.

mod encryption;
mod faults;
mod nodes;
mod refusals;
