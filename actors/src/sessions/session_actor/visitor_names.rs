//! Whose name a message gives its visitor.

use amoiq_events::{
    UserId,
    session::{Session, SessionCaller, SessionCommand},
    stream::StreamKind,
};

use super::SessionWorker;

impl SessionWorker {
    /// Finds out whether a message gives its visitor somebody else's name.
    pub(super) async fn look_up(&self, session: &Session, command: &mut SessionCommand) {
        let SessionCommand::SendMessage(message) = command else { return };
        let Some(StreamKind::Session(tenant, id)) = self.stream.kind() else { return };
        if let SessionCaller::Verified(user) = &message.caller {
            self.proven.saw(&tenant, user);
        }
        // What is shown for want of a name is none.
        message.user_id.take_if(|user| user.is_anonymous() && *user == UserId::of_anonymous(&id));
        let taken = match session.claim(message) {
            Some(user) => self.proven.contains(&tenant, user).await,
            None => false,
        };
        message.is_taken = taken;
    }
}
