//! A connection that is about to start, and the packet that its client gets first.

use std::time::Duration;

use bytestring::ByteString;
use serde::Serialize;

use crate::engine::{EngineSettings, engine_state::EngineSid};

/// A connection that is about to start.
pub(in crate::engine) struct NewConnection<P> {
    pub(in crate::engine) sid: EngineSid,
    pub(in crate::engine) protocol: P,
    /// The transports that it may upgrade to.
    pub(in crate::engine) upgrades: &'static [&'static str],
}

impl<P> NewConnection<P> {
    /// The packet that the client gets first.
    pub(in crate::engine) fn open_packet(&self, settings: &EngineSettings) -> ByteString {
        let open = OpenPacket {
            sid: self.sid.as_str(),
            upgrades: self.upgrades,
            ping_interval: millis(settings.ping_interval),
            ping_timeout: millis(settings.ping_timeout),
            max_payload: settings.max_payload,
        };
        // Texts and numbers always serialize.
        format!("0{}", serde_json::to_string(&open).unwrap_or_default()).into()
    }
}

/// Exactly these fields.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OpenPacket<'a> {
    sid: &'a str,
    upgrades: &'a [&'a str],
    ping_interval: u64,
    ping_timeout: u64,
    max_payload: usize,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
