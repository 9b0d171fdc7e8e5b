//! An S3 server of a few requests, in memory, on loopback, that takes its time for each as a
//! distant one does, and counts them. It holds what a job's sinks and state need, and no more.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;

use super::process::Env;
use super::s3_server::env_of;

const KEYS_A_PAGE: usize = 1_000;
const MODIFIED: &str = "2026-01-05T10:00:00.000Z";

/// A server that runs until it is dropped.
pub(super) struct SlowS3 {
    port: u16,
    shared: Arc<Shared>,
    runtime: Option<tokio::runtime::Runtime>,
}

struct Shared {
    takes: Duration,
    objects: Mutex<BTreeMap<String, Bytes>>,
    requests: Mutex<BTreeMap<&'static str, usize>>,
    running: AtomicUsize,
    running_max: AtomicUsize,
}

impl SlowS3 {
    /// A server that takes so long for each request, with whatever bucket is asked for.
    pub(super) fn start(takes: Duration) -> Self {
        let shared = Arc::new(Shared {
            takes,
            objects: Mutex::default(),
            requests: Mutex::default(),
            running: AtomicUsize::new(0),
            running_max: AtomicUsize::new(0),
        });
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Router::new()
            .fallback(answer)
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&shared));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
        Self { port, shared, runtime: Some(runtime) }
    }

    /// What a process needs to use it.
    pub(super) fn env(&self) -> Env {
        env_of(self.port)
    }

    /// The objects, by bucket and key.
    pub(super) fn objects(&self) -> BTreeMap<String, Bytes> {
        self.shared.objects.lock().unwrap().clone()
    }

    /// How many requests of each kind there were.
    pub(super) fn requests(&self) -> BTreeMap<&'static str, usize> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// The most that were under way at the same time.
    pub(super) fn running_max(&self) -> usize {
        self.shared.running_max.load(Ordering::SeqCst)
    }
}

impl Drop for SlowS3 {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let running = shared.running.fetch_add(1, Ordering::SeqCst) + 1;
    shared.running_max.fetch_max(running, Ordering::SeqCst);
    tokio::time::sleep(shared.takes).await;
    let (kind, response) = shared.act(&method, &uri, &headers, body);
    *shared.requests.lock().unwrap().entry(kind).or_default() += 1;
    shared.running.fetch_sub(1, Ordering::SeqCst);
    response
}

impl Shared {
    fn act(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> (&'static str, Response) {
        let key = decoded(uri.path().trim_start_matches('/'));
        let query = uri.query().unwrap_or_default();
        let mut objects = self.objects.lock().unwrap();
        let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
        match method.as_str() {
            "GET" if query.contains("list-type=2") => ("list", list(&objects, &key, query)),
            "GET" => ("get", read(objects.get(&key), header("range"))),
            "HEAD" => ("head", read(objects.get(&key), None)),
            "PUT" => match header("x-amz-copy-source") {
                Some(from) => {
                    let from = decoded(from.trim_start_matches('/'));
                    let Some(bytes) = objects.get(&from).cloned() else {
                        return ("copy", absent());
                    };
                    objects.insert(key, bytes);
                    let result = "<CopyObjectResult><ETag>\"x\"</ETag></CopyObjectResult>";
                    ("copy", said(StatusCode::OK, result))
                }
                None if header("if-none-match").is_some() && objects.contains_key(&key) => {
                    ("create", said(StatusCode::PRECONDITION_FAILED, "<Error/>"))
                }
                None => {
                    objects.insert(key, body);
                    ("put", said(StatusCode::OK, ""))
                }
            },
            "POST" => {
                let text = String::from_utf8(body.to_vec()).unwrap();
                for named in text.split("<Key>").skip(1) {
                    let name = named.split("</Key>").next().unwrap().replace("&amp;", "&");
                    objects.remove(&format!("{}/{name}", key.trim_end_matches('/')));
                }
                ("delete", said(StatusCode::OK, "<DeleteResult></DeleteResult>"))
            }
            "DELETE" => {
                objects.remove(&key);
                ("delete", said(StatusCode::NO_CONTENT, ""))
            }
            _ => ("other", said(StatusCode::METHOD_NOT_ALLOWED, "")),
        }
    }
}

fn list(objects: &BTreeMap<String, Bytes>, bucket: &str, query: &str) -> Response {
    let value = |name: &str| {
        let pair = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
        pair.map(|text| decoded(&text.replace('+', " ")))
    };
    let bucket = bucket.trim_end_matches('/');
    let prefix = format!("{bucket}/{}", value("prefix").unwrap_or_default());
    let after = value("continuation-token").or(value("start-after"));
    let from = match after.map(|after| format!("{bucket}/{after}")) {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix.clone()),
    };
    let found: Vec<_> = objects
        .range((from, Bound::Unbounded))
        .take_while(|(key, _)| key.starts_with(&prefix))
        .take(KEYS_A_PAGE + 1)
        .collect();
    let mut xml = String::from("<ListBucketResult>");
    let name = |key: &str| key[bucket.len() + 1..].replace('&', "&amp;");
    for (key, bytes) in found.iter().take(KEYS_A_PAGE) {
        let (name, size) = (name(key), bytes.len());
        write!(
            xml,
            "<Contents><Key>{name}</Key><LastModified>{MODIFIED}</LastModified><ETag>\"x\"</ETag>\
             <Size>{size}</Size></Contents>"
        )
        .unwrap();
    }
    let is_more = found.len() > KEYS_A_PAGE;
    write!(xml, "<IsTruncated>{is_more}</IsTruncated>").unwrap();
    if is_more {
        let last = name(found[KEYS_A_PAGE - 1].0);
        write!(xml, "<NextContinuationToken>{last}</NextContinuationToken>").unwrap();
    }
    xml.push_str("</ListBucketResult>");
    said(StatusCode::OK, &xml)
}

fn read(object: Option<&Bytes>, range: Option<&str>) -> Response {
    let Some(bytes) = object else { return absent() };
    let response = Response::builder()
        .header("etag", "\"x\"")
        .header("last-modified", "Mon, 05 Jan 2026 10:00:00 GMT");
    let Some(range) = range.and_then(|range| range.strip_prefix("bytes=")) else {
        return response.body(Body::from(bytes.clone())).unwrap();
    };
    let (from, to) = range.split_once('-').unwrap();
    let size = bytes.len();
    let (from, to) = match (from.parse::<usize>(), to.parse::<usize>()) {
        (Ok(from), Ok(to)) => (from, (to + 1).min(size)),
        (Ok(from), Err(_)) => (from, size),
        (Err(_), last) => (size.saturating_sub(last.unwrap()), size),
    };
    let shown = format!("bytes {from}-{}/{size}", to - 1);
    let response = response.status(StatusCode::PARTIAL_CONTENT).header("content-range", shown);
    response.body(Body::from(bytes.slice(from..to))).unwrap()
}

fn absent() -> Response {
    said(StatusCode::NOT_FOUND, "<Error><Code>NoSuchKey</Code></Error>")
}

fn said(status: StatusCode, xml: &str) -> Response {
    let response = Response::builder().status(status).header("etag", "\"x\"");
    response.body(Body::from(xml.to_owned())).unwrap()
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned()
}
