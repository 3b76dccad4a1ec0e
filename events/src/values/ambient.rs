//! Time and randomness, the two things that a decision must be given and must never fetch.
//!
//! Everything that needs either takes an [`Ambient`]; a test or a simulation passes a
//! [`ManualClock`] and [`SeededEntropy`] and gets the same run every time.

use std::{
    cell::RefCell,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use uuid::{Builder, Uuid};

use crate::{EventId, MessageId, SessionId, Timestamp};

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// The current time.
    fn now(&self) -> Timestamp;
}

/// Gives random bytes.
pub trait Entropy: Send + Sync + 'static {
    /// Fills all of `bytes`.
    fn fill(&self, bytes: &mut [u8]);

    /// The same, for what has to be different each time but is no secret. It may have been read ahead.
    fn fill_unique(&self, bytes: &mut [u8]) {
        self.fill(bytes);
    }
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is where time enters")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A clock that moves only when it is told to.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that is at `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self(AtomicI64::new(start.as_millis()))
    }

    /// Moves the clock forward.
    pub fn advance_millis(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// The generator of the operating system, good enough for secrets.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    /// # Panics
    /// When the operating system has no randomness: then nothing safe can be done.
    fn fill(&self, bytes: &mut [u8]) {
        if let Err(error) = getrandom::fill(bytes) {
            panic!("the operating system gives no randomness: {error}");
        }
    }

    /// # Panics
    /// As [`Self::fill`].
    fn fill_unique(&self, bytes: &mut [u8]) {
        READ_AHEAD.with_borrow_mut(|ahead| ahead.take(bytes, |ahead| self.fill(ahead)));
    }
}

thread_local! {
    static READ_AHEAD: RefCell<ReadAhead> = const { RefCell::new(ReadAhead::EMPTY) };
}

/// How many bytes are read at once. Each read is a system call, and a message takes ten bytes three times.
const READ_AHEAD_BYTES: usize = 1_024;

/// Random bytes that were read together and are handed out once.
struct ReadAhead {
    bytes: [u8; READ_AHEAD_BYTES],
    used: usize,
}

impl ReadAhead {
    const EMPTY: Self = Self { bytes: [0; READ_AHEAD_BYTES], used: READ_AHEAD_BYTES };

    fn take(&mut self, bytes: &mut [u8], refill: impl Fn(&mut [u8])) {
        for byte in bytes {
            if self.used == READ_AHEAD_BYTES {
                refill(&mut self.bytes);
                self.used = 0;
            }
            if let Some(next) = self.bytes.get(self.used) {
                *byte = *next;
            }
            self.used += 1;
        }
    }
}

/// The same bytes again for the same seed. Not for secrets.
#[derive(Debug)]
pub struct SeededEntropy(AtomicU64);

impl SeededEntropy {
    /// A generator that starts from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// The next 64 bits (`SplitMix64`).
    #[must_use]
    pub fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::SeqCst).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let random = self.next().to_le_bytes();
            chunk.iter_mut().zip(random).for_each(|(byte, random)| *byte = random);
        }
    }
}

/// Time and randomness together, cheap to clone.
#[derive(Clone)]
pub struct Ambient {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Ambient {
    /// The machine's own.
    #[must_use]
    pub fn system() -> Self {
        Self::new(Arc::new(SystemClock), Arc::new(OsEntropy))
    }

    /// This clock and this entropy.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { clock, entropy }
    }

    /// The current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// `N` random bytes.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes);
        bytes
    }

    /// A new event's id.
    #[must_use]
    pub fn event_id(&self) -> EventId {
        EventId::from_uuid(self.uuid())
    }

    /// A new message's id.
    #[must_use]
    pub fn message_id(&self) -> MessageId {
        MessageId::from_uuid(self.uuid())
    }

    /// A new session's id: a capability, so 128 random bits beside the time.
    ///
    /// # Panics
    /// Never: what it makes is always an id.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a prefix, digits and hex are within every rule of an id")]
    pub fn session_id(&self) -> SessionId {
        let random = u128::from_le_bytes(self.bytes());
        let text = format!("session-{}-{random:032x}", self.now().as_millis());
        SessionId::parse(&text).expect("made within the rules")
    }

    /// A `UUIDv7` of the current time, which is no secret.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        let millis = u64::try_from(self.now().as_millis()).unwrap_or_default();
        let mut random = [0; 10];
        self.entropy.fill_unique(&mut random);
        Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }
}

impl fmt::Debug for Ambient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ambient")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn bytes_that_were_read_ahead_are_handed_out_once() {
        let ambient = Ambient::system();
        let made = 10 * READ_AHEAD_BYTES;
        let ids: HashSet<Uuid> = (0..made).map(|_| ambient.uuid()).collect();
        assert_eq!(ids.len(), made);
    }
}
