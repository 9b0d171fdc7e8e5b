//! A service as a child process, and a client for its HTTP door.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::process::{self, Ended};

/// Longer than what is waited for takes on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A service that runs; it is killed when it is dropped.
pub(super) struct Service {
    child: Option<Child>,
    stdout: BufReader<ChildStdout>,
    stderr: PathBuf,
    /// Its HTTP door, by the address that it printed.
    pub(super) http: String,
    token: Option<String>,
}

/// An answer in JSON.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Service {
    /// Starts `tidegauge serve --http 127.0.0.1:0 ARGUMENTS` in `folder` and waits for its address.
    pub(super) fn start(folder: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Self {
        Self::start_at("127.0.0.1:0", folder, arguments, env)
    }

    pub(super) fn start_at(
        address: &str,
        folder: &Path,
        arguments: &[&str],
        env: &[(&str, &str)],
    ) -> Self {
        let stderr = folder.join("serve.log");
        let mut child = command(folder, &[&["--http", address], arguments].concat(), env)
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let Some(http) = line.trim().strip_prefix("http ") else {
            let said = std::fs::read_to_string(&stderr).unwrap();
            panic!("no address but {line:?}: {:?}: {said}", child.wait());
        };
        let http = http.replace("0.0.0.0", "127.0.0.1");
        Self { child: Some(child), stdout, stderr, http, token: None }
    }

    /// Shows `token` with every request from now on.
    pub(super) fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// The address of its Flight SQL door, which it prints after that of HTTP.
    pub(super) fn flight(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().strip_prefix("flight ").expect(&line).to_owned()
    }

    /// The number of its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub(super) fn signal(&self, name: &str) {
        process::signal(self.child.as_ref().unwrap(), name);
    }

    pub(super) fn is_running(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub(super) fn ended(&mut self) -> Ended {
        let ended = process::wait(self.child.take().unwrap(), WAIT_MAX);
        Ended { stderr: std::fs::read_to_string(&self.stderr).unwrap(), ..ended }
    }

    /// Stops it as a service manager does.
    pub(super) fn stop(mut self) -> Ended {
        self.signal("TERM");
        self.ended()
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(client().get(format!("{}{path}", self.http))).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(client().post(format!("{}{path}", self.http)).json(body)).await
    }

    /// Sends any request; each answer has to be JSON.
    pub(super) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {status}: {text}"));
        Answer { status, body }
    }

    /// A job, as soon as it is as `wanted` says.
    pub(super) async fn job_that(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let answer = self.get(&format!("/api/jobs/{name}")).await;
            if answer.status == 200 && wanted(&answer.body) {
                return answer.body;
            }
            assert!(began.elapsed() < WAIT_MAX, "still {answer:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// What `tidegauge serve ARGUMENTS` says when it refuses to start.
pub(super) fn refused(folder: &Path, arguments: &[&str]) -> String {
    let child = command(folder, arguments, &[]).stderr(Stdio::piped()).spawn().unwrap();
    let ended = process::wait(child, WAIT_MAX);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{ended:?}");
    ended.stderr
}

fn command(folder: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegauge"));
    command
        .current_dir(folder)
        .arg("serve")
        .args(arguments)
        .env_remove("RUST_LOG")
        .env_remove("TIDEGAUGE_TOKENS")
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

/// A client that no proxy of the environment leads astray.
pub(super) fn client() -> reqwest::Client {
    tidegauge::access::install_crypto();
    reqwest::Client::builder().no_proxy().build().unwrap()
}
