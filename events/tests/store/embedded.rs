//! The embedded store alone: what it finds after a crash or on a bad disk, and what removing leaves in its files.

mod checkpoint;
mod crash;
mod damage;
mod index;
mod removed;
mod repeats;
