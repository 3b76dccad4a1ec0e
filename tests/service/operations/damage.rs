//! Damaged stores: what `amoiq verify` finds, and what a service does when it is started on one.

mod drill;
mod missing_files;
mod truncated;
mod unreadable;
mod verifying;
mod views_and_deliveries;
