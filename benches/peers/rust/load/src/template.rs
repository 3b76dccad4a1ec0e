//! Bytes that are the same for each message except for a few numbers, which all have the same number of digits.

use std::ops::Range;

/// Stands for the digits of a message's number.
pub const NUMBER: &str = "1#########";
/// Stands for the digits of a session's number.
pub const SESSION: &str = "1@@@@@@@@@";

/// Bytes with places for the number of a message and that of its session.
pub struct MessageTemplate {
    bytes: Vec<u8>,
    numbers: Vec<Range<usize>>,
    sessions: Vec<Range<usize>>,
}

impl MessageTemplate {
    /// Bytes in which [`NUMBER`] and [`SESSION`] are the places.
    pub fn new(bytes: Vec<u8>) -> Self {
        let places = |mark: &str| {
            let starts = memchr::memmem::find_iter(&bytes, mark.as_bytes());
            starts.map(|start| start..start + mark.len()).collect()
        };
        Self { numbers: places(NUMBER), sessions: places(SESSION), bytes }
    }

    /// The bytes of one message.
    pub fn fill(&mut self, number: u64, session: u64) -> &[u8] {
        for (places, value) in [(&self.numbers, number), (&self.sessions, session)] {
            for place in places {
                write_digits(self.bytes.get_mut(place.clone()).unwrap_or_default(), value);
            }
        }
        &self.bytes
    }
}

/// Writes a one and then the number, so that it has no zeros in front.
fn write_digits(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().skip(1).rev() {
        *digit = b'0' + u8::try_from(value % 10).unwrap_or_default();
        value /= 10;
    }
}

/// The number after a mark in received bytes, as [`MessageTemplate::fill`] wrote it.
pub fn number_after(bytes: &[u8], mark: &memchr::memmem::Finder<'_>) -> Option<u64> {
    let start = mark.find(bytes)? + mark.needle().len();
    number_at(bytes.get(start..start + NUMBER.len())?)
}

/// The number after a mark, of as many digits as there are.
pub fn decimal_after(bytes: &[u8], mark: &memchr::memmem::Finder<'_>) -> Option<u64> {
    let start = mark.find(bytes)? + mark.needle().len();
    Some(decimal(bytes.get(start..)?))
}

/// The number that bytes start with.
pub fn decimal(bytes: &[u8]) -> u64 {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number: u64, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
}

/// The number in these digits, as [`MessageTemplate::fill`] writes them.
pub fn number_at(digits: &[u8]) -> Option<u64> {
    let digits = digits.strip_prefix(b"1")?;
    digits.iter().try_fold(0_u64, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
    })
}
