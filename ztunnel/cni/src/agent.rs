//! Asks the node's agent.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use culvert_cni_wire::{Answer, Command, LONGEST, Question, SOCKET};

use crate::call::{Call, Verb};

/// Longer than the agent holds a pod.
const PATIENCE: Duration = Duration::from_secs(30);
/// Nobody waits for the farewell.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the agent says.
pub(crate) fn ask(call: &Call) -> io::Result<Answer> {
    let path = call.run_dir.join(SOCKET);
    let socket = UnixStream::connect(&path).map_err(|error| named(&path, &error))?;
    let patience = if call.verb == Verb::Add {
        PATIENCE
    } else {
        FAREWELL
    };
    socket.set_read_timeout(Some(patience))?;
    socket.set_write_timeout(Some(FAREWELL))?;
    let command = if call.verb == Verb::Add {
        Command::Add
    } else {
        Command::Del
    };
    let question = Question {
        command,
        namespace: call.namespace.clone(),
        name: call.name.clone(),
        uid: call.uid.clone(),
        container: call.container.clone(),
        addresses: call.addresses(),
    };
    let netns = match call.verb {
        Verb::Add => Some(File::open(&call.netns).map_err(|error| named(&call.netns, &error))?),
        _ => None,
    };
    culvert_cni_wire::ask(
        &socket,
        &question,
        netns.as_ref().map(|netns| netns.as_fd()),
    )?;
    let mut line = Vec::new();
    let limit = u64::try_from(LONGEST).unwrap_or(u64::MAX);
    let read = socket.take(limit).read_to_end(&mut line);
    read.map_err(|error| named(&path, &error))?;
    if line.is_empty() {
        return Err(named(
            &path,
            &io::Error::other("the agent went while it was asked"),
        ));
    }
    culvert_cni_wire::decode(&line)
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
