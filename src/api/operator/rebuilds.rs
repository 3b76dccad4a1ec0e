//! Rebuilds of read models as the operator starts and follows them.

use amoiq_actors::projections::{RebuildOutcome, RebuildReport};
use amoiq_events::Position;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::field::{Field, StringList};

/// The most projections in one request.
pub const MAX_PROJECTIONS: usize = 16;

/// Starts rebuilds.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StartRebuildRequest {
    /// The projections; all of them when absent.
    #[serde(skip_serializing_if = "Field::is_absent")]
    pub projections: Field<StringList<MAX_PROJECTIONS>>,
    /// Whether events that cannot be read are skipped and listed as dead letters.
    #[serde(skip_serializing_if = "Field::is_absent")]
    pub skip: Field<bool>,
}

/// How a rebuild is getting on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RebuildState {
    /// There was none since the service started.
    None,
    /// It is being made.
    Running,
    /// The new read model is served.
    Done,
    /// An operator cancelled it.
    Cancelled,
    /// It stopped at an event that cannot be read.
    Stopped,
    /// It failed for another reason.
    Failed,
}

/// The last rebuild of a projection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RebuildResponse {
    /// The projection.
    pub projection: String,
    /// How the rebuild is getting on.
    pub state: RebuildState,
    /// Everything up to this position is in the new read model.
    #[schemars(with = "u64")]
    pub position: Position,
    /// The end of the log.
    #[schemars(with = "u64")]
    pub head: Position,
    /// How many events were skipped.
    pub skipped: usize,
    /// Why it stopped or failed.
    pub failure: Option<RebuildFailure>,
}

/// Why a rebuild stopped or failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RebuildFailure {
    /// The event that cannot be read, and its type; absent when the rebuild failed for another reason.
    #[serde(flatten)]
    pub event: Option<UnreadableEvent>,
    /// The reason.
    pub reason: String,
}

/// An event that a rebuild could not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnreadableEvent {
    /// Its position.
    #[schemars(with = "u64")]
    pub position: Position,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
}

impl RebuildResponse {
    /// Shows a report on a projection.
    #[must_use]
    pub fn new(projection: &str, report: &RebuildReport) -> Self {
        let (state, failure) = match &report.outcome {
            None => (RebuildState::Running, None),
            Some(RebuildOutcome::None) => (RebuildState::None, None),
            Some(RebuildOutcome::Done) => (RebuildState::Done, None),
            Some(RebuildOutcome::Cancelled) => (RebuildState::Cancelled, None),
            Some(RebuildOutcome::Stopped { position, kind, reason }) => {
                let event = Some(UnreadableEvent { position: *position, kind: kind.clone() });
                (RebuildState::Stopped, Some(RebuildFailure { event, reason: reason.clone() }))
            }
            Some(RebuildOutcome::Failed(reason)) => {
                (RebuildState::Failed, Some(RebuildFailure { event: None, reason: reason.clone() }))
            }
        };
        Self {
            projection: projection.to_owned(),
            state,
            position: report.position,
            head: report.head,
            skipped: report.skipped,
            failure,
        }
    }
}

/// The last rebuild of every projection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RebuildsResponse {
    /// The rebuilds.
    pub rebuilds: Vec<RebuildResponse>,
}
