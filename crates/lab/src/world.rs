//! The private world: own network, mount and process namespaces, and a user namespace besides when not root.
//!
//! The current program starts itself again inside, as the first process there. Invariant: the world cannot outlive the
//! process that opened it. The inner process ends when a pipe from the outer one closes, which the kernel does whatever
//! ended that; and with the first process the kernel ends every other one of the namespace, whose network namespaces,
//! rules and temporary files nobody then holds.

use crate::{Family, Lab, process, programs};
use anyhow::{Context, Result, bail, ensure};
use nix::{
    mount::{MsFlags, mount},
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::geteuid,
};
use std::{
    env, fs,
    io::{self, Read},
    path::Path,
    process::{Command, Stdio},
    sync::OnceLock,
    thread,
    time::Duration,
};

/// Set for the program inside; what counts besides is that it is the first process of its namespace.
const MARK: &str = "CULVERT_LAB";
/// A test's body ran to its end: not what libtest exits with when a name matches no test.
const PASSED: i32 = 86;
const TEST_DEADLINE: Duration = Duration::from_secs(300);
/// How much of each log a failed test shows.
const LOG_LINES: usize = 100;
/// Where the files of a world live: a tmpfs of its own.
pub const DIR: &str = "/run/lab";

/// Whether this process is the first one of a private world.
pub fn inside() -> bool {
    std::process::id() == 1 && env::var_os(MARK).is_some()
}

/// Enters a private world: returns only inside it.
///
/// The outer process starts its own program with its own arguments inside, waits, and exits with the same status.
/// An error says what this machine lacks.
pub fn enter() -> Result<()> {
    if inside() {
        return settle();
    }
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let mut child = command()?
        .args(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .context("unshare")?;
    // Held to the end: waiting would close it, and the world ends with it.
    let _alive = child.stdin.take();
    let status = child.wait().context("waiting for the private world")?;
    std::process::exit(status.code().unwrap_or(1));
}

/// Runs the test `name` (as libtest knows it) in a private world of its own, on a new [`Lab`].
///
/// To be called by that very `#[test]`: the test program starts itself again inside with `--exact NAME`.
///
/// # Panics
/// When the body fails or panics, the world can't be made, or the name is not the calling test's.
pub fn test(name: &str, body: impl FnOnce(&Lab) -> Result<()>) {
    test_with(Family::Dual, name, body);
}

/// [`test()`] with a choice of which addresses pods have.
///
/// # Panics
/// As [`test()`].
#[expect(clippy::panic, reason = "a test fails by panicking")]
pub fn test_with(family: Family, name: &str, body: impl FnOnce(&Lab) -> Result<()>) {
    let outcome = if inside() {
        run_body(family, body)
    } else {
        run_inside(name)
    };
    if let Err(error) = outcome {
        panic!("{error:?}");
    }
}

fn run_body(family: Family, body: impl FnOnce(&Lab) -> Result<()>) -> Result<()> {
    settle()?;
    let lab = Lab::with_family(family)?;
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(&lab)));
    match outcome {
        Ok(Ok(())) => std::process::exit(PASSED),
        Ok(Err(error)) => {
            lab.print_logs(LOG_LINES);
            Err(error)
        }
        Err(panic) => {
            lab.print_logs(LOG_LINES);
            std::panic::resume_unwind(panic);
        }
    }
}

fn run_inside(name: &str) -> Result<()> {
    let mut inner = command()?;
    inner.args(["--exact", name, "--nocapture", "--include-ignored"]);
    let output = process::complete(inner.stdin(Stdio::piped()), TEST_DEADLINE)?;
    let code = output.status.code();
    if code != Some(PASSED) {
        print!("{}{}", output.stdout, output.stderr);
    }
    ensure!(
        code != Some(0),
        "the test program knows no test of the name `{name}`"
    );
    ensure!(
        code == Some(PASSED),
        "the test failed in its private world ({})",
        output.status
    );
    Ok(())
}

/// This program, to be started inside a new world.
fn command() -> Result<Command> {
    programs::require(&[
        programs::UNSHARE,
        programs::NSENTER,
        programs::IP,
        programs::MOUNT,
    ])?;
    check_possible()?;
    let mut command = unshare();
    command
        .arg(env::current_exe().context("path of this program")?)
        .env(MARK, "1");
    Ok(command)
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    if !geteuid().is_root() {
        command.args(["--map-current-user", "--keep-caps"]);
    }
    command.args([
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child=KILL",
        "--mount-proc",
        "--",
    ]);
    command.env("PATH", programs::search_path());
    command
}

/// Tries once whether the kernel allows such a world, so that a refusal is told apart from the program's own failure.
fn check_possible() -> Result<()> {
    static POSSIBLE: OnceLock<Result<(), String>> = OnceLock::new();
    let outcome = POSSIBLE.get_or_init(|| {
        let output = unshare().args(["mount", "-t", "tmpfs", "lab", "/run"]).output().map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(if geteuid().is_root() {
            format!("root may not create network, mount and process namespaces here (needs CAP_SYS_ADMIN): {stderr}")
        } else {
            format!(
                "this user may not create namespaces here: {stderr}. Run as root, or allow it by \
                 `sysctl kernel.apparmor_restrict_unprivileged_userns=0` (Ubuntu) or \
                 `sysctl user.max_user_namespaces=10000`"
            )
        })
    });
    match outcome {
        Ok(()) => Ok(()),
        Err(reason) => bail!("no private world: {reason}"),
    }
}

/// What the first process of a new world does first.
fn settle() -> Result<()> {
    thread::Builder::new()
        .name("outer-alive".into())
        .spawn(|| {
            // Ends when the outer process is gone. Nothing is ever written to this pipe.
            let _ = io::stdin().read_to_end(&mut Vec::new());
            std::process::exit(1);
        })?;
    mount(
        Some("lab"),
        "/run",
        Some("tmpfs"),
        MsFlags::MS_NOSUID,
        Some("mode=0755"),
    )
    .context("mounting a tmpfs on /run")?;
    fs::create_dir_all(Path::new(DIR).join("logs"))?;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    process::run("ip", &["link", "set", "lo", "up"])?;
    Ok(())
}
