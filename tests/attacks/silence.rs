//! Attacks by saying nothing.

use std::{sync::Arc, time::Duration};

use anyhow::ensure;
use socket2::{SockFilter, SockRef};
use tokio::time::Instant;

use crate::{
    attack::{Outcome, Stage},
    client::Client,
    crowd::{crowd, source},
};

/// `realtime.connect_timeout_ms` as it is set for [`mute`].
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// How late an end may be on a machine that has other things to do.
const LATE: Duration = Duration::from_secs(15);

/// A filter program of one instruction: "return 0", keep nothing of what comes in.
const KEEP_NOTHING: SockFilter = SockFilter::new(0x06, 0, 0, 0);

/// Connections that never say who they are.
pub async fn mute(stage: &Stage) -> anyhow::Result<Outcome> {
    let (count, address) = (stage.scale.of(1_000, 10_000), stage.server.socket_address());
    crowd(count, count, move |number| async move {
        let mut client = Client::open(address, source(number), "tenantId=demo").await?;
        let since = Instant::now();
        client.closed_within(CONNECT_TIMEOUT + LATE).await?;
        // The server counts from when it said 101, which may be a moment before the client read it.
        ensure!(since.elapsed() > CONNECT_TIMEOUT / 4, "closed after {:?}", since.elapsed());
        Ok(())
    })
    .await?;
    stage.all_sockets_are_closed(LATE).await?;
    Ok(Outcome::of(count))
}

/// Peers whose machine has vanished: the kernel drops whatever comes in for them, so that nothing is
/// acknowledged and nothing is refused.
pub async fn half_open(stage: &Stage) -> anyhow::Result<Outcome> {
    let (count, address) = (stage.scale.of(50, 1_000), stage.server.socket_address());
    let vanished = crowd(count, 50, move |number| async move {
        let client = Client::visitor(address, source(number)).await?;
        SockRef::from(&client.stream).attach_filter(&[KEEP_NOTHING])?;
        Ok(client)
    });
    let vanished = Arc::new(vanished.await?);
    stage.all_sockets_are_closed(LATE).await?;
    let cut = stage.server.printed_times(&["ping_timeout"]);
    ensure!(cut == vanished.len(), "{cut} of {count} were cut for their silence");
    Ok(Outcome::of(count))
}
