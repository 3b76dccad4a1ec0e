//! The form of every answer, and the examples of the reference.

mod errors;
mod headers;
mod reference;
mod whole_socket_values;
mod whole_values;
