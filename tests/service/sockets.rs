//! The chat over Socket.IO.

mod socket_access;
mod socket_ends;
mod socket_limits;
mod socket_messages;
mod socket_order;
mod socket_refusals;
mod widget_sockets;
