//! The newest messages of a session in memory, packed: a message takes the bytes of its texts and some forty more. As values
//! of their own they took five times as much.

use std::{collections::VecDeque, sync::Arc};

use amoiq_events::{
    ClientMessageId, MessageId, MessageText, Position, ShortText, Timestamp, UserId, session::MessageSender,
};

use super::transcript::ChatMessage;

/// The most messages that are kept in memory for a session.
const KEPT_MESSAGES: usize = 200;

/// The most bytes of text that are kept in memory for a session, but at least one message. A hundred messages of the usual
/// length fit. A visitor can fill it with two long ones, in any number of sessions, so it is small; other messages are
/// read from the log on request.
const KEPT_BYTES: usize = 16 * 1024;

/// A block ends with the message that makes it this long. Only whole blocks leave memory.
const BLOCK_BYTES: usize = 1_536;

/// The newest messages of a session, without gaps.
#[derive(Debug, Default)]
pub(crate) struct RecentMessages {
    blocks: VecDeque<MessageBlock>,
    /// The `seq` of the oldest message that is kept.
    first: u32,
    kept: usize,
    /// The bytes of the texts of those that are kept.
    texts: usize,
}

/// Some packed messages.
#[derive(Debug, Default)]
struct MessageBlock {
    bytes: Vec<u8>,
    /// Where the oldest message starts that is kept.
    start: usize,
}

impl RecentMessages {
    pub(crate) fn push(&mut self, message: &ChatMessage) {
        if self.kept == 0 {
            self.first = message.seq;
        }
        if self.blocks.back().is_none_or(|block| block.bytes.len() >= BLOCK_BYTES) {
            self.blocks.push_back(MessageBlock::default());
        }
        let Some(block) = self.blocks.back_mut() else { return };
        pack(message, &mut block.bytes);
        if block.bytes.len() >= BLOCK_BYTES {
            block.bytes.shrink_to_fit();
        }
        self.kept += 1;
        self.texts += message.size_bytes();
        while self.kept > KEPT_MESSAGES || (self.texts > KEPT_BYTES && self.kept > 1) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(block) = self.blocks.front_mut() else { return };
        let mut rest = PackedReader(block.bytes.get(block.start..).unwrap_or_default());
        let Some((texts, _)) = rest.next_message() else { return };
        block.start = block.bytes.len() - rest.0.len();
        if rest.0.is_empty() {
            self.blocks.pop_front();
        }
        self.first += 1;
        self.kept -= 1;
        self.texts -= texts;
    }

    /// The memory that they take.
    pub(crate) fn size_bytes(&self) -> usize {
        let blocks = self.blocks.capacity() * size_of::<MessageBlock>();
        self.blocks.iter().map(|block| block.bytes.capacity()).sum::<usize>() + blocks
    }

    /// The messages `low..=high`; `None` when the first of them is not in memory.
    pub(crate) fn range(&self, low: u32, high: u32) -> Option<Vec<Arc<ChatMessage>>> {
        if self.kept == 0 || low < self.first {
            return None;
        }
        let mut wanted = Vec::new();
        let mut seq = self.first;
        for block in &self.blocks {
            let mut rest = PackedReader(block.bytes.get(block.start..)?);
            while let Some((_, packed)) = rest.next_message() {
                if seq > high {
                    return Some(wanted);
                }
                if seq >= low {
                    wanted.push(Arc::new(PackedReader(packed).unpack(seq)?));
                }
                seq += 1;
            }
        }
        Some(wanted)
    }
}

/// Which texts a message has beside its own, in the order in which they are packed.
fn more_texts(message: &ChatMessage) -> [Option<&str>; 5] {
    [
        message.user_id.as_ref().map(UserId::as_str),
        message.claimed_user_id.as_ref().map(UserId::as_str),
        message.sender_name.as_ref().map(ShortText::as_str),
        message.client_message_id.as_ref().map(ClientMessageId::as_str),
        message.client_timestamp.as_ref().map(ShortText::as_str),
    ]
}

