//! How a lane takes in the log: from the router while it keeps up, and by its own reads otherwise.

use std::sync::Arc;

use actix::prelude::*;
use amoiq_events::{Position, RecordedEvent, codec::CodecError, store::ReadError, stream::StreamKind};

use super::{
    LaneEvent, OfferMessages, OfferedMessage, WebhookLane,
    backlog::{CursorHold, LaneCursor},
    erased_sessions::WorkToken,
    log_cursor::ReadSpan,
};
use crate::webhooks::{
    delivery::{Delivery, DeliveryStatus},
    message_reader::{MessageReadError, decode_message},
    sender::LoggedMessage,
};

impl WebhookLane {
    /// Takes a part of the live log, if it follows what was taken before, and as far as there is room.
    pub(super) fn take_offer(&mut self, offer: &OfferMessages) {
        self.cursor.observe(offer.upto);
        let follows = offer.after <= self.cursor.read();
        if !follows || !self.state.is_serving() || self.cursor.is_replaying() {
            return;
        }
        for OfferedMessage { before, message } in &offer.messages {
            if message.position <= self.cursor.read() {
                continue;
            }
            if self.scheduler.is_full() {
                return;
            }
            // What other tenants have written before it does not wait for its delivery.
            self.advance(self.cursor.read().max(*before));
            self.add_message(message, LaneCursor::Live);
            self.advance(message.position);
        }
        self.advance(self.cursor.read().max(offer.upto));
    }

    /// Everything up to here was taken.
    fn advance(&mut self, position: Position) {
        self.cursor.advance(position);
        self.add_recovered(position);
    }

    /// Adds the recovered deliveries up to here to the backlog.
    pub(super) fn add_recovered(&mut self, upto: Position) {
        for delivery in self.cursor.take_recovered(upto) {
            self.scheduler.add_stored(delivery, self.services.now());
        }
    }

    /// Reads what was not taken from the router, or a replay, while there is room.
    pub(super) fn read_on(&mut self, ctx: &mut Context<Self>) {
        let Some(span) = self.cursor.next_read() else { return };
        let has_room = !self.scheduler.is_full() && self.scheduler.backlog.is_read_worthwhile();
        if !self.state.may_read() || !has_room {
            return;
        }
        self.state.apply(LaneEvent::ReadStarted);
        let (services, tenant) = (Arc::clone(&self.services), self.endpoint.tenant.clone());
        let token = self.erased.start_work();
        let reading = async move { services.messages.read(&tenant, span.after).await };
        ctx.spawn(
            reading.into_actor(self).map(move |events, lane, ctx| lane.take_read(span, token, events, ctx)),
        );
    }

    fn take_read(
        &mut self,
        span: ReadSpan,
        token: WorkToken,
        events: Result<Vec<RecordedEvent>, ReadError>,
        ctx: &mut Context<Self>,
    ) {
        let taken = events.map_err(MessageReadError::from).and_then(|events| {
            if self.cursor.wants(span) {
                if self.cursor.is_replaying() {
                    self.take_replay(&events, span.known)?;
                } else {
                    self.take_live(&events, span.known)?;
                }
            }
            Ok(())
        });
        self.erased.end_work(token);
        match taken {
            Ok(()) => {
                self.state.apply(LaneEvent::ReadEnded);
                if self.read_backoff.record_success() {
                    tracing::info!(tenant.id = %self.endpoint.tenant, webhook.id = %self.endpoint.id,
                        "a lane can read the log again");
                }
            }
            Err(error) => self.read_later(&error, ctx),
        }
        self.pump(ctx);
    }

    /// Repeats a failed read later: a lane does not skip what it cannot read.
    fn read_later(&mut self, error: &MessageReadError, ctx: &mut Context<Self>) {
        self.state.apply(LaneEvent::ReadFailed);
        let (wait, is_new) = self.read_backoff.record_failure();
        if is_new {
            tracing::error!(%error, tenant.id = %self.endpoint.tenant, webhook.id = %self.endpoint.id,
                "a lane cannot read the log; it tries again");
        }
        ctx.run_later(wait, |lane, ctx| {
            lane.state.apply(LaneEvent::ReadRetryDue);
            lane.pump(ctx);
        });
    }

    fn take_live(&mut self, events: &[RecordedEvent], known: Position) -> Result<(), CodecError> {
        if events.is_empty() {
            // The events up to `known` were deleted. By now the log may reach further.
            self.advance(known.max(self.cursor.read()));
        }
        for event in events {
            if self.scheduler.is_full() {
                return Ok(());
            }
            if let Some(message) = self.own_message(event)? {
                self.add_message(&message, LaneCursor::Live);
            }
            self.advance(event.position);
        }
        self.cursor.observe(self.cursor.read());
        Ok(())
    }

    fn take_replay(&mut self, events: &[RecordedEvent], known: Position) -> Result<(), CodecError> {
        let Some(until) = self.cursor.replay().map(|replay| replay.until) else { return Ok(()) };
        let mut taken = 0;
        for event in events.iter().take_while(|event| event.position <= until) {
            if self.scheduler.is_full() {
                return Ok(());
            }
            taken += 1;
            if let Some(message) = self.own_message(event)?
                && !self.scheduler.backlog.contains(event.position)
            {
                self.add_message(&message, LaneCursor::Replay);
                self.cursor.count_replayed();
            }
            self.cursor.advance_replay(event.position);
            self.add_recovered(event.position);
        }
        if events.is_empty() {
            self.cursor.advance_replay(until.min(known.max(self.cursor.replay_read())));
            self.add_recovered(self.cursor.read());
        } else if taken < events.len() {
            self.cursor.advance_replay(until);
            self.add_recovered(self.cursor.read());
        }
        self.records.add_progress();
        Ok(())
    }

    /// The message that an event announces to this endpoint. Events of other tenants are not even decoded: an
    /// unreadable one of them is not this lane's problem.
    fn own_message(&self, event: &RecordedEvent) -> Result<Option<Arc<LoggedMessage>>, CodecError> {
        match event.stream.kind() {
            Some(StreamKind::Session(tenant, _)) if tenant == self.endpoint.tenant => decode_message(event),
            _ => Ok(None),
        }
    }

    /// Adds a delivery of a message.
    fn add_message(&mut self, message: &Arc<LoggedMessage>, cursor: LaneCursor) {
        let (position, session) = (message.position, &message.session);
        // It is settled, or joins the backlog as it is stored.
        if self.cursor.is_recovered(position) {
            return;
        }
        if !self.endpoint.webhook.settings.events.iter().any(|kind| kind == "message.created") {
            return;
        }
        if self.erased.contains(position, session) {
            return;
        }
        let backlog = &mut self.scheduler.backlog;
        if backlog.contains(position) {
            if cursor == LaneCursor::Live {
                backlog.claim_for_live(position, self.cursor.read());
            }
            return;
        }
        let now = self.services.now();
        let delivery = Delivery {
            position,
            event_id: message.event_id,
            message_id: message.message.message_id,
            session: session.clone(),
            status: DeliveryStatus::Pending,
            tries: 0,
            next_at: Some(now.date),
            holds: true,
            refused_at: None,
            changed_at: now.date,
        };
        let after = match cursor {
            LaneCursor::Live => self.cursor.read(),
            LaneCursor::Replay => self.cursor.replay_read(),
        };
        let hold = Some(CursorHold { cursor, after });
        if backlog.is_blocked(session) {
            self.records.push(delivery.clone(), None);
            backlog.add(delivery, hold, None, now.instant);
        } else {
            backlog.add(delivery, hold, Some(Arc::clone(message)), now.instant);
        }
    }
}
