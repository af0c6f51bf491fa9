//! From a JSON schema to the structural OpenAPI schema that Kubernetes takes: no references, no choice between schemas, a
//! type everywhere. And rules on single fields, by path.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// A rule is for a field that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("no field {0}")]
pub struct PathError(String);

/// The schema of a `spec`.
#[derive(Debug)]
pub(super) struct Fields(Value);

impl Fields {
    /// As serde reads it.
    pub(super) fn of<T: JsonSchema>() -> Self {
        let mut settings = SchemaSettings::openapi3();
        settings.inline_subschemas = true;
        let schema = settings.into_generator().into_root_schema_for::<T>();
        let mut value = schema.to_value();
        structural(&mut value);
        Self(value)
    }

    /// Add to the schema of a field: `rules[].from[].source`, `matchLabels{}` for a mapping's values,
    /// or the whole if empty.
    pub(super) fn at(&mut self, path: &str, more: &Value) -> Result<(), PathError> {
        let mut schema = &mut self.0;
        for step in path.split('.').filter(|step| !step.is_empty()) {
            let pointer = match (step.strip_suffix("[]"), step.strip_suffix("{}")) {
                (Some(list), _) => format!("/properties/{list}/items"),
                (_, Some(map)) => format!("/properties/{map}/additionalProperties"),
                _ => format!("/properties/{step}"),
            };
            let found = schema.pointer_mut(&pointer);
            schema = found.ok_or_else(|| PathError(path.to_owned()))?;
        }
        for (key, value) in more.as_object().into_iter().flatten() {
            match (&mut schema[key], value) {
                (Value::Array(rules), Value::Array(more)) if key == VALIDATIONS => {
                    rules.extend(more.iter().cloned());
                }
                (place, value) => *place = value.clone(),
            }
        }
        Ok(())
    }

    /// A condition in CEL on a field, and what to write so that it holds.
    pub(super) fn rule(&mut self, path: &str, rule: &str, message: &str) -> Result<(), PathError> {
        self.at(
            path,
            &json!({VALIDATIONS: [{"rule": rule, "message": message}]}),
        )
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, path: &str, items: u32, length: u32) -> Result<(), PathError> {
        self.at(path, &json!({"maxItems": items}))?;
        self.at(
            &format!("{path}[]"),
            &json!({"maxLength": length, "minLength": 1}),
        )
    }

    pub(super) fn into_value(self) -> Value {
        self.0
    }
}

const VALIDATIONS: &str = "x-kubernetes-validations";

fn structural(value: &mut Value) {
    let Value::Object(schema) = value else { return };
    for gone in ["$schema", "title", "components", "nullable"] {
        schema.remove(gone);
    }
    something_or_nothing(schema);
    one_of_words(schema);
    numbers(schema);
    if let Some(Value::Object(patterns)) = schema.remove("patternProperties") {
        // The keys' form is a rule of the kind's own.
        if let Some(values) = patterns.into_values().next() {
            schema.insert("additionalProperties".into(), values);
        }
    }
    if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
        schema.remove("additionalProperties");
    }
    if schema.get("default").is_some_and(is_nothing) {
        schema.remove("default");
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(key) {
            structural(inner);
        }
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.values_mut().for_each(structural);
    }
}

/// A choice between a value and none is that value: what is left out needs no word of its own.
fn something_or_nothing(schema: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = schema.remove("anyOf") else {
        return;
    };
    let something = choices
        .into_iter()
        .find(|choice| choice.get("nullable").is_none());
    for (key, value) in something.iter().filter_map(Value::as_object).flatten() {
        schema.entry(key.as_str()).or_insert(value.clone());
    }
}

/// Variants of an enum, each with its meaning.
fn one_of_words(schema: &mut Map<String, Value>) {
    let Some(Value::Array(variants)) = schema.remove("oneOf") else {
        return;
    };
    let mut words = Vec::new();
    let mut meanings = Vec::new();
    for variant in &variants {
        for word in variant["enum"].as_array().into_iter().flatten() {
            words.push(word.clone());
            if let (Some(word), Some(meaning)) = (word.as_str(), variant["description"].as_str()) {
                meanings.push(format!("{word}: {meaning}"));
            }
        }
    }
    let before = schema.get("description").and_then(Value::as_str);
    let description = before.into_iter().map(str::to_owned).chain(meanings);
    let description = description.collect::<Vec<_>>().join(" ");
    schema.insert("description".into(), description.into());
    schema.insert("type".into(), "string".into());
    schema.insert("enum".into(), words.into());
}

/// Kubernetes knows signed integers only.
fn numbers(schema: &mut Map<String, Value>) {
    let (format, largest) = match schema.get("format").and_then(Value::as_str) {
        Some("uint16") => ("int32", u32::from(u16::MAX)),
        Some("uint32") => ("int64", u32::MAX),
        _ => return,
    };
    schema.insert("format".into(), format.into());
    schema.insert("minimum".into(), 0.into());
    schema.entry("maximum").or_insert(largest.into());
}

/// A default that says no more than its absence.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(_) => true,
        _ => false,
    }
}