/// Appends the bytes of its texts, the length of the rest, and the rest: id, time, position, flags, and texts with their
/// lengths.
fn pack(message: &ChatMessage, packed: &mut Vec<u8>) {
    let more = more_texts(message);
    let flags = more.iter().enumerate().map(|(bit, text)| u8::from(text.is_some()) << bit).sum::<u8>();
    let sender = match message.sender {
        MessageSender::User => 0,
        MessageSender::Bot => 1,
        MessageSender::Agent => 2,
    };
    let verified = message.verified.map_or(0, |verified| 1 + u8::from(verified));
    let texts = [Some(message.text.as_str())].into_iter().chain(more).flatten();
    let lengths: usize = texts.clone().map(|text| number_bytes(text.len()) + text.len()).sum();
    push_number(packed, message.size_bytes());
    push_number(packed, FIXED_BYTES + lengths);
    packed.extend_from_slice(message.id.as_bytes());
    packed.extend_from_slice(&message.timestamp.as_millis().to_le_bytes());
    packed.extend_from_slice(&message.position.as_u64().to_le_bytes());
    packed.extend_from_slice(&[flags, (sender << 2) | verified]);
    for text in texts {
        push_number(packed, text.len());
        packed.extend_from_slice(text.as_bytes());
    }
}

/// Id, time, position and flags.
const FIXED_BYTES: usize = 16 + 8 + 8 + 2;

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn push_number(packed: &mut Vec<u8>, mut number: usize) {
    while number > 0x7f {
        packed.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    packed.push(number.to_le_bytes()[0]);
}

fn number_bytes(number: usize) -> usize {
    (usize::BITS - (number | 1).leading_zeros()).div_ceil(7) as usize
}

/// Reads what [`pack`] wrote. Nothing of it can be missing; if it were, the log would be read instead.
struct PackedReader<'a>(&'a [u8]);

impl<'a> PackedReader<'a> {
    /// The bytes of the next message's texts, and the message.
    fn next_message(&mut self) -> Option<(usize, &'a [u8])> {
        let texts = self.number()?;
        let length = self.number()?;
        Some((texts, self.take(length)?))
    }

