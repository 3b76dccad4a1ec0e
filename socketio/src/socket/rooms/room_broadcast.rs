//! What is broadcast, and who a socket is to its rooms.

use std::sync::Arc;

use crate::socket::OutgoingEvent;

/// An event for the sockets in some rooms.
#[derive(Clone)]
pub struct RoomBroadcast<R> {
    /// A socket in any of these gets the event, once.
    pub rooms: Vec<R>,
    /// The event.
    pub event: Arc<OutgoingEvent>,
    /// What unrestricted members ([`RoomIdentity::Unrestricted`]) get instead, where that differs.
    pub unrestricted_event: Option<Arc<OutgoingEvent>>,
    /// The only user who may be in the rooms from now on: all other restricted members get this event and then lose
    /// their connection, and nobody else gets it.
    pub owner: Option<Box<str>>,
}

impl<R> RoomBroadcast<R> {
    /// Whether a member of its rooms gets it.
    pub(super) fn is_for(&self, identity: &RoomIdentity) -> bool {
        match (&self.owner, identity) {
            (None, _) | (Some(_), RoomIdentity::Anonymous) => true,
            (Some(_), RoomIdentity::Unrestricted) => false,
            (Some(owner), RoomIdentity::User(user)) => owner != user,
        }
    }
}

/// Who a socket is to its rooms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomIdentity {
    /// It stays in a room whoever owns it.
    Unrestricted,
    /// It stays in a room that nobody or this user owns.
    User(Box<str>),
    /// It stays in a room that nobody owns.
    Anonymous,
}
