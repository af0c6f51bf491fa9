//! YAML 1.2 text to JSON values with the line of each field.
//!
//! Refused, though YAML has them: tags, keys that stand twice, keys that are neither text nor a whole number, numbers
//! without end, and nesting that no object has.

use saphyr::{LoadableYamlNode as _, MarkedYaml, Scalar, YamlData};
use serde_json::{Map, Number, Value};

use super::positions::{Children, Positions};

const MAX_DEPTH: usize = 64;

/// One document of a file.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) value: Value,
    pub(super) positions: Positions,
}

/// Why a text is no YAML of ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) line: u32,
    pub(super) message: String,
}

/// All documents that are not empty.
pub(super) fn parse(text: &str) -> Result<Vec<Document>, Malformed> {
    check_depth(text)?;
    let nodes = MarkedYaml::load_from_str(text).map_err(|error| Malformed {
        line: number(error.marker().line()),
        message: error.info().to_owned(),
    })?;
    let mut documents = Vec::new();
    for node in &nodes {
        let (value, positions) = convert(node, 0)?;
        if !value.is_null() {
            documents.push(Document { value, positions });
        }
    }
    Ok(documents)
}

/// Bounds the recursion of everything that follows, the parser's own included.
fn check_depth(text: &str) -> Result<(), Malformed> {
    for (i, line) in text.lines().enumerate() {
        let opened = line.bytes().filter(|b| matches!(b, b'[' | b'{')).count();
        let indented = line
            .bytes()
            .take_while(|b| matches!(b, b' ' | b'-' | b'?'))
            .count();
        if opened > 1000 || indented > 1000 {
            return Err(Malformed {
                line: number(i + 1),
                message: "is nested too deeply".into(),
            });
        }
    }
    Ok(())
}

fn number(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

fn convert(node: &MarkedYaml<'_>, depth: usize) -> Result<(Value, Positions), Malformed> {
    let line = number(node.span.start.line());
    let malformed = |message: &str| Malformed {
        line,
        message: message.into(),
    };
    if depth > MAX_DEPTH {
        return Err(malformed("is nested too deeply"));
    }
    let leaf = |value| {
        (
            value,
            Positions {
                line,
                children: Children::None,
            },
        )
    };
    match &node.data {
        YamlData::Value(scalar) => scalar_value(scalar)
            .map(leaf)
            .ok_or_else(|| malformed("is no number that JSON has")),
        YamlData::Sequence(items) => {
            let (mut values, mut positions) = (Vec::new(), Vec::new());
            for item in items {
                let (value, position) = convert(item, depth + 1)?;
                values.push(value);
                positions.push(position);
            }
            let children = Children::Seq(positions);
            Ok((Value::Array(values), Positions { line, children }))
        }
        YamlData::Mapping(entries) => {
            let (mut map, mut positions) = (Map::new(), Vec::new());
            for (key, item) in entries {
                let key_line = number(key.span.start.line());
                let (value, mut position) = convert(item, depth + 1)?;
                let key = key_text(key)?;
                position.line = key_line;
                positions.push((key.clone(), position));
                if map.insert(key.clone(), value).is_some() {
                    return Err(Malformed {
                        line: key_line,
                        message: format!("key {key:?} stands twice"),
                    });
                }
            }
            let children = Children::Map(positions);
            Ok((Value::Object(map), Positions { line, children }))
        }
        YamlData::Tagged(..) => Err(malformed("has a tag, which no object has")),
        YamlData::Representation(..) | YamlData::Alias(_) | YamlData::BadValue => {
            Err(malformed("is no value of its tag or anchor"))
        }
    }
}

fn key_text(key: &MarkedYaml<'_>) -> Result<String, Malformed> {
    match &key.data {
        YamlData::Value(Scalar::String(text)) => Ok(text.to_string()),
        YamlData::Value(Scalar::Integer(number)) => Ok(number.to_string()),
        _ => Err(Malformed {
            line: number(key.span.start.line()),
            message: "a key is neither text nor a whole number".into(),
        }),
    }
}

fn scalar_value(scalar: &Scalar<'_>) -> Option<Value> {
    Some(match scalar {
        Scalar::Null => Value::Null,
        Scalar::Boolean(b) => Value::Bool(*b),
        Scalar::Integer(i) => Value::Number((*i).into()),
        Scalar::FloatingPoint(f) => Value::Number(Number::from_f64(f.into_inner())?),
        Scalar::String(text) => Value::String(text.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::path::FieldPath;

    #[test]
    fn several_documents_with_their_lines() {
        let text = "# first\na: 1\nb:\n  - x: yes\n  - {y: 1.5, z: ~}\n---\n---\nc: \"2\"\n8080: {d: true}\n...\n";
        let documents = parse(text).unwrap();
        assert_eq!(documents.len(), 2);
        assert_eq!(
            documents[0].value,
            json!({"a": 1, "b": [{"x": "yes"}, {"y": 1.5, "z": null}]})
        );
        assert_eq!(documents[1].value, json!({"c": "2", "8080": {"d": true}}));
        let line = |document: usize, field| documents[document].positions.line_of(&field);
        assert_eq!(line(0, FieldPath::root()), 2);
        assert_eq!(line(0, FieldPath::of("b")), 3);
        assert_eq!(line(0, FieldPath::of("b").index(1).key("z")), 5);
        assert_eq!(line(0, FieldPath::of("b").index(1).key("none")), 5);
        assert_eq!(line(1, FieldPath::of("8080.d")), 9);
    }

    #[test]
    fn errors_have_the_line() {
        for (text, line) in [
            ("a: 1\nb: [\n", 3),
            ("a: 1\na: 2\n", 2),
            ("a: 1\n\"1\": x\n1: y\n", 3),
            ("a: !secret x\n", 1),
            ("a:\n\tb: 1\n", 2),
            ("? [a]\n: b\n", 1),
            ("a: .nan\n", 1),
            ("a: *nowhere\n", 1),
            (&format!("a: {}", "[".repeat(5000)), 1),
            (&format!("a: {}{}", "[".repeat(90), "]".repeat(90)), 1),
        ] {
            assert_eq!(
                parse(text).map(drop).map_err(|e| e.line),
                Err(line),
                "{text}"
            );
        }
    }

    #[test]
    fn anchors_expand_but_not_without_end() {
        let documents = parse("a: &x {b: 1}\nc: *x\n").unwrap();
        assert_eq!(documents[0].value, json!({"a": {"b": 1}, "c": {"b": 1}}));
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..9 {
            let aliases = vec![format!("*a{}", i - 1); 10].join(", ");
            bomb.push_str(&format!("a{i}: &a{i} [{aliases}]\n"));
        }
        assert!(parse(&bomb).is_err());
    }
}
