//! Several nodes on one KurrentDB, and what they survive of it. A server that goes wrong on command is the test's own.

mod encryption;
mod erasure;
mod faults;
mod lost_end;
mod lost_nodes;
mod nodes;
mod refusals;

use std::{sync::Arc, time::Duration};

use amoiq_events::{
    EventLog,
    store::{
        AppendError, AppendReceipt, ExpectedVersion,
        kurrentdb::{KurrentOptions, KurrentStore},
    },
};
use amoiq_testkit::KurrentServer;

use crate::given::{connect_kurrent, events, stream, within};

/// How long a node may take to notice what a subscription that fell silent did not bring: several polls.
const NOTICED: Duration = Duration::from_secs(15);

fn open(server: &KurrentServer) -> Arc<KurrentStore> {
    Arc::new(connect_kurrent(&KurrentOptions::new(&server.address())))
}

async fn append(store: &KurrentStore, session: &str, number: u64) -> Result<AppendReceipt, AppendError> {
    within(store.append(stream(session), ExpectedVersion::Any, events(number..=number))).await
}

/// Appends one event under the same id until that succeeds.
async fn append_at_last(store: &KurrentStore, session: &str, number: u64) -> AppendReceipt {
    loop {
        match append(store, session, number).await {
            Ok(receipt) => return receipt,
            Err(AppendError::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
