//! The schema in which the tables of one installation are.

use std::sync::Arc;

use super::open_error::PostgresOpenError;

/// The name of a schema, fit to stand in a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaName(String);

impl SchemaName {
    /// Takes a name that nobody has to quote.
    pub(crate) fn parse(name: &str) -> Result<Self, PostgresOpenError> {
        let is_letter = |char: char| char.is_ascii_lowercase();
        let is_later = |char: char| is_letter(char) || char.is_ascii_digit() || char == '_';
        if name.len() <= 40 && name.starts_with(is_letter) && name.chars().all(is_later) {
            Ok(Self(name.to_owned()))
        } else {
            Err(PostgresOpenError::SchemaName(name.to_owned()))
        }
    }

    /// The name, which is also that of the channel on which nodes wake each other.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A text with the schema's name and the key of its lock in it: `{schema}` fit for a statement, `{name}` as it is, and `{lock}`.
    #[must_use]
    pub fn fill(&self, text: &str) -> String {
        // Some names are words of SQL, so they are quoted all the same.
        text.replace("{schema}", &format!("\"{}\"", self.0))
            .replace("{name}", &self.0)
            .replace("{lock}", &format!("hashtextextended('amoiq {}', 0)", self.0))
    }

    /// The same, to be prepared.
    #[must_use]
    pub fn statement(&self, text: &str) -> Arc<str> {
        self.fill(text).into()
    }
}
