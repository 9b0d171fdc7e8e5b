//! The real binary as a child process: started with an environment of its own, waited for within
//! a bound, killed or signalled by its pid.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than any run of a test takes on a busy machine.
pub(super) const RUN_MAX: Duration = Duration::from_secs(120);

/// Variables that would lead a request away from loopback, or change what is logged.
const FORGOTTEN: [&str; 9] = [
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "AWS_PROFILE",
    "AWS_SESSION_TOKEN",
    "RUST_LOG",
];

/// Environment variables by name.
pub(super) type Env = Vec<(String, String)>;

/// A process that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its exit code; none where a signal ended it.
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Ended {
    /// The summary of `--summary json`, where the run ended well.
    pub(super) fn summary(&self) -> serde_json::Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|bad| panic!("{bad}: {self:?}"))
    }
}

/// Starts `tidegauge run JOB --summary json ARGUMENTS`.
pub(super) fn start(job: &Path, env: &Env, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegauge"));
    for name in FORGOTTEN {
        command.env_remove(name);
    }
    command
        .arg("run")
        .arg(job)
        .args(["--summary", "json"])
        .args(arguments)
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits for the end of a process; one that takes longer than `max` is killed and fails the test.
pub(super) fn wait(mut child: Child, max: Duration) -> Ended {
    let started = Instant::now();
    let mut is_over = false;
    while !is_over {
        is_over = child.try_wait().unwrap().is_some();
        if !is_over && started.elapsed() > max {
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            panic!("still running after {max:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs to the end.
pub(super) fn run(job: &Path, env: &Env, arguments: &[&str]) -> Ended {
    wait(start(job, env, arguments), RUN_MAX)
}

/// Sends a signal, such as `TERM`.
pub(super) fn signal(child: &Child, name: &str) {
    let sent =
        Command::new("sh").args(["-c", &format!("kill -{name} {}", child.id())]).status().unwrap();
    assert!(sent.success());
}
