//! culvert-cni: the last plugin of a node's chain. It lets a pod of the mesh start when the agent has captured it.
//!
//! Invariants: it holds nobody who is not in the mesh, whatever is broken; it lets nobody of the mesh start uncaptured;
//! it asks no DNS, and ends by itself.

mod agent;
mod api;
mod call;
mod decide;

use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use call::{Call, Failure};

fn main() -> ExitCode {
    let mut config = Vec::new();
    let read = std::io::stdin()
        .take(call::LONGEST)
        .read_to_end(&mut config);
    let env = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let answered = read
        .map_err(|error| Failure::invalid(format!("standard input: {error}")))
        .and_then(|_| Call::parse(env, &config))
        .and_then(|call| decide::answer(&call));
    let (text, code) = match answered {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(failure) => (failure.to_json(&call::version(&config)), ExitCode::FAILURE),
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}
