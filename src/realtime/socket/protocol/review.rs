//! Whether a socket may still be there: asked when rights change, and as often as its application says.

use std::{rc::Rc, sync::Arc};

use super::{Application, SocketId, SocketProtocol};
use crate::realtime::{
    engine::{CloseReason, Link},
    socket::{Emission, application::ReviewAfter, member::Stage},
};

impl<A: Application> SocketProtocol<A> {
    /// Looks again whether a socket may stay, as often as it is time.
    pub(super) fn review_later(id: SocketId, review_after: ReviewAfter, link: &mut Link<'_, Self>) {
        link.later(review_after(), move |protocol, link| {
            if protocol.member(id).is_some() {
                protocol.review(id, link);
                Self::review_later(id, review_after, link);
            }
        });
    }

    /// Looks again whether a socket may stay.
    pub(super) fn review(&mut self, id: SocketId, link: &mut Link<'_, Self>) {
        let application = Rc::clone(&self.sockets.application);
        let Some(member) = self.member(id) else { return };
        member.review_due = !matches!(member.stage, Stage::Idle(_));
        let Stage::Idle(socket) = &member.stage else { return };
        if let Err(refusal) = application.review(socket) {
            member.emit(&Arc::new(Emission::new("error", &refusal)), link);
            link.close(CloseReason::Refused);
        }
    }
}
