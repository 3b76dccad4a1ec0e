//! The sealed texts that a client shows to recover: its `pid`, and the offset of the last event that it has seen. A text
//! that this service did not seal proves nothing.

use std::sync::Arc;

use actix_web::web;
use amoiq_events::{Position, SessionId, TenantId, store::Epoch};
use amoiq_socketio::socket::OffsetWriter;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::access::auth::{Authenticator, TokenKeys};

/// The content of a `pid`.
#[derive(Serialize, Deserialize)]
pub(super) struct RecoveryToken {
    #[serde(rename = "n")]
    pub(super) number: u64,
    /// The head of the log when the client connected.
    #[serde(rename = "p")]
    pub(super) start: u64,
    #[serde(rename = "e")]
    pub(super) epoch: String,
    #[serde(rename = "t")]
    pub(super) tenant: TenantId,
    #[serde(rename = "s")]
    pub(super) session: Option<SessionId>,
}

impl RecoveryToken {
    pub(super) fn seal(&self, keys: &TokenKeys) -> String {
        // Texts and numbers always serialize.
        let text = URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default());
        format!("{text}.{}", keys.seal("pid", &text))
    }

    pub(super) fn open(keys: &TokenKeys, sealed: &str) -> Option<Self> {
        let (text, seal) = sealed.split_once('.')?;
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().filter(|_| keys.is_sealed("pid", text, seal))?;
        serde_json::from_slice(&bytes).ok()
    }
}

/// Writes offsets that only this service can have written.
pub fn offset_writer(authenticator: web::Data<Authenticator>, epoch: Epoch) -> OffsetWriter {
    Arc::new(move |position| {
        let seal = authenticator.tokens().seal("offset", &format!("{epoch}.{position}"));
        format!("{position}.{seal}")
    })
}

/// The position of an offset that this service has written in this epoch.
pub(super) fn position_of(keys: &TokenKeys, epoch: Epoch, offset: &str) -> Option<Position> {
    let (position, seal) = offset.split_once('.')?;
    let position: u64 = position.parse().ok()?;
    keys.is_sealed("offset", &format!("{epoch}.{position}"), seal).then(|| Position::from_u64(position))
}
