//! What a failure inside the service is to a caller. The cause is logged here, once, and never told.

use amoiq_actors::{
    projections::ViewError,
    sessions::SessionError,
    webhooks::{LaneError, delivery_store::DeliveryStoreError},
};
use amoiq_events::{session::SessionRefusal, store::AppendError};

use super::Problem;

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Refused(SessionRefusal::Full { limit }) => Self::SessionFull { limit },
            SessionError::Refused(SessionRefusal::NotYours) => {
                Self::Forbidden("the session belongs to a verified user")
            }
            SessionError::Refused(SessionRefusal::NotFound) => Self::SessionNotFound,
            SessionError::Refused(SessionRefusal::OtherText(_)) => Self::IdempotencyMismatch,
            // A conflict until the deadline: others wrote the session all the time.
            SessionError::Busy
            | SessionError::Append(AppendError::Overloaded | AppendError::Conflict { .. }) => {
                Self::Overloaded
            }
            SessionError::Read(error) => error.into(),
            SessionError::Append(AppendError::Unavailable(_)) => Self::StoreUnavailable,
            error => {
                tracing::error!(%error, "a session failed");
                Self::Internal
            }
        }
    }
}

impl From<amoiq_events::store::ReadError> for Problem {
    fn from(error: amoiq_events::store::ReadError) -> Self {
        use amoiq_events::store::ReadError;
        match error {
            ReadError::Overloaded => Self::Overloaded,
            ReadError::Unavailable(reason) => {
                tracing::error!(reason, "the store could not be read");
                Self::StoreUnavailable
            }
            ReadError::UnknownPosition(_) => {
                tracing::error!(%error, "the log was asked for a position that it never gave out");
                Self::Internal
            }
            ReadError::EventDamaged { .. }
            | ReadError::IndexDamaged { .. }
            | ReadError::FileDamaged { .. } => {
                tracing::error!(%error, "damage in the log");
                Self::Internal
            }
        }
    }
}

impl From<ViewError> for Problem {
    fn from(error: ViewError) -> Self {
        if matches!(error, ViewError::Behind) {
            return Self::Overloaded;
        }
        tracing::error!(%error, "a read model failed");
        match error {
            ViewError::Database(error) if error.may_pass() => Self::StoreUnavailable,
            ViewError::Log(error) => error.into(),
            _ => Self::Internal,
        }
    }
}

impl From<LaneError> for Problem {
    fn from(refusal: LaneError) -> Self {
        match refusal {
            LaneError::NoEndpoint | LaneError::Store(DeliveryStoreError::NoLane) => Self::WebhookNotFound,
            LaneError::NoDelivery => Self::NotKept("no delivery of this message is kept"),
            LaneError::Replaying => Self::ReplayRunning,
            LaneError::InFlight => Self::DeliveryInFlight,
            LaneError::Settled => Self::DeliverySettled,
            LaneError::Full | LaneError::NotStarted | LaneError::Late | LaneError::Gone => Self::Overloaded,
            LaneError::Store(
                error @ (DeliveryStoreError::Database(_)
                | DeliveryStoreError::Unavailable(_)
                | DeliveryStoreError::LeaseLost
                | DeliveryStoreError::OtherEpoch
                | DeliveryStoreError::Closed),
            ) => {
                tracing::error!(%error, "webhooks' outbox does not answer");
                Self::StoreUnavailable
            }
            LaneError::Store(error) => {
                tracing::error!(%error, "webhooks' outbox cannot be used");
                Self::Internal
            }
        }
    }
}