    fn unpack(&mut self, seq: u32) -> Option<ChatMessage> {
        let id = MessageId::from_bytes(self.array()?);
        let timestamp = Timestamp::from_millis(i64::from_le_bytes(self.array()?));
        let position = Position::from_u64(u64::from_le_bytes(self.array()?));
        let [flags, kind] = self.array()?;
        let text = MessageText::parse(self.text()?, usize::MAX).ok()?;
        let mut more = [None; 5];
        for (bit, text) in more.iter_mut().enumerate() {
            if flags & (1 << bit) != 0 {
                *text = Some(self.text()?);
            }
        }
        let [user_id, claimed_user_id, sender_name, client_message_id, client_timestamp] = more;
        Some(ChatMessage {
            id,
            seq,
            text,
            sender: match kind >> 2 {
                0 => MessageSender::User,
                1 => MessageSender::Bot,
                _ => MessageSender::Agent,
            },
            timestamp,
            user_id: user_id.map(UserId::parse).transpose().ok()?,
            verified: (kind & 3 != 0).then_some(kind & 3 == 2),
            claimed_user_id: claimed_user_id.map(UserId::parse).transpose().ok()?,
            sender_name: sender_name.and_then(ShortText::cut),
            client_message_id: client_message_id.map(ClientMessageId::parse).transpose().ok()?,
            client_timestamp: client_timestamp.and_then(ShortText::cut),
            position,
        })
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const LENGTH: usize>(&mut self) -> Option<[u8; LENGTH]> {
        self.take(LENGTH)?.try_into().ok()
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.number()?;
        str::from_utf8(self.take(length)?).ok()
    }

    fn number(&mut self) -> Option<usize> {
        let (mut number, mut shift) = (0_usize, 0);
        loop {
            let [byte] = self.array()?;
            number |= usize::from(byte & 0x7f).checked_shl(shift)?;
            shift += 7;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(seq: u32, text: &str) -> ChatMessage {
        ChatMessage {
            id: MessageId::from_bytes([seq.to_le_bytes()[0]; 16]),
            seq,
            text: MessageText::parse(text, usize::MAX).unwrap(),
            sender: MessageSender::User,
            timestamp: Timestamp::from_millis(1_705_314_600_000 + i64::from(seq)),
            user_id: None,
            verified: None,
            claimed_user_id: None,
            sender_name: None,
            client_message_id: None,
            client_timestamp: None,
            position: Position::from_u64(1_000 + u64::from(seq)),
        }
    }

    fn recent(messages: &[ChatMessage]) -> RecentMessages {
        let mut recent = RecentMessages::default();
        messages.iter().for_each(|message| recent.push(message));
        recent
    }

    fn read(recent: &RecentMessages, low: u32, high: u32) -> Option<Vec<ChatMessage>> {
        let found = recent.range(low, high)?;
        Some(found.iter().map(|message| ChatMessage::clone(message)).collect())
    }

    #[test]
    fn a_message_comes_out_as_it_went_in() {
        let senders = [MessageSender::User, MessageSender::Bot, MessageSender::Agent];
        let all: Vec<_> = (0..96)
            .map(|number: u32| {
                let has = |bit: u32| number & (1 << bit) != 0;
                let user = |name: &str| UserId::parse(name).unwrap();
                ChatMessage {
                    sender: senders[number as usize % 3],
                    user_id: has(0).then(|| user("ann")),
                    verified: [None, Some(false), Some(true)][number as usize / 32],
                    claimed_user_id: has(1).then(|| user(&"ü".repeat(100))),
                    sender_name: has(2).then(|| ShortText::cut("Bob").unwrap()),
                    client_message_id: has(3).then(|| ClientMessageId::parse("client-1").unwrap()),
                    client_timestamp: has(4).then(|| ShortText::cut("2024-01-15T10:30:00Z").unwrap()),
                    ..message(number + 1, &format!(" {}\n", "👍".repeat(1 + number as usize)))
                }
            })
            .collect();
        for seq in 1..=96 {
            let kept = recent(&all[..seq as usize]);
            assert_eq!(read(&kept, seq, seq).unwrap(), [all[seq as usize - 1].clone()]);
        }
    }

    #[test]
    fn the_newest_two_hundred_are_kept() {
        let all: Vec<_> = (1..=450).map(|seq| message(seq, "hello")).collect();
        let kept = recent(&all);
        assert_eq!(read(&kept, 251, 450).unwrap(), all[250..]);
        assert_eq!(read(&kept, 300, 310).unwrap(), all[299..310]);
        assert_eq!(read(&kept, 451, 460).unwrap(), []);
        assert!(read(&kept, 250, 300).is_none(), "its first is not in memory");
        assert!(read(&RecentMessages::default(), 1, 1).is_none());
    }

    #[test]
    fn long_ones_leave_but_for_the_newest() {
        let long = "x".repeat(KEPT_BYTES);
        let all: Vec<_> = (1..=20).map(|seq| message(seq, if seq == 10 { &long } else { "hello" })).collect();
        assert_eq!(read(&recent(&all[..10]), 10, 10).unwrap(), all[9..10]);
        assert!(read(&recent(&all[..10]), 9, 10).is_none());
        let kept = recent(&all);
        assert_eq!(read(&kept, 11, 20).unwrap(), all[10..]);
        assert!(read(&kept, 10, 20).is_none());
        assert!(kept.size_bytes() < 2 * BLOCK_BYTES, "it is not in memory: {}", kept.size_bytes());
    }

    #[test]
    fn a_message_takes_its_texts_and_little_more() {
        let all: Vec<_> = (1..=200).map(|seq| message(seq, "Hello, I need help with order 12345")).collect();
        let kept = recent(&all);
        let texts: usize = all.iter().map(ChatMessage::size_bytes).sum();
        let more = (kept.size_bytes() - texts) / all.len();
        assert!(more < 60, "{more} bytes");
    }
}
