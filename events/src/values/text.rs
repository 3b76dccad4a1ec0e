//! Texts that people write. They are kept as sent, to the byte: escaping is the reader's work.

use std::{fmt, ops::RangeInclusive, sync::Arc};

use icu_properties::{CodePointSetData, props::DefaultIgnorableCodePoint};
use serde::{Deserialize, Serialize};

/// Why a text cannot be a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// Nothing in it can be seen.
    #[error("must not be empty")]
    Empty,
    /// More characters after trimming than the limit.
    #[error("must be at most {limit} characters")]
    TooLong {
        /// The limit, in Unicode scalar values.
        limit: usize,
    },
    /// It contains U+0000, which many readers cannot handle.
    #[error("must not contain NUL or a lone surrogate")]
    Nul,
}

/// What a visitor, an agent or a bot wrote. White space around it is kept and does not count toward the limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageText(Arc<str>);

impl MessageText {
    /// Takes a text of 1 to `limit` characters after trimming, of which at least one can be seen.
    ///
    /// # Errors
    /// When it is empty, too long or contains NUL.
    pub fn parse(text: &str, limit: usize) -> Result<Self, InvalidText> {
        let trimmed = text.trim();
        if text.contains('\0') {
            Err(InvalidText::Nul)
        } else if trimmed.chars().all(is_invisible) {
            Err(InvalidText::Empty)
        } else if trimmed.len() > limit && trimmed.chars().count() > limit {
            Err(InvalidText::TooLong { limit })
        } else {
            Ok(Self(text.into()))
        }
    }

    /// The text as sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a character shows nothing: white space, controls, and what Unicode lets a reader ignore, like a
/// zero-width space or a byte order mark.
fn is_invisible(char: char) -> bool {
    /// The empty pattern of Braille, which is a blank although Unicode calls it a symbol.
    const BLANK_BRAILLE: char = '\u{2800}';
    /// They separate a text from its reading, for programs.
    const ANNOTATION: RangeInclusive<char> = '\u{fff9}'..='\u{fffb}';
    let ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>();
    char.is_whitespace()
        || char.is_control()
        || char == BLANK_BRAILLE
        || ANNOTATION.contains(&char)
        || ignorable.contains(char)
}

/// A text that is cut, never refused: an address, a referrer, a site. At most [`ShortText::MAX_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShortText(Arc<str>);

impl ShortText {
    /// Where a text is cut, at the last whole character.
    pub const MAX_BYTES: usize = 2048;

    /// The first [`ShortText::MAX_BYTES`] of a text; `None` when it is empty.
    #[must_use]
    pub fn cut(text: &str) -> Option<Self> {
        let end = text.floor_char_boundary(Self::MAX_BYTES);
        text.get(..end).filter(|cut| !cut.is_empty()).map(|cut| Self(cut.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ShortText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_counts_characters_after_trimming() {
        assert!(MessageText::parse(&"é".repeat(10), 10).is_ok());
        assert!(MessageText::parse(&format!("  {}\n", "é".repeat(10)), 10).is_ok());
        assert_eq!(MessageText::parse(&"é".repeat(11), 10), Err(InvalidText::TooLong { limit: 10 }));
        assert_eq!(MessageText::parse(" \n\t", 10), Err(InvalidText::Empty));
        assert_eq!(MessageText::parse("a\0b", 10), Err(InvalidText::Nul));
        assert_eq!(MessageText::parse("\0", 10), Err(InvalidText::Nul));
    }

    #[test]
    fn a_text_in_which_nothing_can_be_seen_is_empty() {
        for invisible in [
            "\u{200b}",
            "\u{feff}\u{200d} \u{2060}\n",
            "\u{ad}",
            "\u{202e}\u{202c}",
            "\u{3164}",
            "\u{2800}",
            "\u{e0041}\u{e007f}",
            "\u{fe0f}",
            "\u{1}\u{7f}\u{85}",
            "\u{115f}\u{1160}\u{ffa0}",
            "\u{180e}",
            "\u{fff9}\u{fffb}",
        ] {
            assert_eq!(MessageText::parse(invisible, 10), Err(InvalidText::Empty), "{invisible:?}");
        }
        for visible in ["\u{200b}.", "\u{301}", "👍\u{fe0f}", "\u{feff}a", "\u{fffd}", "\u{ad}-"] {
            assert!(MessageText::parse(visible, 10).is_ok(), "{visible:?}");
        }
    }

    #[test]
    fn a_message_is_kept_as_sent() {
        assert_eq!(MessageText::parse("  <b>hi</b>\n", 10).map(|text| text.as_str().len()), Ok(12));
    }

    #[test]
    fn a_short_text_is_cut_at_a_whole_character() {
        let long = format!("a{}", "é".repeat(2000));
        let cut = ShortText::cut(&long).unwrap();
        assert_eq!(cut.as_str().len(), 2047);
        assert_eq!(ShortText::cut(""), None);
    }
}
