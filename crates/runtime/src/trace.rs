//! Logs: text for people or JSON for machines, to stderr, at a level that can be changed while running.

mod lines;

pub use lines::Log;

use std::io::IsTerminal as _;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

/// The environment variable that overrides the default filter.
pub const ENV: &str = "CULVERT_LOG";

static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("log format {other:?} is neither text nor json")),
        }
    }
}

/// Why logging could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The filter does not parse.
    #[error("log filter {filter:?}: {source}")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logging was set up before, by this process.
    #[error("logging is already set up")]
    AlreadySetUp,
    /// The thread that writes lines cannot be started.
    #[error("the log's thread: {0}")]
    Thread(std::io::Error),
    /// Logging was not set up by [`init`].
    #[error("logging is not set up")]
    NotSetUp,
}

/// Set up logging once, with the filter of `CULVERT_LOG`, else `default_filter`. What is logged is written out at the
/// latest when the [`Log`] is dropped.
pub fn init(format: Format, default_filter: &str) -> Result<Log, TraceError> {
    if FILTER.get().is_some() {
        return Err(TraceError::AlreadySetUp);
    }
    let filter = std::env::var(ENV).unwrap_or_else(|_unset| default_filter.to_owned());
    let (filter, handle) = reload::Layer::new(parse(&filter)?);
    let (writer, log) = lines::start(std::io::stderr()).map_err(TraceError::Thread)?;
    let lines = match format {
        Format::Text => fmt::layer()
            .with_writer(Arc::new(writer))
            .with_ansi(std::io::stderr().is_terminal())
            .boxed(),
        Format::Json => fmt::layer()
            .with_writer(Arc::new(writer))
            .json()
            .flatten_event(true)
            .boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    subscriber
        .try_init()
        .map_err(|_already| TraceError::AlreadySetUp)?;
    FILTER
        .set(handle)
        .map_err(|_already| TraceError::AlreadySetUp)?;
    Ok(log)
}

/// Change the filter of the running process, as `debug` or `info,culvert_hbone=trace`.
pub fn set_level(filter: &str) -> Result<(), TraceError> {
    let parsed = parse(filter)?;
    let handle = FILTER.get().ok_or(TraceError::NotSetUp)?;
    handle.reload(parsed).map_err(|_gone| TraceError::NotSetUp)
}

/// What the HTTP/2 engine says below an error is about frames that a peer chose to send: a peer must not be able to fill
/// our log with it. A filter that names the engine has its way.
const QUIET: &str = "h2=error";

fn parse(filter: &str) -> Result<EnvFilter, TraceError> {
    let parsed = if filter.contains("h2") {
        EnvFilter::try_new(filter)
    } else {
        EnvFilter::try_new(format!("{QUIET},{filter}"))
    };
    parsed.map_err(|source| TraceError::Filter {
        filter: filter.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_changes_while_running_and_nonsense_is_refused() {
        assert!(matches!(set_level("debug"), Err(TraceError::NotSetUp)));
        let _log = init(Format::Json, "error").unwrap();
        assert!(!tracing::enabled!(tracing::Level::DEBUG));
        set_level("debug").unwrap();
        assert!(tracing::enabled!(tracing::Level::DEBUG));
        let error = set_level("culvert=loud").unwrap_err();
        assert!(error.to_string().contains("culvert=loud"), "{error}");
        assert!(matches!(
            init(Format::Text, "info"),
            Err(TraceError::AlreadySetUp)
        ));
        assert!("xml".parse::<Format>().is_err());
    }
}
