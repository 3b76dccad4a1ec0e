//! Who is online.

mod online_access;
mod online_users;
mod proven_users;
