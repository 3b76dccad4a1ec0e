//! Sessions: what becomes of an append, which are in memory, what they hold, reading, closing.

mod appends;
mod idle_closer;
mod memory;
mod pages;
mod residence;
