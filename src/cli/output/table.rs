//! Responses as people read them: lists as tables, single objects as lines of fields.
//!
//! Some texts come from customers. Control characters in them are escaped, so that no text moves the cursor of the
//! terminal or starts a line.

use std::io::Write;

use serde::Serialize;
use serde_json::Value;
use tabwriter::TabWriter;

/// A table with a line for each item of a list.
pub(crate) fn table<const N: usize>(
    headings: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    align(std::iter::once(headings.map(str::to_owned)).chain(rows))
}

/// The fields of an object, one a line. Fields without a value are left out.
///
/// # Errors
/// When the object cannot be serialised, which is a defect.
pub(crate) fn fields(object: &impl Serialize) -> anyhow::Result<String> {
    let Value::Object(members) = serde_json::to_value(object)? else { return Ok(String::new()) };
    let shown = members.into_iter().filter(|(_, value)| !value.is_null());
    Ok(align(shown.map(|(name, value)| [name, cell(&value)])))
}

/// A value in one cell; `-` stands for none.
pub(crate) fn cell(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::Null) | Err(_) => "-".to_owned(),
        Ok(Value::String(text)) => escape(&text),
        Ok(Value::Array(values)) => values.iter().map(cell).collect::<Vec<_>>().join(" "),
        Ok(other) => other.to_string(),
    }
}

fn escape(text: &str) -> String {
    let shown =
        |char: char| if char.is_control() { char.escape_debug().to_string() } else { char.to_string() };
    text.chars().map(shown).collect()
}

fn align<const N: usize>(rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut aligned = TabWriter::new(Vec::new()).padding(2).minwidth(0);
    for row in rows {
        // Nothing can go wrong in memory.
        drop(writeln!(aligned, "{}", row.join("\t")));
    }
    let bytes = aligned.into_inner().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_item_and_aligned_columns() {
        let rows = [("a", Some(2)), ("longer", None)].map(|(id, keys)| [cell(&id), cell(&keys)]);
        assert_eq!(table(["ID", "KEYS"], rows), "ID      KEYS\na       2\nlonger  -");
    }

    #[test]
    fn a_text_does_not_control_the_terminal() {
        assert_eq!(cell(&"a\u{1b}[2J\nb\u{9b}\tc"), "a\\u{1b}[2J\\nb\\u{9b}\\tc");
    }

    #[test]
    fn fields_without_a_value_are_left_out() {
        assert_eq!(
            fields(&json!({"id": "a", "name": null, "origins": ["x", "y"]})).unwrap(),
            "id       a\norigins  x y"
        );
    }
}
