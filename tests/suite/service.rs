//! The service: jobs that do not touch each other, submitting, who may, and how it ends.

use std::path::Path;
use std::time::Duration;

use insta::assert_snapshot;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::binary::{Finished, tidegauge};
use super::harness::scratch;
use super::s3_server::env_of;
use super::service_process::{Service, client, refused};

const SQL: &str = "INSERT INTO out
SELECT window_start, tenant, sum(bytes) AS bytes
FROM TUMBLE(flows, ts, INTERVAL '1 minute')
WHERE bytes > 0
GROUP BY window_start, tenant
";

fn yaml(name: &str, input: &str) -> String {
    format!(
        "name: {name}
sources:
  flows:
    location: {input}
    format: json
    schema: {{ts: TIMESTAMP, tenant: VARCHAR, bytes: BIGINT}}
    event_time: {{column: ts, delay: 1s}}
sql: ../sql/minutes.sql
sinks:
  out: {{location: out/{name}/}}
epoch: {{interval: 50ms}}
state: {{location: state/}}
"
    )
}

fn put(folder: &Path, path: &str, text: &str) {
    let path = folder.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Rows of one minute, the first of which the query filters out.
fn rows(minute: u32) -> String {
    (0..4)
        .map(|n| {
            format!(
                "{{\"ts\": \"2026-01-01T00:{minute:02}:0{n}Z\", \"tenant\": \"a\", \"bytes\": {n}}}\n"
            )
        })
        .collect()
}

/// A folder with the jobs `names`, each of which reads `in/<name>/`.
fn folder_with(names: &[&str]) -> TempDir {
    let folder = scratch();
    put(folder.path(), "sql/minutes.sql", SQL);
    for name in names {
        let input = format!("in/{name}/");
        put(folder.path(), &format!("jobs/{name}.yaml"), &yaml(name, &input));
        put(folder.path(), &format!("{input}0.json"), &rows(0));
    }
    folder
}

fn is(phase: &str) -> impl Fn(&Value) -> bool {
    move |job| job["phase"] == phase
}

/// Runs a command against `service`, without a token of the environment.
fn ask(service: &Service, folder: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Finished {
    let to = [arguments, &["--to", &service.http]].concat();
    tidegauge(folder, &to, &[&[("NO_PROXY", "*")], env].concat())
}

#[tokio::test]
async fn a_job_that_fails_is_started_again_and_does_not_touch_the_other() {
    let folder = folder_with(&["good", "lost"]);
    let away = folder.path().join("in/lost");
    std::fs::remove_dir_all(&away).unwrap();
    let service = Service::start(folder.path(), &["jobs/good.yaml", "jobs/lost.yaml"], &[]);
    let lost = service.job_that("lost", |job| job["restarts"].as_u64() >= Some(1)).await;
    assert!(lost["last_error"].as_str().unwrap().contains("in/lost"), "{lost}");
    assert_eq!(lost["epoch"], Value::Null);

    let before = service.job_that("good", |job| job["epoch"].as_u64() >= Some(1)).await;
    put(folder.path(), "in/good/1.json", &rows(5));
    let after = service.job_that("good", |job| job["epoch"] != before["epoch"]).await;
    assert_eq!((&after["restarts"], &after["phase"]), (&json!(0), &json!("running")), "{after}");
    assert_eq!(
        after["sources"]["flows"]["rows"],
        json!({"rows_in": 8, "used": 6, "filtered": 2, "late": 0, "quarantined": 0})
    );
    assert_eq!(after["rows_out"]["out"], 1, "the first minute is closed: {after}");

    put(folder.path(), "in/lost/0.json", &rows(0));
    let mended = service.job_that("lost", |job| job["epoch"] == 1).await;
    assert_eq!(mended["phase"], "running");
    assert!(mended["last_error"].is_string(), "what went wrong last stays to be read: {mended}");
    assert_eq!(service.stop().code, Some(0));
}

#[tokio::test]
async fn a_file_with_a_bad_record_is_left_out_and_a_changed_job_is_not_tried_again() {
    let folder = folder_with(&["flaw", "changed"]);
    tidegauge(folder.path(), &["run", "jobs/changed.yaml", "--once"], &[]).done();
    put(folder.path(), "sql/other.sql", &SQL.replace("> 0", "> 1"));
    let other = yaml("changed", "in/changed/").replace("minutes.sql", "other.sql");
    put(folder.path(), "jobs/changed.yaml", &other);
    put(folder.path(), "in/flaw/1.json", "{\"ts\": \"2026-01-01T00:01:00Z\", \"bytes\": \"many\"}");
    let service = Service::start(folder.path(), &["jobs/flaw.yaml", "jobs/changed.yaml"], &[]);
    let changed = service.job_that("changed", is("failed")).await;
    assert!(changed["last_error"].as_str().unwrap().contains("has changed"), "{changed}");
    let ready = service.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.body["reasons"], json!([{"job": "changed", "phase": "failed"}]));
    let parked = |files: u64| {
        move |job: &Value| job["sources"]["flows"]["files_parked"].as_u64() == Some(files)
    };
    let flaw = service.job_that("flaw", parked(1)).await;
    let said = flaw["sources"]["flows"]["parked"][0]["error"].as_str().unwrap();
    assert!(said.contains("in/flaw/1.json:1: field bytes"), "{flaw}");
    assert_eq!((&flaw["phase"], &flaw["restarts"]), (&json!("running"), &json!(0)), "{flaw}");
    assert_eq!(flaw["sources"]["flows"]["rows"]["rows_in"], 4, "{flaw}");
    std::fs::remove_file(folder.path().join("in/flaw/1.json")).unwrap();
    service.job_that("flaw", parked(0)).await;
    assert_eq!(service.job_that("changed", |_| true).await["restarts"], 0);
}

#[tokio::test]
async fn a_bad_job_is_answered_with_what_check_prints() {
    let folder = folder_with(&["good"]);
    let service = Service::start(folder.path(), &[], &[]);
    let yaml = yaml("bad", "in/good/");
    let broken =
        yaml.replace("VARCHAR", "VARCHER").replace("1s", "1 sec").replace("name: ", "nam: ");
    let sql = "INSERT INTO nowhere SELECT tenant FROM flows;\nINSERT INTO out SELECT x FROM flows";
    for (job, sql) in [
        (broken.as_str(), SQL),
        (yaml.as_str(), sql),
        (yaml.as_str(), "INSERT INTO out\nSELECT tenant, count(*) AS n FORM flows"),
        (&yaml.replace("in/good/", "${NOT_SET}/"), SQL),
        (&yaml.replace("minutes.sql", "missing.sql"), SQL),
        (&yaml.replace("../sql/minutes.sql", "INSERT INTO out SELECT x FROM flows"), SQL),
        ("name: [", SQL),
    ] {
        put(folder.path(), "jobs/bad.yaml", job);
        put(folder.path(), "sql/minutes.sql", sql);
        let checked = tidegauge(folder.path(), &["check", "jobs/bad.yaml"], &[]).failed(2);
        let submitted = ask(&service, folder.path(), &["submit", "jobs/bad.yaml"], &[]).failed(2);
        assert_eq!(submitted, checked);
    }
    let body = json!({"file": "jobs/bad.yaml", "job": broken, "sql": SQL});
    let answer = service.post("/api/jobs", &body).await;
    assert_eq!(answer.status, 400);
    put(folder.path(), "jobs/bad.yaml", &broken);
    put(folder.path(), "sql/minutes.sql", SQL);
    let checked = tidegauge(folder.path(), &["check", "jobs/bad.yaml"], &[]).failed(2);
    assert_eq!(answer.body["text"].as_str().unwrap(), checked.trim_end());
    let problems = answer.body["problems"].as_array().unwrap();
    assert_eq!(problems.len(), checked.trim_end().lines().count());
    assert_eq!(
        problems.iter().find(|problem| problem["line"] == 6).unwrap(),
        &json!({
            "file": "jobs/bad.yaml",
            "line": 6,
            "path": "sources.flows.schema.tenant",
            "message": "\"VARCHER\" is not a type; write VARCHAR",
        })
    );
    assert_eq!(service.get("/api/jobs").await.body, json!({"jobs": []}));
}

#[tokio::test]
async fn a_job_is_submitted_listed_shown_stopped_and_kept() {
    let folder = folder_with(&["one", "two"]);
    let serve = ["--submitted", "submitted/"];
    let service = Service::start(folder.path(), &serve, &[]);
    let said = ask(&service, folder.path(), &["list"], &[]).done();
    assert_snapshot!(said, @"no jobs");
    for name in ["one", "two"] {
        let job = format!("jobs/{name}.yaml");
        let said = ask(&service, folder.path(), &["submit", &job], &[]).done();
        assert_eq!(said, format!("{name}: submitted; it is started again with the service\n"));
        service.job_that(name, |job| job["epoch"] == 1).await;
    }
    let said = ask(&service, folder.path(), &["submit", "jobs/one.yaml"], &[]).failed(1);
    assert!(said.contains("a job one is there already; stop it first"), "{said}");
    let said = ask(&service, folder.path(), &["list"], &[]).done();
    assert!(said.contains("one") && said.contains("running") && said.contains("lag_ms"), "{said}");
    let said = ask(&service, folder.path(), &["status", "one"], &[]).done();
    assert!(
        said.starts_with("one: running\n  epoch 1\n  watermark 2026-01-01T00:00:02Z"),
        "{said}"
    );
    let fates = "source flows: rows_in 4, used 3, filtered 1, late 0, quarantined 0";
    assert!(said.contains(fates) && said.contains("origin submitted"), "{said}");
    assert!(said.contains(" of flows: used 3, filtered 1, late 0\n"), "the stage, too: {said}");
    assert!(said.contains("  sink out: 0 rows\n"), "no window is closed yet: {said}");
    let said = ask(&service, folder.path(), &["stop", "two"], &[]).done();
    assert_snapshot!(said, @"two: stopped");
    let said = ask(&service, folder.path(), &["stop", "none"], &[]).failed(1);
    assert!(said.contains("there is no job \"none\"; there are one, two"), "{said}");
    assert_eq!(service.stop().code, Some(0));

    // The files are not needed any more: what was submitted is with the service.
    std::fs::remove_dir_all(folder.path().join("jobs")).unwrap();
    std::fs::remove_dir_all(folder.path().join("sql")).unwrap();
    let service = Service::start(folder.path(), &serve, &[]);
    put(folder.path(), "in/one/1.json", &rows(5));
    service.job_that("one", |job| job["epoch"] == 2 && job["phase"] == "running").await;
    let out = ask(&service, folder.path(), &["list", "--format", "json"], &[]).done();
    let jobs: Value = serde_json::from_str(&out).unwrap();
    let phases: Vec<(&Value, &Value)> =
        jobs["jobs"].as_array().unwrap().iter().map(|job| (&job["name"], &job["phase"])).collect();
    assert_eq!(
        phases,
        [(&json!("one"), &json!("running")), (&json!("two"), &json!("stopped"))],
        "{out}"
    );
}

#[tokio::test]
async fn a_kept_job_that_no_longer_fits_is_shown_and_holds_up_no_other() {
    let folder = folder_with(&["one", "mine"]);
    let kept = json!({
        "format_version": 1,
        "is_stopped": false,
        "text": {"file": "old.yaml", "job": "name: old", "sql": null, "variables": {}},
    });
    put(folder.path(), "submitted/old.json", &kept.to_string());
    let arguments = ["--submitted", "submitted/", "jobs/mine.yaml"];
    let service = Service::start(folder.path(), &arguments, &[]);
    service.job_that("mine", is("running")).await;
    let old = service.job_that("old", is("failed")).await;
    assert!(old["last_error"].as_str().unwrap().contains("old.yaml:1: sources: is missing"));
    assert_eq!(service.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn jobs_that_write_to_one_place_are_refused_with_both_names() {
    let folder = folder_with(&["one", "two"]);
    let taken = yaml("two", "in/two/").replace("out/two/", "out/one/");
    put(folder.path(), "jobs/two.yaml", &taken);
    let why = "the job two: the sink out at out/one/ overlaps with the sink out of the job one at \
               out/one/; write another location";
    let serve = ["--http", "127.0.0.1:0", "jobs/one.yaml", "jobs/two.yaml"];
    assert_eq!(refused(folder.path(), &serve), format!("error: {why}\n"));

    let service = Service::start(folder.path(), &["jobs/one.yaml"], &[]);
    let answer = service.post("/api/jobs", &json!({"job": taken, "sql": SQL})).await;
    let said = "sinks.out.location: \"out/one/\" leads to sinks.out.location of the job one, which a \
                submitted job may not write to; write another location";
    assert_eq!((answer.status, &answer.body["error"]), (403, &json!(said)));
    let answer = service.post("/api/jobs/one/stop", &Value::Null).await;
    assert!([200, 202].contains(&answer.status), "{answer:?}");
    service.job_that("one", is("stopped")).await;
    let again = json!({"job": yaml("one", "in/one/"), "sql": SQL});
    let answer = service.post("/api/jobs", &again).await;
    assert_eq!(answer.status, 409, "its file will start it again: {answer:?}");
}

#[tokio::test]
async fn a_submitted_job_reads_nothing_of_the_service() {
    let folder = folder_with(&["one"]);
    let env = [("SECRET", "s3cret")];
    let service = Service::start(folder.path(), &[], &env);
    let leak = yaml("leak", "in/${SECRET}/");
    let answer = service.post("/api/jobs", &json!({"job": leak, "file": "jobs/leak.yaml"})).await;
    assert_snapshot!(answer.body["text"].as_str().unwrap(), @r#"
    jobs/leak.yaml:4: sources.flows.location: the environment variable SECRET is not set; set it, or write ${SECRET:-default}
    jobs/leak.yaml:8: sql: "../sql/minutes.sql" cannot be read: jobs/../sql/minutes.sql: its text was not sent along; write the path from the job file
    "#);
    // The variables of who submits it go along.
    put(folder.path(), "jobs/leak.yaml", &leak);
    let mine = [("SECRET", "one")];
    ask(&service, folder.path(), &["submit", "jobs/leak.yaml"], &mine).done();
    service.job_that("leak", |job| job["epoch"] == 1).await;
}

#[tokio::test]
async fn every_refusal_is_json() {
    let folder = folder_with(&[]);
    let service = Service::start(folder.path(), &[], &[]);
    let url = |path: &str| format!("{}{path}", service.http);
    let jobs = url("/api/jobs");
    let json =
        |request: reqwest::RequestBuilder| request.header("content-type", "application/json");
    for (status, said, request) in [
        (404, "there is nothing at /api/job", client().get(url("/api/job"))),
        (404, "there is no job \"x\"; there are none", client().get(url("/api/jobs/x"))),
        (404, "there is no job \"x\"", client().post(url("/api/jobs/x/stop"))),
        (405, "/api/jobs is not for DELETE", client().delete(&jobs)),
        (405, "/readyz is not for POST", client().post(url("/readyz"))),
        (413, "at most 1 MiB", json(client().post(&jobs)).body(vec![b' '; (1 << 20) + 1])),
        (415, "as application/json", client().post(&jobs).body("{}")),
        (400, "send {\"job\":", json(client().post(&jobs)).body("{")),
        (422, "missing field `job`", json(client().post(&jobs)).body("{}")),
        (422, "unknown field `jobs`", json(client().post(&jobs)).body("{\"jobs\": 1}")),
        (403, "--token-file", client().post(url("/api/jobs/x/stop")).header("origin", "http://x")),
        (403, "--token-file", client().get(&jobs).header("host", "evil.example")),
    ] {
        let shown = format!("{request:?}");
        let answer = service.send(request).await;
        let error = answer.body["error"].as_str().unwrap_or_default();
        assert_eq!(answer.status, status, "{shown}: {answer:?}");
        assert!(error.contains(said), "{shown}: {answer:?}");
    }
}

#[tokio::test]
async fn a_door_to_others_needs_tokens_and_asks_for_them() {
    let folder = folder_with(&["one"]);
    let said = refused(folder.path(), &["--http", "0.0.0.0:0", "jobs/one.yaml"]);
    assert!(said.contains("needs tokens: add --token-file"), "{said}");
    let said = refused(folder.path(), &["jobs/one.yaml"]);
    assert!(said.contains("add --http 127.0.0.1:8080"), "{said}");
    put(folder.path(), "broken.txt", "ana tg_0123");
    let said = refused(folder.path(), &["--http", "127.0.0.1:0", "--token-file", "broken.txt"]);
    assert!(said.contains("broken.txt:1: the token ana is not given by its sha256:"), "{said}");

    let made = tidegauge(folder.path(), &["token", "ana", "--role", "admin"], &[]).done();
    let (token, line) = made.trim_end().split_once('\n').unwrap();
    let token = token.strip_prefix("token ").unwrap();
    put(folder.path(), "tokens.txt", line.strip_prefix("line ").unwrap());
    put(folder.path(), "mine.txt", token);
    let arguments = ["--token-file", "tokens.txt"];
    let service = Service::start_at("0.0.0.0:0", folder.path(), &arguments, &[]);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(service.get(path).await.status, 200, "probes carry no token");
    }
    for path in ["/api/jobs", "/api/jobs/one", "/metrics", "/nowhere"] {
        assert_eq!(service.get(path).await.status, 401, "{path}");
    }
    let wrong = client().get(format!("{}/api/jobs", service.http)).bearer_auth("tg_00");
    assert_eq!(service.send(wrong).await.status, 401);
    let said = ask(&service, folder.path(), &["list"], &[]).failed(1);
    assert!(said.contains("a token is needed") && said.contains("TIDEGAUGE_TOKEN"), "{said}");
    ask(&service, folder.path(), &["list"], &[("TIDEGAUGE_TOKEN", token)]).done();
    ask(&service, folder.path(), &["list", "--token-file", "mine.txt"], &[]).done();

    let submit = ["submit", "jobs/one.yaml", "--token-file", "mine.txt"];
    let said = ask(&service, folder.path(), &submit, &[]).failed(2);
    assert_eq!(said.lines().count(), 3, "source, sink and state: {said}");
    assert!(said.contains("sources.flows.location: \"in/one/\" is on the disk of the service"));
    let service = service.with_token(token);
    assert_eq!(service.get("/api/jobs").await.body, json!({"jobs": []}));
    assert!(service.stop().stderr.contains("tokens come in the clear"));
}

#[tokio::test]
async fn tokens_may_come_from_the_environment() {
    let folder = folder_with(&[]);
    let made = tidegauge(folder.path(), &["token", "ci"], &[]).done();
    let (token, line) = made.trim_end().split_once('\n').unwrap();
    let env = [("TIDEGAUGE_TOKENS", line.strip_prefix("line ").unwrap())];
    let service = Service::start(folder.path(), &[], &env);
    assert_eq!(service.get("/api/jobs").await.status, 401, "loopback, too, where there are tokens");
    let service = service.with_token(token.strip_prefix("token ").unwrap());
    assert_eq!(service.get("/api/jobs").await.status, 200);
}

#[tokio::test]
async fn the_door_speaks_tls_with_its_certificate() {
    let folder = folder_with(&["one"]);
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    put(folder.path(), "cert.pem", &made.cert.pem());
    put(folder.path(), "key.pem", &made.signing_key.serialize_pem());
    let tls = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    let service = Service::start(folder.path(), &tls, &[]);
    assert!(service.http.starts_with("https://127.0.0.1:"), "{}", service.http);
    let submit = ["submit", "jobs/one.yaml"];
    ask(&service, folder.path(), &[&submit[..], &["--ca", "cert.pem"]].concat(), &[]).done();
    let said = ask(&service, folder.path(), &submit, &[]).failed(1);
    assert!(said.contains("no answer from https://") && said.contains("needs --ca"), "{said}");
    assert_eq!(service.stop().code, Some(0));

    let said = refused(folder.path(), &["--http", "127.0.0.1:0", "--tls-cert", "cert.pem"]);
    assert!(said.contains("add --tls-key"), "{said}");
    let wrong = ["--http", "127.0.0.1:0", "--tls-cert", "cert.pem", "--tls-key", "cert.pem"];
    let said = refused(folder.path(), &wrong);
    assert!(said.contains("cert.pem: this is no private key in PEM"), "{said}");
}

#[tokio::test]
async fn no_service_at_the_address_is_said() {
    let folder = scratch();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", taken.local_addr().unwrap());
    drop(taken);
    let env = [("NO_PROXY", "*")];
    let said = tidegauge(folder.path(), &["list", "--to", &url], &env).failed(1);
    assert!(said.contains(&format!("no answer from {url}/")) && said.contains("refused"), "{said}");
    let said = tidegauge(folder.path(), &["list", "--to", "127.0.0.1:80"], &env).failed(2);
    assert!(said.contains("write a URL such as"), "{said}");
}

#[tokio::test]
async fn the_service_is_ready_when_its_jobs_were_open() {
    let folder = folder_with(&["one", "two"]);
    let blocked = yaml("two", "in/two/").replace("state/", "blocked/");
    put(folder.path(), "jobs/two.yaml", &blocked);
    put(folder.path(), "blocked", "a file where the folder of the state should be");
    let service = Service::start(folder.path(), &["jobs/one.yaml", "jobs/two.yaml"], &[]);
    service.job_that("one", |job| job["epoch"] == 1).await;
    service.job_that("two", is("restarting")).await;
    let ready = service.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.body["ready"], false);
    assert_eq!(ready.body["reasons"][0]["job"], "two", "{ready:?}");
    assert_eq!(service.get("/healthz").await.status, 200, "it is alive all the time");
    std::fs::remove_file(folder.path().join("blocked")).unwrap();
    service.job_that("two", |job| job["epoch"] == 1).await;
    let ready = service.get("/readyz").await;
    assert_eq!((ready.status, ready.body), (200, json!({"ready": true, "reasons": []})));
}

#[tokio::test]
async fn a_second_signal_ends_a_service_whose_job_waits() {
    let folder = folder_with(&["one", "stuck"]);
    put(folder.path(), "jobs/stuck.yaml", &yaml("stuck", "s3://tide/in/"));
    // It takes connections and answers none.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut env = env_of(silent.local_addr().unwrap().port());
    env.push(("TIDEGAUGE_S3_TIMEOUT_MS".to_owned(), "60000".to_owned()));
    let env: Vec<(&str, &str)> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let mut service = Service::start(folder.path(), &["jobs/one.yaml", "jobs/stuck.yaml"], &env);
    service.job_that("stuck", is("running")).await;
    service.job_that("one", |job| job["epoch"] == 1).await;
    service.signal("TERM");
    service.job_that("one", is("stopped")).await;
    let stuck = service.job_that("stuck", |_| true).await;
    assert_eq!((&stuck["phase"], &stuck["stopping"]), (&json!("running"), &json!(true)));
    let ready = service.get("/readyz").await;
    assert_eq!((ready.status, &ready.body["reasons"][0]), (503, &json!("the service is stopping")));
    assert_eq!(
        service.post("/api/jobs", &json!({"job": yaml("new", "in/new/"), "sql": SQL})).await.status,
        503
    );
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(service.is_running(), "the first signal lets the epoch finish");
    service.signal("INT");
    let ended = service.ended();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("second signal"), "{ended:?}");
}
