//! Who may use the operator interface.

mod access_file;
mod authentication;
mod refused;
