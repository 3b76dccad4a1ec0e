//! Lanes that another node has: how they are asked for what only they can do, how that node hears of it, and what is known
//! of them here.
//!
//! Whoever asks may ask any node. The request goes through a table that nodes share; the node that has the lane looks at it
//! all the time, does what it is asked, and answers into the table.

use std::{collections::HashMap, time::Duration};

use amoiq_events::{MessageId, Position};

use super::WebhooksHandle;
use crate::webhooks::{
    delivery_store::{LaneId, LaneReply, LaneRequest, RecordedLane, TakenRequest},
    lane::{LaneError, LaneStatus, SkipQuery},
    router::ListLanes,
    services::LaneServices,
};

/// How often a node looks for requests.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// What a lane can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LaneCommand {
    Redeliver(MessageId),
    Skip(MessageId),
    SkipAll(SkipQuery),
    Replay { after: Position, until: Option<Position> },
    CancelReplay,
}

impl LaneCommand {
    fn into_request(self) -> LaneRequest {
        let named = |kind: &str| LaneRequest { kind: kind.to_owned(), ..LaneRequest::default() };
        match self {
            Self::Redeliver(message) => LaneRequest { message: Some(message), ..named("redeliver") },
            Self::Skip(message) => LaneRequest { message: Some(message), ..named("skip") },
            Self::SkipAll(SkipQuery { status, upto, session }) => {
                LaneRequest { status: Some(status), until: Some(upto), session, ..named("skip all") }
            }
            Self::Replay { after, until } => LaneRequest { after: Some(after), until, ..named("replay") },
            Self::CancelReplay => named("cancel replay"),
        }
    }

    /// Nothing for a request of another release.
    fn from_request(request: LaneRequest) -> Option<Self> {
        let LaneRequest { kind, message, after, until, status, session } = request;
        Some(match &*kind {
            "redeliver" => Self::Redeliver(message?),
            "skip" => Self::Skip(message?),
            "skip all" => Self::SkipAll(SkipQuery { status: status?, upto: until?, session }),
            "replay" => Self::Replay { after: after?, until },
            "cancel replay" => Self::CancelReplay,
            _ => return None,
        })
    }
}

/// Asks the node that has a lane.
pub(super) async fn ask(
    services: &LaneServices,
    lane: LaneId,
    command: LaneCommand,
) -> Result<usize, LaneError> {
    let asking = services.deliveries.ask(services.ambient.uuid(), lane, command.into_request());
    let reply = asking.await?.ok_or(LaneError::Late)?;
    reply.refusal.map_or(Ok(reply.count), |refusal| Err(refused(&refusal)))
}

/// What a refusal means. One that has no name here is that the lane did not answer in time.
fn refused(refusal: &str) -> LaneError {
    match refusal {
        "no endpoint" => LaneError::NoEndpoint,
        "no delivery" => LaneError::NoDelivery,
        "in flight" => LaneError::InFlight,
        "settled" => LaneError::Settled,
        "full" => LaneError::Full,
        "replaying" => LaneError::Replaying,
        _ => LaneError::Late,
    }
}

/// How a lane is doing, as it was recorded last. What is being attempted is not recorded.
pub(super) fn status(recorded: &RecordedLane) -> LaneStatus {
    let RecordedLane { progress, totals, .. } = recorded;
    let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    LaneStatus {
        cursor: progress.cursor,
        pending: count(totals.pending),
        refused: count(totals.refused),
        held_sessions: 0,
        in_flight: 0,
        failing_since: progress.failing_since,
        not_before: progress.hold_off.map(|hold_off| hold_off.until),
        replay: progress.replay,
    }
}

/// Does what other nodes ask of this node's lanes, for as long as the service runs.
pub(super) async fn serve(handle: WebhooksHandle) {
    let mut is_failing = false;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let served = serve_waiting(&handle).await;
        match &served {
            Err(error) if !is_failing => {
                tracing::warn!(%error, "requests of other nodes cannot be looked up; trying again");
            }
            _ => {}
        }
        is_failing = served.is_err();
    }
}

async fn serve_waiting(handle: &WebhooksHandle) -> Result<(), LaneError> {
    let links = handle.router.send(ListLanes).await.map_err(|_stopped| LaneError::Gone)?;
    let lanes: HashMap<_, _> = links.into_iter().map(|link| (link.id, link.lane)).collect();
    let ids: Vec<_> = lanes.keys().copied().collect();
    for TakenRequest { id, lane, request } in handle.services.deliveries.take_requests(&ids).await? {
        let (handle, lane) = (handle.clone(), lanes.get(&lane).cloned());
        // Some take seconds.
        actix::spawn(async move {
            let done = match (lane, LaneCommand::from_request(request)) {
                (Some(lane), Some(command)) => handle.command_here(&lane, command).await,
                _ => Err(LaneError::Gone),
            };
            if let Err(error) = handle.services.deliveries.reply(id, reply(done)).await {
                tracing::warn!(%error, "a request of another node was not answered");
            }
        });
    }
    Ok(())
}

fn reply(done: Result<usize, LaneError>) -> LaneReply {
    let refusal = |error: LaneError| match error {
        LaneError::NoEndpoint => "no endpoint",
        LaneError::NoDelivery => "no delivery",
        LaneError::InFlight => "in flight",
        LaneError::Settled => "settled",
        LaneError::Full => "full",
        LaneError::Replaying => "replaying",
        LaneError::NotStarted | LaneError::Store(_) | LaneError::Late | LaneError::Gone => "late",
    };
    match done {
        Ok(count) => LaneReply { count, refusal: None },
        Err(error) => LaneReply { count: 0, refusal: Some(refusal(error).to_owned()) },
    }
}

#[cfg(test)]
mod tests {
    use amoiq_events::SessionId;

    use super::*;
    use crate::webhooks::DeliveryStatus;

    #[test]
    fn every_command_is_understood_as_it_was_meant() {
        let at = Position::from_u64;
        let message = MessageId::from_bytes([7; 16]);
        let session = Some(SessionId::parse("session").unwrap());
        for command in [
            LaneCommand::Redeliver(message),
            LaneCommand::Skip(message),
            LaneCommand::SkipAll(SkipQuery { status: DeliveryStatus::Refused, upto: at(9), session }),
            LaneCommand::SkipAll(SkipQuery { status: DeliveryStatus::Pending, upto: at(0), session: None }),
            LaneCommand::Replay { after: at(3), until: Some(at(5)) },
            LaneCommand::Replay { after: at(3), until: None },
            LaneCommand::CancelReplay,
        ] {
            assert_eq!(LaneCommand::from_request(command.clone().into_request()), Some(command));
        }
        assert_eq!(LaneCommand::from_request(LaneRequest::default()), None);
    }

    #[test]
    fn every_refusal_that_a_caller_distinguishes_survives_the_way_back() {
        for name in ["no endpoint", "no delivery", "in flight", "settled", "full", "replaying"] {
            assert_eq!(reply(Err(refused(name))).refusal.as_deref(), Some(name));
        }
    }
}
