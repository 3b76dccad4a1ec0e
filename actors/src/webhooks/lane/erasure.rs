//! How a lane forgets sessions that were erased: what waits of them is dropped, and what comes back from an
//! attempt, or from a reading of the log that had begun before, is not taken in any more.

use amoiq_events::SessionId;

use super::{erased_sessions::SessionCutoffs, *};

/// Forgets everything of these sessions, each up to a position. The answer comes once nothing of it is on its way
/// into `outbox.db`; what is there already is for whoever asks.
#[derive(Message)]
#[rtype(result = "Result<(), LaneError>")]
pub(in crate::webhooks) struct ForgetSessions(pub(in crate::webhooks) SessionCutoffs);

impl Handler<ForgetSessions> for WebhookLane {
    type Result = ResponseActFuture<Self, Result<(), LaneError>>;

    fn handle(&mut self, ForgetSessions(sessions): ForgetSessions, ctx: &mut Self::Context) -> Self::Result {
        self.forgotten.add(sessions);
        let forgotten = &self.forgotten;
        self.backlog.drop_all(|delivery| forgotten.holds(delivery.position, &delivery.session));
        self.stored.retain(|position, delivery| {
            !delivery.as_ref().is_some_and(|delivery| forgotten.holds(*position, &delivery.session))
        });
        let (gone, kept) = std::mem::take(&mut self.outcomes)
            .into_iter()
            .partition(|(delivery, _)| forgotten.holds(delivery.position, &delivery.session));
        self.outcomes = kept;
        let backlog = &self.backlog;
        self.unreadable.retain(|position, _| backlog.contains(*position));
        self.reception.retain(|position| backlog.contains(position) || self.stored.contains_key(&position));
        for (delivery, attempt) in gone {
            self.let_go(&delivery, attempt.is_some());
        }
        let noted = self.note(ctx);
        let written = async move { noted.await.map_err(|_stopped| LaneError::Gone) };
        Box::pin(written.into_actor(self))
    }
}

impl WebhookLane {
    /// Whether a message is one that was erased.
    pub(super) fn has_forgotten(&self, position: Position, session: &SessionId) -> bool {
        self.forgotten.holds(position, session)
    }

    /// Frees what an outcome holds that is not written.
    pub(super) fn let_go(&mut self, delivery: &Delivery, was_tried: bool) {
        self.backlog.written(delivery.position);
        if was_tried {
            self.underway -= 1;
        }
    }
}
