//! JSON values as YAML, for people and for `kubectl`.

use std::fmt::Write as _;

use serde_json::Value;

/// A JSON value as YAML in block style. Strings are written as in JSON, which YAML reads alike.
#[must_use]
pub fn of(value: &Value) -> String {
    let mut text = String::new();
    write_yaml(&mut text, value, 0);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn write_yaml(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (index, (key, value)) in fields.iter().enumerate() {
                indent(text, depth, index);
                let _ = write!(text, "{}:", plain_or_quoted(key));
                write_child(text, value, depth);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                indent(text, depth, index);
                text.push_str("- ");
                write_yaml(text, item, depth + 1);
                end_line(text);
            }
        }
        Value::String(string) => text.push_str(&plain_or_quoted(string)),
        scalar_or_empty => {
            let _ = write!(text, "{scalar_or_empty}");
        }
    }
}

fn write_child(text: &mut String, value: &Value, depth: usize) {
    let nested = match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if nested {
        text.push('\n');
        // The first line of what is nested is indented here, the others by themselves.
        text.push_str(&"  ".repeat(depth + 1));
        write_yaml(text, value, depth + 1);
    } else {
        text.push(' ');
        write_yaml(text, value, depth + 1);
    }
    end_line(text);
}

/// The first line of a block stands where its parent left off.
fn indent(text: &mut String, depth: usize, index: usize) {
    if index > 0 {
        text.push_str(&"  ".repeat(depth));
    }
}

fn end_line(text: &mut String) {
    if !text.ends_with('\n') {
        text.push('\n');
    }
}

/// Words that YAML can't take for something else stay as they are.
fn plain_or_quoted(string: &str) -> String {
    let word = string.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
        && string
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&string.to_ascii_lowercase().as_str());
    if word {
        string.to_owned()
    } else {
        Value::from(string).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nested_values_become_blocks() {
        let value = json!({"name": "a", "list": [{"x": 1, "z": [2, 3]}, {"x": "no"}], "none": [], "empty": {}, "s": "a: b"});
        let expected = "empty: {}\nlist:\n  - x: 1\n    z:\n      - 2\n      - 3\n  - x: \"no\"\nname: a\nnone: []\ns: \"a: b\"\n";
        assert_eq!(of(&value), expected);
    }

    #[test]
    fn what_could_be_taken_for_something_else_is_quoted() {
        for text in [
            "1.5",
            "true",
            "Null",
            "10.0.0.1",
            "",
            " x",
            "a#b",
            "- a",
            "2026-01-01",
            "\"",
            "fd10::1",
        ] {
            assert!(plain_or_quoted(text).starts_with('"'), "{text}");
        }
        assert_eq!(plain_or_quoted("demo/web-v1"), "demo/web-v1");
    }
}
