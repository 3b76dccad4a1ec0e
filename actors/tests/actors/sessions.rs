//! Sessions: outcomes of appends, which sessions are in memory and how much they take, reading, closing.

mod appends;
mod idle_closer;
mod memory;
mod pages;
mod residence;
mod shared_database;
mod two_nodes;
