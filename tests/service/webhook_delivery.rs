//! Deliveries through the real program: receivers that fail at random, kills, and what the owner of an endpoint sees.

mod black_hole;
mod chaos;
mod crash;
mod endpoint;
mod zoo;
