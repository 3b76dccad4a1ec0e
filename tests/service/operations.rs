//! The program on data directories: backups, verification, damage, erasure, upgrades, and what may run beside a service.

mod backups;
mod bench;
mod damage;
mod erasing;
mod looking;
mod nodes;
mod restarts;
mod starting;
mod stores;
mod transfer;
mod upgrade;
mod write_ahead;
