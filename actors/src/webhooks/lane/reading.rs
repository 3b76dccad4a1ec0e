//! How a lane takes in the log: from the router while it keeps up, by itself otherwise.

use super::*;
use amoiq_events::{RecordedEvent, codec::CodecError, store::ReadError, stream::StreamKind};

use crate::webhooks::message_reader::{MessageReadError, decode_message};

/// A part of the log that is being read.
#[derive(Clone, Copy)]
struct ReadSpan {
    /// It begins after this position,
    after: Position,
    /// and when the reading began the log went on at least to here. What is known later says nothing about what
    /// the reading saw.
    known: Position,
    ticket: WorkToken,
}

impl WebhookLane {
    /// Takes a part of the live log in, as far as it follows what was taken and there is room.
    pub(super) fn take(&mut self, offer: &OfferMessages) {
        self.known = self.known.max(offer.upto);
        let follows = offer.after <= self.read;
        if !follows || !self.is_served() || self.replays() {
            return;
        }
        for announcement in &offer.messages {
            if announcement.position <= self.read {
                continue;
            }
            if self.is_full() {
                return;
            }
            self.admit(announcement, DeliveryOrigin::Live);
            self.reach(announcement.position);
        }
        self.reach(self.read.max(offer.upto));
    }

    /// Everything up to here was taken in.
    fn reach(&mut self, position: Position) {
        self.read = position;
        self.take_stored(position);
    }

    /// What was stored up to here before the start takes its place.
    pub(super) fn take_stored(&mut self, upto: Position) {
        while let Some(first) = self.stored.first_entry().filter(|first| *first.key() <= upto) {
            if let Some(delivery) = first.remove() {
                self.add_stored(delivery, self.services.now());
            }
        }
    }

    /// Reads what the router brought in vain, or a replay, while there is room.
    pub(super) fn read_on(&mut self, ctx: &mut Context<Self>) {
        let after = if self.replays() { self.replay_read } else { self.read };
        let is_behind = self.replays() || self.read < self.known;
        if self.is_reading || !is_behind || !self.is_served() || self.is_full() || !self.is_worth_reading() {
            return;
        }
        self.is_reading = true;
        let (services, tenant) = (Arc::clone(&self.services), self.endpoint.tenant.clone());
        let span = ReadSpan { after, known: self.known.max(self.read), ticket: self.forgotten.begin() };
        let reading = async move { services.messages.read(&tenant, after).await };
        ctx.spawn(reading.into_actor(self).map(move |events, lane, ctx| lane.have_read(span, events, ctx)));
    }

    fn have_read(
        &mut self,
        span: ReadSpan,
        events: Result<Vec<RecordedEvent>, ReadError>,
        ctx: &mut Context<Self>,
    ) {
        let taken = events.map_err(MessageReadError::from).and_then(|events| {
            // A replay may have begun or ended meanwhile: then this is not what is wanted next.
            if self.replays() && span.after == self.replay_read {
                self.take_replay(&events, span.known)?;
            } else if !self.replays() && span.after == self.read {
                self.take_live(&events, span.known)?;
            }
            Ok(())
        });
        self.forgotten.end(span.ticket);
        match taken {
            Ok(()) => {
                self.is_reading = false;
                if self.reading_trouble.ends() {
                    tracing::info!(tenant.id = %self.endpoint.tenant, webhook.id = %self.endpoint.id,
                        "a lane reads the log again");
                }
            }
            Err(error) => self.read_later(&error, ctx),
        }
        self.pump(ctx);
    }

    /// It does not pass what it cannot read.
    fn read_later(&mut self, error: &MessageReadError, ctx: &mut Context<Self>) {
        let (wait, is_new) = self.reading_trouble.fails();
        if is_new {
            tracing::error!(%error, tenant.id = %self.endpoint.tenant, webhook.id = %self.endpoint.id,
                "a lane cannot read the log; it tries again");
        }
        ctx.run_later(wait, |lane, ctx| {
            lane.is_reading = false;
            lane.pump(ctx);
        });
    }

