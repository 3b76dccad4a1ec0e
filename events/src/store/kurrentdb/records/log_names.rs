//! The names of the log's streams in the database, which may have other streams and other logs.

use crate::StreamName;

/// The streams that belong to one log start with its name and a hyphen, and their metadata with two dollars before it.
#[derive(Debug, Clone)]
pub(in crate::store::kurrentdb) struct LogNames {
    prefix: String,
}

/// What a stream of the database is to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store::kurrentdb) enum NamedStream {
    /// A stream of the log.
    Events(StreamName),
    /// The metadata of one.
    Metadata(StreamName),
    /// Something else.
    Other,
}

impl LogNames {
    /// The names of a log; nothing when it cannot be called so.
    pub(in crate::store::kurrentdb) fn parse(log: &str) -> Option<Self> {
        let is_known = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_';
        let is_name = (1..=40).contains(&log.len()) && log.chars().all(is_known);
        is_name.then(|| Self { prefix: format!("{log}-") })
    }

    /// A stream's name in the database.
    pub(in crate::store::kurrentdb) fn stream(&self, stream: &StreamName) -> String {
        format!("{}{stream}", self.prefix)
    }

    /// The stream that says which history this is. No stream of the log can be called so.
    pub(in crate::store::kurrentdb) fn epoch(&self) -> String {
        format!("{}epoch", self.prefix)
    }

    /// What the names of all streams of the log start with, metadata included.
    pub(in crate::store::kurrentdb) fn prefixes(&self) -> Vec<String> {
        vec![self.prefix.clone(), format!("$${}", self.prefix)]
    }

    /// What a name of the database stands for.
    pub(in crate::store::kurrentdb) fn named(&self, name: &str) -> NamedStream {
        let (is_metadata, name) = name.strip_prefix("$$").map_or((false, name), |name| (true, name));
        match name.strip_prefix(&self.prefix) {
            // Names were parsed before they were written, and every name of a stream has a colon.
            Some(stream) if stream.contains(':') && is_metadata => {
                NamedStream::Metadata(StreamName::stored(stream))
            }
            Some(stream) if stream.contains(':') => NamedStream::Events(StreamName::stored(stream)),
            _ => NamedStream::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_streams_of_a_log_are_told_from_those_of_others() {
        let names = LogNames::parse("amoiq").unwrap();
        let stream = StreamName::node("a-b");
        assert_eq!(names.stream(&stream), "amoiq-node:a-b");
        assert_eq!(names.named("amoiq-node:a-b"), NamedStream::Events(stream.clone()));
        assert_eq!(names.named("$$amoiq-node:a-b"), NamedStream::Metadata(stream));
        for other in
            [names.epoch().as_str(), "$$amoiq-epoch", "amoiq2-node:a", "node:a", "$stats-amoiq-node:a"]
        {
            assert_eq!(names.named(other), NamedStream::Other, "{other}");
        }
    }

    #[test]
    fn a_log_has_a_plain_name() {
        for name in ["", "a-b", "A", "a b", "$a", &"a".repeat(41)] {
            assert!(LogNames::parse(name).is_none(), "{name}");
        }
    }
}
