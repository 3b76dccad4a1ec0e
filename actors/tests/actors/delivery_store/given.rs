//! A store to test, and deliveries to put into it. The delivery at a position is always the same.

use std::{path::PathBuf, sync::Arc, time::Duration};

use amoiq_actors::webhooks::{
    delivery::{Delivery, DeliveryAttempt, DeliveryStatus, LaneProgress},
    delivery_store::{DeliveryStore, LaneId},
};
use amoiq_events::{
    Ambient, EventId, MessageId, Position, SessionId, Timestamp, WebhookId,
    cluster::{
        ClusterLeases, FencingNumber, HeldLease, LeaseName, NodeDescription, NodeMembership, SingleNode,
    },
    store::Epoch,
};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::given::tenant;

pub(crate) struct GivenOutbox {
    pub(crate) outbox: DeliveryStore,
    pub(crate) path: PathBuf,
    files: TempDir,
}

impl GivenOutbox {
    pub(crate) fn new() -> Self {
        let files = tempfile::tempdir().expect("a directory");
        let path = files.path().join("outbox.db");
        Self { outbox: DeliveryStore::open(&path).expect("outbox.db"), path, files }
    }

    /// The lane of the endpoint `a`.
    pub(crate) async fn lane(&self) -> LaneId {
        self.outbox.lane(&tenant(), &webhook("a"), at(0)).await.expect("a lane").0
    }

    pub(crate) async fn marks(&self) -> LaneProgress {
        self.outbox.lane(&tenant(), &webhook("a"), at(0)).await.expect("a lane").1
    }

    /// The store as another process finds it when this one is killed.
    pub(crate) fn killed(&self) -> DeliveryStore {
        let found = self.files.path().join("found.db");
        for suffix in ["", "-wal"] {
            let name = |path: &PathBuf| format!("{}{suffix}", path.display());
            std::fs::copy(name(&self.path), name(&found)).expect("a copy");
        }
        DeliveryStore::open(&found).expect("outbox.db")
    }

    /// A connection to the file beside the store.
    pub(crate) fn conn(&self) -> Connection {
        let conn = Connection::open(&self.path).expect("outbox.db");
        conn.busy_timeout(Duration::from_secs(10)).expect("a timeout");
        conn
    }

    /// The number of rows in a table.
    pub(crate) fn rows(&self, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        self.conn().query_row(&sql, [], |row| row.get(0)).expect("a number")
    }
}

pub(crate) fn at(position: u64) -> Position {
    Position::from_u64(position)
}

pub(crate) fn webhook(id: &str) -> WebhookId {
    WebhookId::parse(id).expect("an id")
}

pub(crate) fn message_of(position: u64) -> MessageId {
    MessageId::from_bytes((u128::from(position) << 64).to_be_bytes())
}

/// The session of a position: one of five.
pub(crate) fn delivery(position: u64, status: DeliveryStatus) -> Delivery {
    Delivery {
        position: at(position),
        event_id: EventId::from_bytes(u128::from(position).to_be_bytes()),
        message_id: message_of(position),
        session: SessionId::parse(&format!("session-{}", position % 5)).expect("an id"),
        status,
        tries: 1,
        next_at: None,
        holds: true,
        refused_at: None,
        changed_at: Timestamp::from_millis(1_705_314_600_000),
    }
}

/// A delivery that succeeded at its first attempt.
pub(crate) fn settled(position: u64) -> (Delivery, Option<DeliveryAttempt>) {
    let success = DeliveryAttempt { status: Some(200), error: None, answer: Vec::new(), ..attempt("") };
    (delivery(position, DeliveryStatus::Delivered), Some(success))
}

/// An attempt that failed.
pub(crate) fn attempt(error: &str) -> DeliveryAttempt {
    DeliveryAttempt {
        at: Timestamp::from_millis(1_705_314_600_000),
        duration_ms: 12,
        status: Some(503),
        error: Some(error.to_owned()),
        answer: b"not now".to_vec(),
    }
}

pub(crate) fn positions(page: &[(Delivery, Vec<DeliveryAttempt>)]) -> Vec<u64> {
    page.iter().map(|(delivery, _)| delivery.position.as_u64()).collect()
}

/// The leases of a node that is alone.
pub(crate) fn single_node() -> Arc<dyn ClusterLeases> {
    Arc::new(SingleNode::new(NodeDescription::named("single"), Epoch(1), &Ambient::system()))
}

/// A lease that nobody takes away.
pub(crate) fn free_lease() -> HeldLease {
    let fencing = FencingNumber { epoch: Epoch(1), number: 1 };
    HeldLease::new(LeaseName::new("webhook", "a"), fencing, Arc::new(NodeMembership::permanent(fencing)))
}
