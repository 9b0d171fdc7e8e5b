//! What a token may at a service: by its role, by its locations, and not what is the service's own.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::binary::tidegauge;
use super::harness::scratch;
use super::service_process::{Answer, Service, client};

/// A job that reads, writes and keeps its state where it is told.
fn job(name: &str, input: &str, sink: &str, state: &str, more: &str) -> Value {
    let text = format!(
        "name: {name}
sources:
  c:
    location: {input}
    format: json
    schema: {{ts: TIMESTAMP, password: VARCHAR}}
    event_time: {{column: ts, delay: 1s}}
sql: INSERT INTO out SELECT ts, password FROM c
sinks: {{out: {{location: {sink}}}}}
state: {{location: {state}}}
{more}
"
    );
    json!({ "job": text, "file": "job.yaml" })
}

/// A token file with a token for each of `made`, and those tokens.
fn tokens(folder: &Path, made: &[&[&str]]) -> Vec<String> {
    let (mut lines, mut tokens) = (String::new(), Vec::new());
    for arguments in made {
        let said = tidegauge(folder, &[&["token"][..], *arguments].concat(), &[]).done();
        let (token, line) = said.trim_end().split_once('\n').unwrap();
        tokens.push(token.strip_prefix("token ").unwrap().to_owned());
        lines += &format!("{}\n", line.strip_prefix("line ").unwrap());
    }
    fs::write(folder.join("tokens"), lines).unwrap();
    tokens
}

async fn submit(service: &Service, token: &str, job: &Value) -> Answer {
    let url = format!("{}/api/jobs", service.http);
    service.send(client().post(url).bearer_auth(token).json(job)).await
}

/// The folder, with its links followed.
fn root(folder: &TempDir) -> String {
    folder.path().canonicalize().unwrap().display().to_string()
}

#[tokio::test]
async fn a_token_for_queries_submits_nothing() {
    let folder = scratch();
    let made = tokens(folder.path(), &[&["analyst"], &["ops", "--role", "admin"]]);
    let arguments = ["--token-file", "tokens", "--submit-local", "--flight", "127.0.0.1:0"];
    let mut service = Service::start(folder.path(), &arguments, &[]);
    let flight = service.flight();
    let mine = job("mine", "in/", "out/", "state/", "");
    let refused = submit(&service, &made[0], &mine).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    let said = refused.body["error"].as_str().unwrap();
    assert!(said.contains("the role reader, which may not submit a job"), "{said}");
    assert!(said.contains("role:operator and locations:"), "{said}");
    assert_eq!(submit(&service, &made[1], &mine).await.status, 201);
    let stop = |token: &str| {
        client().post(format!("{}/api/jobs/mine/stop", service.http)).bearer_auth(token)
    };
    assert_eq!(service.send(stop(&made[0])).await.status, 403);
    for path in ["/api/jobs", "/api/jobs/mine"] {
        let asked = client().get(format!("{}{path}", service.http)).bearer_auth(&made[0]);
        assert_eq!(service.send(asked).await.status, 200, "{path}");
    }
    let asked = ["query", "SELECT name FROM system.jobs", "--to", &flight, "--format", "csv"];
    let said = tidegauge(folder.path(), &asked, &[("TIDEGAUGE_TOKEN", made[0].as_str())]).done();
    assert_eq!(said, "name\nmine\n");
}

#[tokio::test]
async fn a_line_without_a_role_may_query_and_no_more_and_is_named() {
    let folder = scratch();
    let made = tokens(folder.path(), &[&["old", "--role", "admin"]]);
    let lines = fs::read_to_string(folder.path().join("tokens")).unwrap();
    fs::write(folder.path().join("tokens"), lines.replace(" role:admin", "")).unwrap();
    let arguments = ["--token-file", "tokens", "--submit-local"];
    let service = Service::start(folder.path(), &arguments, &[]);
    let mine = job("mine", "in/", "out/", "state/", "");
    assert_eq!(submit(&service, &made[0], &mine).await.status, 403);
    let asked = client().get(format!("{}/api/jobs", service.http)).bearer_auth(&made[0]);
    assert_eq!(service.send(asked).await.status, 200);
    let said = service.stop().stderr;
    assert!(said.contains("these tokens have no role") && said.contains("old"), "{said}");
}

