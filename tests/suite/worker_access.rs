//! Who may send a worker plans, and a worker's way to S3.

use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::binary::tidegauge;
use super::harness::scratch;
use super::process::{self, Env};
use super::s3_server::S3Server;
use super::storm::Storm;
use super::worker_process::WorkerProcess;
use super::workers::{all_rows, flows_job, shapes, write_flows};

/// A job over a few files, and what it gives in one process.
struct Expected {
    input: tempfile::TempDir,
    rows: Vec<(String, Vec<String>)>,
}

impl Expected {
    async fn new() -> Self {
        let input = scratch();
        write_flows(input.path(), 5, 60);
        let folder = scratch();
        let job = Self::job(folder.path(), input.path());
        process::run(&job, &vec![], &["--once", "--drain"]).summary();
        let rows = all_rows(&job).await;
        Self { input, rows }
    }

    fn job(folder: &Path, input: &Path) -> PathBuf {
        let (_, sql) = &shapes()[0];
        flows_job(folder, input, sql, "")
    }

    /// Runs on `workers` and compares.
    async fn assert_same(&self, workers: &str, arguments: &[&str], env: &Env) {
        let folder = scratch();
        let job = Self::job(folder.path(), self.input.path());
        let arguments = [&["--once", "--drain", "--workers", workers], arguments].concat();
        process::run(&job, env, &arguments).summary();
        assert_eq!(all_rows(&job).await, self.rows);
    }

    /// Runs on `workers` and gives what is said when it fails.
    fn refused(&self, workers: &str, arguments: &[&str], env: &Env) -> String {
        let folder = scratch();
        let job = Self::job(folder.path(), self.input.path());
        let yaml = std::fs::read_to_string(&job).unwrap();
        std::fs::write(&job, yaml.replace("files_max: 3", "files_max: 3, retry: 0")).unwrap();
        let arguments = [&["--once", "--workers", workers], arguments].concat();
        let ended = process::run(&job, env, &arguments);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(!folder.path().join("out").exists(), "rows were written");
        ended.stderr
    }
}

fn list(workers: &[WorkerProcess]) -> String {
    let addresses: Vec<&str> = workers.iter().map(|worker| worker.address.as_str()).collect();
    addresses.join(",")
}

#[tokio::test]
async fn workers_with_tokens_run_what_comes_with_one_and_pass_it_on() {
    let expected = Expected::new().await;
    let folder = scratch();
    let made = tidegauge(folder.path(), &["token", "coordinator", "--role", "admin"], &[]).done();
    let token = made.split_whitespace().find(|word| word.starts_with("tg_")).unwrap();
    let line = made.lines().find_map(|line| line.strip_prefix("line ")).unwrap();
    let tokens: Env = vec![("TIDEGAUGE_TOKENS".to_owned(), line.trim().to_owned())];
    let workers: Vec<_> = (0..2).map(|_| WorkerProcess::start(&[], &tokens)).collect();
    let known: Env = vec![("TIDEGAUGE_WORKER_TOKEN".to_owned(), token.to_owned())];
    expected.assert_same(&list(&workers), &[], &known).await;
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{token}\n")).unwrap();
    let from_file = ["--worker-token-file", file.to_str().unwrap()];
    expected.assert_same(&list(&workers), &from_file, &vec![]).await;
    let said = expected.refused(&list(&workers), &[], &vec![]);
    assert!(said.contains("a token is needed"), "{said}");
    let other: Env = vec![("TIDEGAUGE_WORKER_TOKEN".to_owned(), format!("{token}x"))];
    let said = expected.refused(&list(&workers), &[], &other);
    assert!(said.contains("the token is not known here") && !said.contains(token), "{said}");
}

/// Writes a key and a certificate for 127.0.0.1 that `ca` signs.
fn certify(ca: &CertifiedIssuer<'_, KeyPair>, folder: &Path, name: &str) -> [String; 2] {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, ca).unwrap();
    let paths = ["pem", "key"].map(|end| folder.join(format!("{name}.{end}")));
    std::fs::write(&paths[0], certificate.pem()).unwrap();
    std::fs::write(&paths[1], key.serialize_pem()).unwrap();
    paths.map(|path| path.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn workers_with_mutual_tls_run_what_comes_with_a_certificate() {
    let expected = Expected::new().await;
    let folder = scratch();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, ca.pem()).unwrap();
    let ca_file = ca_file.to_str().unwrap();
    let [cert, key] = certify(&ca, folder.path(), "worker");
    let tls = ["--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", ca_file];
    let workers: Vec<_> = (0..2).map(|_| WorkerProcess::start(&tls, &vec![])).collect();
    let [cert, key] = certify(&ca, folder.path(), "coordinator");
    let known = ["--worker-ca", ca_file, "--worker-cert", &cert, "--worker-key", &key];
    expected.assert_same(&list(&workers), &known, &vec![]).await;
    let said = expected.refused(&list(&workers), &["--worker-ca", ca_file], &vec![]);
    assert!(said.contains("no worker can be reached"), "{said}");
    let said = expected.refused(&list(&workers), &[], &vec![]);
    assert!(said.contains("no worker can be reached"), "{said}");
}

#[test]
fn a_worker_that_others_can_reach_wants_tokens_or_certificates() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegauge"));
    let output = command
        .args(["worker", "--listen", "0.0.0.0:0"])
        .env_remove("TIDEGAUGE_TOKENS")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("a worker runs what it is sent: add --token-file"), "{said}");
}

#[tokio::test]
async fn workers_read_and_write_s3() {
    let Some(server) = S3Server::start() else { return };
    let storm = Storm::s3(&server, "workers", 12, 1_200).await;
    let (expected, _) = storm.undisturbed().await;
    let outcome = storm.outcome("on_workers");
    let workers: Vec<_> = (0..2).map(|_| WorkerProcess::start(&[], &outcome.env)).collect();
    let arguments = ["--once", "--drain", "--workers", &list(&workers)];
    process::run(&storm.job(), &outcome.env, &arguments).summary();
    outcome.assert_shows(&expected).await;
}
