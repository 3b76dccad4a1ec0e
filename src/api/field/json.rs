//! JSON objects as clients write them.

use serde_json::{Map, Value};

use crate::api::problem::Problem;

/// The members of a JSON object. A byte order mark before it is skipped, which PowerShell and .NET write
/// (RFC 8259, 8.1).
///
/// # Errors
/// When it is not JSON, or not an object.
pub fn object(bytes: &[u8]) -> Result<Map<String, Value>, Problem> {
    let bytes = without_mark(bytes);
    let value = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        // JSON's grammar allows half a surrogate pair, texts do not: the answer names the field.
        Err(error) => match serde_json::from_slice(&without_lone_surrogates(bytes)) {
            Ok(value) => value,
            Err(_still_not_json) => return Err(Problem::MalformedJson(error.to_string())),
        },
    };
    match value {
        Value::Object(members) => Ok(members),
        _ => Err(Problem::field("body", "must be an object")),
    }
}

/// A body without the byte order mark.
#[must_use]
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes)
}

/// The text with NUL in place of each escaped surrogate that has no partner: no field takes NUL.
fn without_lone_surrogates(bytes: &[u8]) -> Vec<u8> {
    let mut clean = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let step = match (surrogate(bytes, at), surrogate(bytes, at + 6)) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => 12,
            (Some(_), _) => {
                if let Some(digits) = clean.get_mut(at + 2..at + 6) {
                    digits.fill(b'0');
                }
                6
            }
            // An escaped backslash does not start an escape.
            _ if bytes.get(at) == Some(&b'\\') => 2,
            _ => 1,
        };
        at += step;
    }
    clean
}

/// The surrogate whose escape starts here.
fn surrogate(bytes: &[u8], at: usize) -> Option<u16> {
    let escape = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let unit = u16::from_str_radix(str::from_utf8(escape).ok()?, 16).ok()?;
    (0xd800..0xe000).contains(&unit).then_some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(text: &str) -> String {
        String::from_utf8(without_lone_surrogates(text.as_bytes())).unwrap()
    }

    #[test]
    fn only_a_surrogate_without_its_partner_is_replaced() {
        assert_eq!(clean(r"a\ud83d\ude00b"), r"a\ud83d\ude00b");
        assert_eq!(clean(r"a\ud83db"), r"a\u0000b");
        assert_eq!(clean(r"\ude00\ud83d"), r"\u0000\u0000");
        assert_eq!(clean(r"\ud83d\ud83d\ude00"), r"\u0000\ud83d\ude00");
        assert_eq!(clean(r"\\ud83d"), r"\\ud83d");
        assert_eq!(clean(r"\u00e9\ud8"), r"\u00e9\ud8");
    }
}
