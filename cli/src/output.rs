//! The ways to show a result: a table for people, JSON or YAML for programs.

use anyhow::Result;
use clap::ValueEnum;
use culvert_runtime::yaml;
use serde_json::Value;

/// `-o`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For both.
    Yaml,
}

/// Prints `value` as the format says, by `table` for people.
pub(crate) fn print(
    format: Format,
    value: &Value,
    table: impl FnOnce() -> Result<String>,
) -> Result<()> {
    match format {
        Format::Table => print!("{}", table()?),
        Format::Json => println!("{}", serde_json::to_string_pretty(value)?),
        Format::Yaml => print!("{}", yaml::of(value)),
    }
    Ok(())
}
