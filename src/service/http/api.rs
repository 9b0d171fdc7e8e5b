//! The paths and what each answers.
//!
//! ```text
//!  GET  /healthz               the process is alive
//!  GET  /readyz                every job of a job file was open at least once, or stands by
//!  GET  /metrics               for Prometheus
//!  GET  /api/jobs              a line for each job
//!  GET  /api/jobs/{name}       everything of one
//!  POST /api/jobs              submit one: a `JobText` in JSON
//!  POST /api/jobs/{name}/stop  stop one after its epoch
//! ```

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Extension, Path, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use tidegauge_spec::JobText;

use super::Metrics;
use super::answer::{JobAnswer, JobLine};
use super::guard::{Guard, guarded};
use super::problem::Refused;
use crate::access::Caller;
use crate::service::{Host, Hosted, Jobs as _};

const BODY_BYTES_MAX: usize = 1 << 20;

#[derive(Clone)]
struct Api {
    host: Arc<Host>,
    metrics: Metrics,
}

pub(super) fn router(host: Arc<Host>, metrics: Metrics, guard: Guard) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .route("/api/jobs", get(list).post(submit))
        .route("/api/jobs/{name}", get(status))
        .route("/api/jobs/{name}/stop", post(stop))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(guard, guarded))
        .with_state(Api { host, metrics })
}

async fn healthz() -> Response {
    Json(json!({ "alive": true })).into_response()
}

async fn readyz(State(api): State<Api>) -> Response {
    let (is_ready, body) = match api.host.not_ready() {
        None => (false, json!({ "ready": false, "reasons": ["the service is stopping"] })),
        Some(waiting) => {
            let is_ready = waiting.is_empty();
            let standby = api.host.standby();
            let mut body = json!({ "ready": is_ready, "reasons": waiting });
            if !standby.is_empty() {
                body["standby"] = json!(standby);
            }
            (is_ready, body)
        }
    };
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body)).into_response()
}

async fn metrics_text(State(api): State<Api>) -> Response {
    let form = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (form, (api.metrics)()).into_response()
}

async fn list(State(api): State<Api>) -> Response {
    let now_ms = api.host.registry().clock().now_ms();
    let hosted = api.host.registry().all();
    let mut lines: Vec<JobLine> = hosted.iter().map(|job| JobLine::new(job, now_ms)).collect();
    for (name, why) in api.host.unusable() {
        if !lines.iter().any(|line| line.name() == name) {
            lines.push(JobLine::unusable(name, why));
        }
    }
    Json(json!({ "jobs": lines })).into_response()
}

async fn status(State(api): State<Api>, Path(name): Path<String>) -> Result<Response, Refused> {
    if let Some(hosted) = api.host.registry().get(&name) {
        let now_ms = api.host.registry().clock().now_ms();
        return Ok(Json(JobAnswer::new(&hosted, now_ms)).into_response());
    }
    match api.host.unusable().remove(&name) {
        Some(why) => Ok(Json(JobLine::unusable(name, why)).into_response()),
        None => Err(no_job(&api.host, &name)),
    }
}

async fn submit(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<JobText>, JsonRejection>,
) -> Result<Response, Refused> {
    let Json(text) = body?;
    let hosted = api.host.submit(text, caller).await?;
    let body = json!({ "job": line(&api, &hosted), "kept": api.host.keeps_submitted() });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

async fn stop(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Response, Refused> {
    let Some(hosted) = api.host.registry().get(&name) else {
        return Err(no_job(&api.host, &name));
    };
    api.host.may_stop(&hosted, &caller)?;
    api.host.stop(Arc::clone(&hosted)).await?;
    let line = line(&api, &hosted);
    let status = if line.is_stopping() { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, Json(json!({ "job": line }))).into_response())
}

fn line(api: &Api, hosted: &Hosted) -> JobLine {
    JobLine::new(hosted, api.host.registry().clock().now_ms())
}

fn no_job(host: &Host, name: &str) -> Refused {
    let names: Vec<String> =
        host.registry().snapshots().iter().map(|shown| shown.job.spec.name.clone()).collect();
    let there = match names.is_empty() {
        true => "there are none".to_owned(),
        false => format!("there are {}", names.join(", ")),
    };
    Refused::new(StatusCode::NOT_FOUND, format!("there is no job {name:?}; {there}"))
}

async fn unknown_path(uri: Uri) -> Refused {
    let why = format!("there is nothing at {}; the jobs are at /api/jobs", uri.path());
    Refused::new(StatusCode::NOT_FOUND, why)
}

async fn wrong_method(method: Method, uri: Uri) -> Refused {
    let why = format!("{} is not for {method}", uri.path());
    Refused::new(StatusCode::METHOD_NOT_ALLOWED, why)
}