    fn take_live(&mut self, events: &[RecordedEvent], known: Position) -> Result<(), CodecError> {
        if events.is_empty() {
            // What stood up to there was deleted. By now the log may go on further.
            self.reach(known.max(self.read));
        }
        for event in events {
            if self.is_full() {
                return Ok(());
            }
            if let Some(announcement) = self.announcement(event)? {
                self.admit(&announcement, DeliveryOrigin::Live);
            }
            self.reach(event.position);
        }
        self.known = self.known.max(self.read);
        Ok(())
    }

    fn take_replay(&mut self, events: &[RecordedEvent], known: Position) -> Result<(), CodecError> {
        let Some(until) = self.progress.replay.map(|replay| replay.until) else { return Ok(()) };
        let within = events.iter().take_while(|event| event.position <= until);
        let mut taken = 0;
        for event in within {
            if self.is_full() {
                return Ok(());
            }
            taken += 1;
            if let Some(announcement) = self.announcement(event)?
                && !self.backlog.contains(event.position)
            {
                self.admit(&announcement, DeliveryOrigin::Replay);
                self.progress.replay.iter_mut().for_each(|replay| replay.begun += 1);
            }
            self.replay_read = event.position;
            self.take_stored(self.replay_read);
        }
        if events.is_empty() {
            self.replay_read = until.min(known.max(self.replay_read));
            self.take_stored(self.read);
        } else if taken < events.len() {
            self.replay_read = until;
            self.take_stored(self.read);
        }
        self.is_marked = true;
        Ok(())
    }

    /// What an event says to this endpoint. Another tenant's event that cannot be read is none of its business.
    fn announcement(&self, event: &RecordedEvent) -> Result<Option<Arc<LoggedMessage>>, CodecError> {
        match event.stream.kind() {
            Some(StreamKind::Session(tenant, _)) if tenant == self.endpoint.tenant => decode_message(event),
            _ => Ok(None),
        }
    }

    /// Makes a delivery of an announcement.
    fn admit(&mut self, announcement: &Arc<LoggedMessage>, origin: DeliveryOrigin) {
        // It is settled, or takes its place as it is stored.
        if self.stored.contains_key(&announcement.position) {
            return;
        }
        if !self.endpoint.webhook.settings.events.iter().any(|kind| kind == "message.created") {
            return;
        }
        if self.has_forgotten(announcement.position, &announcement.session) {
            return;
        }
        if self.backlog.contains(announcement.position) {
            if origin == DeliveryOrigin::Live {
                self.backlog.meet(announcement.position, self.read);
            }
            return;
        }
        let now = self.services.now();
        let delivery = Delivery {
            position: announcement.position,
            event_id: announcement.event_id,
            message_id: announcement.message.message_id,
            session: announcement.session.clone(),
            status: DeliveryStatus::Pending,
            tries: 0,
            next_at: Some(now.date),
            holds: true,
            refused_at: None,
            changed_at: now.date,
        };
        let origin = (origin, if origin == DeliveryOrigin::Replay { self.replay_read } else { self.read });
        if self.backlog.is_blocked(&announcement.session) {
            self.outcomes.push((delivery.clone(), None));
            self.backlog.add(delivery, origin, None, now.instant);
        } else {
            self.backlog.add(delivery, origin, Some(Arc::clone(announcement)), now.instant);
        }
    }

    /// Whether a replay is being read.
    pub(super) fn replays(&self) -> bool {
        self.progress.replay.is_some_and(|replay| !replay.is_cancelled && self.replay_read < replay.until)
    }

    /// Whether half of what may be in memory alone is free: a reading is of many events, and one that takes a
    /// few of them costs as much.
    fn is_worth_reading(&self) -> bool {
        self.backlog.unwritten() <= FRESH / 2 && self.backlog.fresh_bytes() <= FRESH_BYTES / 2
    }

    fn is_full(&self) -> bool {
        self.backlog.len() >= self.services.settings.pending
            || self.backlog.unwritten() >= FRESH
            || self.backlog.fresh_bytes() >= FRESH_BYTES
    }
}
