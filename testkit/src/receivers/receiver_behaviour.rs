//! How a receiver treats a delivery: chosen by dice while it is wild, and well when it is calm.

use std::{io, time::Duration};

use amoiq_events::ambient::SeededEntropy;
use tokio::{io::AsyncWriteExt, net::TcpStream};

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiverBehaviour {
    /// Taken at once.
    Good,
    /// Taken after a while.
    Slow(Duration),
    /// 500
    Broken,
    /// 503, 429, 502 or 504 with these seconds to wait, if any.
    Overloaded(u16, Option<u8>),
    /// The connection closes before the answer.
    Closes,
    /// Nothing is said any more.
    Hangs,
    /// A success that breaks off: whoever sent it cannot know that it was taken.
    Resets,
}

/// One in so many requests of a wild receiver makes its whole endpoint wait for a second.
const ONE_IN_ASKS: u64 = 150;

impl ReceiverBehaviour {
    /// Well in five of ten cases.
    pub fn throw(dice: &SeededEntropy) -> Self {
        if dice.next().is_multiple_of(ONE_IN_ASKS) {
            return Self::Overloaded(429, Some(1));
        }
        match dice.next() % 40 {
            0..=19 => Self::Good,
            20..=23 => Self::Slow(Duration::from_millis(dice.next() % 60)),
            24..=29 => Self::Broken,
            30 => Self::Overloaded(502, None),
            31 => Self::Overloaded(429, Some(0)),
            32 => Self::Overloaded(503, Some(0)),
            33..=35 => Self::Closes,
            36 => Self::Hangs,
            _ => Self::Resets,
        }
    }

    /// Whether whoever sends may count on it.
    pub fn takes(self) -> bool {
        matches!(self, Self::Good | Self::Slow(_))
    }

    /// Answers as it is: whether the connection goes on.
    ///
    /// # Errors
    /// When the connection ends before.
    pub async fn answer(self, stream: &mut TcpStream) -> io::Result<bool> {
        let head = match self {
            Self::Good | Self::Slow(_) => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
            Self::Broken => "HTTP/1.1 500 Broken\r\ncontent-length: 3\r\n\r\noh!".to_owned(),
            Self::Overloaded(status, asked) => {
                let asked = asked.map(|seconds| format!("retry-after: {seconds}\r\n")).unwrap_or_default();
                format!("HTTP/1.1 {status} Later\r\n{asked}content-length: 0\r\n\r\n")
            }
            Self::Resets => "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".to_owned(),
            Self::Closes | Self::Hangs => String::new(),
        };
        if let Self::Slow(wait) = self {
            tokio::time::sleep(wait).await;
        }
        stream.write_all(head.as_bytes()).await?;
        match self {
            Self::Closes | Self::Resets => Ok(false),
            Self::Hangs => {
                // Until the other side has enough.
                stream.readable().await?;
                Ok(false)
            }
            _ => Ok(true),
        }
    }
}
