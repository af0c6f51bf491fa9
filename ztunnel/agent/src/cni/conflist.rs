//! Edits CNI configuration as text, so that nothing but our own entry changes, not even white space.
//!
//! Invariant: what is written is valid JSON whose other values are as they were; removing after inserting gives the
//! original, byte for byte.

use std::ops::Range;

use serde_json::Value;

/// The type of our plugin, which is its program's name.
pub const PLUGIN: &str = "culvert-cni";

/// Why a configuration is left alone.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfError {
    /// Not JSON.
    #[error("not valid JSON: {0}")]
    Json(String),
    /// Nothing that a runtime would take.
    #[error("{0}")]
    Shape(&'static str),
}

/// Our entry.
fn entry(run_dir: &str) -> Value {
    serde_json::json!({ "type": PLUGIN, "runDir": run_dir })
}

/// A list (`*.conflist`) with our plugin as its last; `None` if it is so already.
pub fn insert(text: &str, run_dir: &str) -> Result<Option<String>, ConfError> {
    let value = parse(text)?;
    let plugins = plugins(&value)?;
    let ours = entry(run_dir);
    if plugins.last() == Some(&ours) && plugins.iter().filter(|plugin| is_ours(plugin)).count() == 1
    {
        return Ok(None);
    }
    // Somewhere else, or another: put it right.
    let clean = remove(text)?.unwrap_or_else(|| text.to_owned());
    let elements = elements(&clean)?;
    let last = elements
        .last()
        .ok_or(ConfError::Shape("no plugin but ours is in it"))?;
    let mut edited = clean.clone();
    edited.insert_str(last.end, &format!(", {ours}"));
    Ok(Some(edited))
}

/// A list without our plugin; `None` if it has none.
pub fn remove(text: &str) -> Result<Option<String>, ConfError> {
    let mut edited = None;
    loop {
        let current = edited.as_deref().unwrap_or(text);
        let value = parse(current)?;
        let Some(at) = plugins(&value)?.iter().position(is_ours) else {
            return Ok(edited);
        };
        let elements = elements(current)?;
        let cut = match (
            at.checked_sub(1).and_then(|before| elements.get(before)),
            elements.get(at),
        ) {
            (Some(before), Some(ours)) => before.end..ours.end,
            (None, Some(ours)) => {
                let after = elements.get(1);
                ours.start..after.map_or(ours.end, |after| after.start)
            }
            (_, None) => return Err(ConfError::Shape("plugins: not an array of objects")),
        };
        let mut without = current.to_owned();
        without.replace_range(cut, "");
        edited = Some(without);
    }
}

/// A list made of a single plugin's configuration (`*.conf`, `*.json`), with ours behind it.
pub fn convert(text: &str, run_dir: &str) -> Result<String, ConfError> {
    let value = parse(text)?;
    let string = |field: &str| value.get(field).and_then(Value::as_str);
    if string("type").is_none_or(str::is_empty) {
        return Err(ConfError::Shape("type is missing"));
    }
    let mut list = String::from("{");
    for field in ["cniVersion", "name"] {
        if let Some(text) = string(field) {
            list.push_str(&format!("\"{field}\": {}, ", Value::from(text)));
        }
    }
    let ours = entry(run_dir);
    list.push_str(&format!("\"plugins\": [{}, {ours}]}}\n", text.trim()));
    Ok(list)
}

/// Whether our plugin is in it, list or not.
#[must_use]
pub fn has_ours(text: &str) -> bool {
    parse(text).is_ok_and(|value| plugins(&value).is_ok_and(|plugins| plugins.iter().any(is_ours)))
}

fn parse(text: &str) -> Result<Value, ConfError> {
    serde_json::from_str(text).map_err(|error| ConfError::Json(error.to_string()))
}

fn plugins(value: &Value) -> Result<&Vec<Value>, ConfError> {
    let plugins = value.get("plugins").and_then(Value::as_array);
    let plugins = plugins.ok_or(ConfError::Shape("plugins is missing or no array"))?;
    let is_plugin = |plugin: &Value| plugin.get("type").is_some_and(Value::is_string);
    if plugins.is_empty() || !plugins.iter().all(is_plugin) {
        return Err(ConfError::Shape(
            "plugins: empty, or a plugin without a type",
        ));
    }
    Ok(plugins)
}

fn is_ours(plugin: &Value) -> bool {
    plugin.get("type").and_then(Value::as_str) == Some(PLUGIN)
}

/// Where the elements of the outermost `plugins` stand in `text`, which is valid JSON. Of a key that stands twice the
/// last counts, as for every reader.
fn elements(text: &str) -> Result<Vec<Range<usize>>, ConfError> {
    let mut found = None;
    let (mut depth, mut at) = (0_usize, 0);
    let bytes = text.as_bytes();
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                let end = string_end(bytes, at);
                let key: Option<String> = text
                    .get(at..end)
                    .and_then(|key| serde_json::from_str(key).ok());
                at = end;
                let after = skip_space(bytes, at);
                if depth == 1
                    && bytes.get(after) == Some(&b':')
                    && key.as_deref() == Some("plugins")
                {
                    let value = skip_space(bytes, after + 1);
                    if bytes.get(value) == Some(&b'[') {
                        let (elements, end) = array(bytes, value);
                        found = Some(elements);
                        at = end;
                    }
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    found.ok_or(ConfError::Shape("plugins is missing or no array"))
}

/// The elements of the array that begins at `open`, and where it ends.
fn array(bytes: &[u8], open: usize) -> (Vec<Range<usize>>, usize) {
    let mut elements = Vec::new();
    let (mut depth, mut at) = (0_usize, open);
    let mut start: Option<usize> = None;
    let mut last = open;
    while let Some(&byte) = bytes.get(at) {
        let here = at;
        at = if byte == b'"' {
            string_end(bytes, at)
        } else {
            at + 1
        };
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        let ends = depth == 0 || (depth == 1 && byte == b',');
        if ends {
            elements.extend(start.take().map(|start| start..last));
            if depth == 0 {
                break;
            }
        } else if !byte.is_ascii_whitespace() && here != open {
            start.get_or_insert(here);
            last = at;
        }
    }
    (elements, at)
}

/// Just behind the string that begins at `quote`.
fn string_end(bytes: &[u8], quote: usize) -> usize {
    let mut at = quote + 1;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => break,
            b'\\' => at += 1,
            _ => {}
        }
    }
    at.min(bytes.len())
}

fn skip_space(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest
        .iter()
        .take_while(|byte| byte.is_ascii_whitespace())
        .count()
}

#[cfg(test)]
mod tests;
