//! Answers as people read them: lists as tables, objects as lines of fields.

use serde_json::Value;

/// Objects of a list as lines under headings; each column is a field, or one within a field: `a.b`.
pub(crate) fn table(list: &Value, columns: &[&str]) -> String {
    let heading = |column: &&str| column.rsplit('.').next().unwrap_or_default().to_uppercase();
    let mut rows = vec![columns.iter().map(heading).collect::<Vec<_>>()];
    let cells = |object: &Value| columns.iter().map(|column| cell(find(object, column))).collect();
    rows.extend(list.as_array().into_iter().flatten().map(cells));
    let width =
        |index: usize| rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count()).max();
    let widths: Vec<_> = (0..columns.len()).map(|index| width(index).unwrap_or_default()).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The fields of an object, one a line.
pub(crate) fn fields(object: &Value) -> String {
    let all: Vec<_> =
        object.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()).collect();
    let width = all.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let line = |(name, value): &(&String, &Value)| format!("{name:width$}  {}", cell(Some(value)));
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn find<'a>(object: &'a Value, column: &str) -> Option<&'a Value> {
    column.split('.').try_fold(object, |within, name| within.get(name))
}

/// Some texts are customers': none of them steers the terminal or begins a line.
fn cell(value: Option<&Value>) -> String {
    let shown =
        |char: char| if char.is_control() { char.escape_debug().to_string() } else { char.to_string() };
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.chars().map(shown).collect(),
        Some(Value::Array(values)) => {
            values.iter().map(|value| cell(Some(value))).collect::<Vec<_>>().join(" ")
        }
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_object_and_aligned_columns() {
        let list = json!([{"id": "a", "keys": 2}, {"id": "longer", "keys": null}]);
        assert_eq!(table(&list, &["id", "keys"]), "ID      KEYS\na       2\nlonger  -");
    }

    #[test]
    fn a_column_may_be_within_a_field_that_is_not_there() {
        let list = json!([{"standing": {"pending": 2}}, {"standing": null}]);
        assert_eq!(table(&list, &["standing.pending"]), "PENDING\n2\n-");
    }

    #[test]
    fn a_text_does_not_steer_the_terminal() {
        let list = json!([{"url": "a\u{1b}[2J\nb\u{9b}"}]);
        assert_eq!(table(&list, &["url"]), "URL\na\\u{1b}[2J\\nb\\u{9b}");
    }

    #[test]
    fn fields_that_are_absent_are_not_shown() {
        assert_eq!(
            fields(&json!({"id": "a", "name": null, "origins": ["x", "y"]})),
            "id       a\norigins  x y"
        );
    }
}