#[tokio::test]
async fn an_operator_uses_its_own_locations_and_no_link_leads_out_of_them() {
    let folder = scratch();
    let root = root(&folder);
    let own = format!("{root}/own/");
    let made = tokens(
        folder.path(),
        &[&["team", "--role", "operator", "--location", &own], &["bare", "--role", "operator"]],
    );
    fs::create_dir_all(folder.path().join("own/in")).unwrap();
    fs::create_dir_all(folder.path().join("secrets")).unwrap();
    std::os::unix::fs::symlink(format!("{root}/secrets"), format!("{own}link")).unwrap();
    let arguments = ["--token-file", "tokens", "--submit-local"];
    let service = Service::start(folder.path(), &arguments, &[]);
    let at = |path: &str| format!("{root}/{path}");
    let (out, state) = (at("own/out/"), at("own/state/"));
    for (input, sink, kept) in [
        (at("secrets/"), out.clone(), state.clone()),
        (at("own/link/"), out.clone(), state.clone()),
        (at("own/link/*.json"), out.clone(), state.clone()),
        (at("own/../secrets/"), out.clone(), state.clone()),
        (format!("file://{}", at("own/link/")), out.clone(), state.clone()),
        ("own/link/".to_owned(), out.clone(), state.clone()),
        ("s3://secrets/".to_owned(), out.clone(), state.clone()),
        (at("own/in/"), at("own/link/out/"), state.clone()),
        (at("own/in/"), out.clone(), at("elsewhere/")),
    ] {
        let answer = submit(&service, &made[0], &job("x", &input, &sink, &kept, "")).await;
        assert_eq!(answer.status, 403, "{input} {sink} {kept}: {answer:?}");
        let said = answer.body["error"].as_str().unwrap();
        assert!(said.contains("is none that the token team may use"), "{said}");
    }
    let good = job("good", &at("own/in/"), &out, &state, "");
    assert_eq!(submit(&service, &made[1], &good).await.status, 403, "it has no locations");
    let answer = submit(&service, &made[0], &good).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

#[tokio::test]
async fn what_is_the_services_own_is_nobodys() {
    let folder = scratch();
    let root = root(&folder);
    let made = tokens(
        folder.path(),
        &[&["team", "--role", "operator", "--location", &root], &["ops", "--role", "admin"]],
    );
    for path in ["in", "out", "kept", "own"] {
        fs::create_dir_all(folder.path().join(path)).unwrap();
    }
    let first = job("first", "in/", "out/", "state/", "");
    fs::write(folder.path().join("first.yaml"), first["job"].as_str().unwrap()).unwrap();
    for (link, target) in [("s", "state"), ("o", "out"), ("k", "kept")] {
        std::os::unix::fs::symlink(format!("{root}/{target}"), format!("{root}/own/{link}"))
            .unwrap();
    }
    let arguments =
        ["--token-file", "tokens", "--submit-local", "--submitted", "kept/", "first.yaml"];
    let service = Service::start(folder.path(), &arguments, &[]);
    let first = format!("{}/api/jobs/first", service.http);
    while service.send(client().get(&first).bearer_auth(&made[1])).await.body["phase"] != "running"
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let at = |path: &str| format!("{root}/{path}");
    let new = |input: &str, sink: &str| job("new", input, sink, &at("new_state/"), "");
    for (input, sink) in [
        (at("state/first/log/*.json"), at("new_out/")),
        (at("own/s/first/"), at("new_out/")),
        (at("own/"), at("new_out/")),
        (at("kept/"), at("new_out/")),
        (at("own/k/*.json"), at("new_out/")),
        (at("tokens"), at("new_out/")),
        (at("new_in/"), at("own/o/")),
        (at("new_in/"), at("own/s/first/runs/")),
        (at("new_in/"), at("own/k/")),
    ] {
        for token in &made {
            let answer = submit(&service, token, &new(&input, &sink)).await;
            assert_eq!(answer.status, 403, "{input} {sink}: {answer:?}");
            let said = answer.body["error"].as_str().unwrap();
            assert!(said.contains("which a submitted job may not"), "{said}");
        }
    }
    // Jobs chain where an admin says so.
    let chained = new(&at("out/"), &at("new_out/"));
    assert_eq!(submit(&service, &made[0], &chained).await.status, 403);
    let answer = submit(&service, &made[1], &chained).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

#[tokio::test]
async fn a_submitted_job_is_no_larger_than_the_service_lets_it() {
    let folder = scratch();
    let service = Service::start(folder.path(), &["--submit-partitions-max", "4"], &[]);
    let more = "memory_max: 100TiB\npartitions: 5\nepoch: {interval: 1ms}";
    let mut large = job("large", "in/", "out/", "state/, cache_max: 2GiB", more);
    let answer = service.post("/api/jobs", &large).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    let said = answer.body["text"].as_str().unwrap();
    for (path, flag) in [
        ("memory_max: ", "--submit-memory-max"),
        ("partitions: ", "--submit-partitions-max"),
        ("epoch.interval: 1ms is shorter than 50ms", "--submit-interval-min"),
        ("state.cache_max: ", "--submit-cache-max"),
    ] {
        assert!(said.contains(path) && said.contains(flag), "{said}");
    }
    large = job("large", "in/", "out/", "state/", "memory_max: 64MiB\npartitions: 4");
    assert_eq!(service.post("/api/jobs", &large).await.status, 201);
}
