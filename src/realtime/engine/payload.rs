//! Several packets in the body of one polling request or answer, between record separators.

use bytes::Bytes;
use bytestring::ByteString;

use super::packet::{Malformed, Outgoing, Packet};

/// Stands between packets; JSON cannot contain it unescaped.
const SEPARATOR: char = '\x1e';

/// The most packets of one payload. The client that we know sends what it has queued, which is seldom
/// more than a handful; the bound keeps a payload of a million one-byte packets from becoming a
/// million values.
const MAX_PACKETS: usize = 10_000;

/// Reads every packet of a body.
///
/// # Errors
/// [`Malformed`] when one of them is, the body is not UTF-8, or there are too many.
pub fn decode(body: Bytes) -> Result<Vec<Packet>, Malformed> {
    let text = ByteString::try_from(body).map_err(|_not_utf8| Malformed)?;
    let mut packets = Vec::new();
    for part in text.split(SEPARATOR) {
        if packets.len() == MAX_PACKETS {
            return Err(Malformed);
        }
        packets.push(Packet::decode_text(&text.slice_ref(part))?);
    }
    Ok(packets)
}

/// Writes packets as a body.
#[must_use]
pub fn encode<'a>(packets: impl IntoIterator<Item = &'a Outgoing>) -> String {
    let mut body = String::new();
    for (number, packet) in packets.into_iter().enumerate() {
        if number > 0 {
            body.push(SEPARATOR);
        }
        packet.encode_polled(&mut body);
    }
    body
}
