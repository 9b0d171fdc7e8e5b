//! Objects of a bucket as a store: any key that S3 allows.
//!
//! `object_store`'s paths leave out a `/` at the start or end of a key and refuse two in a row, a `..`
//! and control characters, and one such key makes its whole listing fail. So buckets are listed
//! here by keys as they stand, signed as `object_store` signs, and what its paths cannot say is read
//! here, too. Everything else is `object_store`'s.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::http::{Method, StatusCode, header};
use chrono::{DateTime, Utc};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{
    HttpClient, HttpConnector, HttpRequest, HttpRequestBody, HttpResponse, ReqwestConnector,
};
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Deserialize;
use tidegauge_commitlog::Bucket;
use tokio::sync::OnceCell;

use super::address::{address, is_odd, key_at};
use crate::error::Error as EngineError;

const STORE: &str = "S3";
/// As a signature has them encoded.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const KEY: &AsciiSet = &QUERY.remove(b'/');
const RETRIES_MAX: u32 = 10;
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LAST: Duration = Duration::from_secs(5);
/// More of an error's answer is not shown.
const SHOWN_CHARS_MAX: usize = 500;

/// See the module.
#[derive(Debug)]
pub(super) struct S3Files {
    inner: Arc<AmazonS3>,
    requests: Arc<Requests>,
}

/// Requests of our own to a bucket.
#[derive(Debug)]
struct Requests {
    bucket: Bucket,
    credentials: AwsCredentialProvider,
    client: HttpClient,
    /// The address of the bucket, without a `/` at its end.
    root: OnceCell<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    contents: Vec<Content>,
    encoding_type: Option<String>,
    next_continuation_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Content {
    key: String,
    size: u64,
    last_modified: String,
    #[serde(rename = "ETag")]
    etag: Option<String>,
}

impl S3Files {
    pub(super) fn new(bucket: Bucket) -> Result<Self, EngineError> {
        let client = ReqwestConnector::default().connect(&bucket.client).map_err(|error| {
            EngineError::bad_job(format!("the S3 client cannot be made: {error}"))
        })?;
        let inner = Arc::clone(&bucket.store);
        let credentials = Arc::clone(inner.credentials());
        let requests = Requests { bucket, credentials, client, root: OnceCell::new() };
        Ok(Self { inner, requests: Arc::new(requests) })
    }
}

impl Requests {
    /// The address of the bucket, as `object_store` makes it of endpoint, bucket and style.
    async fn root(&self) -> Result<&str> {
        let made = self.root.get_or_try_init(|| async {
            let path = Path::from("k");
            let signed = self.bucket.store.signed_url(Method::GET, &path, Duration::from_secs(60));
            let mut url = signed.await?;
            url.set_query(None);
            Ok::<_, Error>(url.as_str().trim_end_matches('k').trim_end_matches('/').to_owned())
        });
        made.await.map(String::as_str)
    }

    /// Sends a request, again while the server is not able to answer it.
    async fn send(
        &self,
        method: Method,
        rest: &str,
        headers: &[(header::HeaderName, String)],
    ) -> Result<HttpResponse> {
        let url = format!("{}{rest}", self.root().await?);
        let began = Instant::now();
        let mut pause = PAUSE_FIRST;
        for tried in 0.. {
            let request = self.request(&method, &url, headers).await?;
            let sent = self.client.execute(request).await;
            let may_pass = match &sent {
                Ok(answer) => {
                    answer.status().is_server_error()
                        || answer.status() == StatusCode::TOO_MANY_REQUESTS
                }
                Err(_) => true,
            };
            let is_over = tried >= RETRIES_MAX || began.elapsed() >= self.bucket.retry_timeout;
            if !may_pass || is_over {
                let answer = sent.map_err(generic)?;
                return if answer.status().is_success() {
                    Ok(answer)
                } else {
                    Err(refusal(rest, answer).await)
                };
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_LAST);
        }
        Err(generic("no answer"))
    }

    async fn request(
        &self,
        method: &Method,
        url: &str,
        headers: &[(header::HeaderName, String)],
    ) -> Result<HttpRequest> {
        let mut builder = axum::http::Request::builder().method(method.clone()).uri(url);
        for (name, value) in headers {
            builder = builder.header(name, value);
        }
        let mut request = builder.body(HttpRequestBody::empty()).map_err(generic)?;
        if self.bucket.is_signed {
            let credential = self.credentials.get_credential().await?;
            let signer = AwsAuthorizer::new(&credential, "s3", &self.bucket.region);
            signer.authorize(&mut request, None);
        }
        Ok(request)
    }

    /// One page of the keys that begin with `prefix`, those after `after`.
    async fn page(&self, prefix: &str, after: &str, token: Option<&str>) -> Result<Page> {
        let encode = |text: &str| utf8_percent_encode(text, QUERY).to_string();
        // In the order of names, as a signature has them.
        let token = token.map(|token| format!("continuation-token={}&", encode(token)));
        let mut query = format!(
            "/?{}encoding-type=url&list-type=2&prefix={}",
            token.unwrap_or_default(),
            encode(prefix)
        );
        if !after.is_empty() {
            query += &format!("&start-after={}", encode(after));
        }
        let answer = self.send(Method::GET, &query, &[]).await?;
        let body = answer.into_body().bytes().await.map_err(generic)?;
        quick_xml::de::from_reader(body.as_ref()).map_err(generic)
    }
}

impl Content {
    fn meta(self, is_encoded: bool) -> Result<ObjectMeta> {
        let key = match is_encoded {
            // Encoded as in a form: a space is a plus.
            true => percent_decode_str(&self.key.replace('+', " ")).collect(),
            false => self.key.into_bytes(),
        };
        let modified = DateTime::parse_from_rfc3339(&self.last_modified).map_err(generic)?;
        Ok(ObjectMeta {
            location: address(&key),
            last_modified: modified.with_timezone(&Utc),
            size: self.size,
            e_tag: self.etag,
            version: None,
        })
    }
}

fn generic(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Generic { store: STORE, source: error.into() }
}

/// What an answer that is no success says.
async fn refusal(path: &str, answer: HttpResponse) -> Error {
    let status = answer.status();
    let body = answer.into_body().bytes().await.unwrap_or_default();
    let text: String = String::from_utf8_lossy(&body).chars().take(SHOWN_CHARS_MAX).collect();
    let source = format!("{status}: {text}").into();
    let path = path.to_owned();
    match status {
        StatusCode::NOT_FOUND if text.contains("<Code>NoSuchBucket</Code>") => generic(source),
        StatusCode::NOT_FOUND => Error::NotFound { path, source },
        StatusCode::PRECONDITION_FAILED => Error::Precondition { path, source },
        StatusCode::FORBIDDEN => Error::PermissionDenied { path, source },
        StatusCode::UNAUTHORIZED => Error::Unauthenticated { path, source },
        _ => generic(source),
    }
}

/// The text of a header.
fn text_of(answer: &HttpResponse, name: header::HeaderName) -> Option<String> {
    Some(answer.headers().get(name)?.to_str().ok()?.to_owned())
}

/// The object that an answer is about.
fn meta_of(location: &Path, answer: &HttpResponse) -> Result<ObjectMeta> {
    let missing = || generic("an answer without the size or the time of its object");
    // `bytes 0-9/100`
    let total = text_of(answer, header::CONTENT_RANGE)
        .and_then(|range| range.rsplit_once('/').map(|(_, total)| total.to_owned()));
    let size = total.or_else(|| text_of(answer, header::CONTENT_LENGTH));
    let modified = text_of(answer, header::LAST_MODIFIED).ok_or_else(missing)?;
    Ok(ObjectMeta {
        location: location.clone(),
        last_modified: DateTime::parse_from_rfc2822(&modified)
            .map_err(generic)?
            .with_timezone(&Utc),
        size: size.and_then(|size| size.parse().ok()).ok_or_else(missing)?,
        e_tag: text_of(answer, header::ETAG),
        version: None,
    })
}

/// The keys below `prefix`, after `offset` where one is given, page by page.
fn pages(
    requests: Arc<Requests>,
    prefix: Option<&Path>,
    offset: Option<&Path>,
) -> BoxStream<'static, Result<ObjectMeta>> {
    let text = |path: &Path| String::from_utf8_lossy(&key_at(path)).into_owned();
    let folder = prefix.map(|prefix| format!("{}/", text(prefix))).unwrap_or_default();
    let after = offset.map(text).unwrap_or_default();
    // The token of the next page; none after the last.
    stream::try_unfold(Some(None), move |next: Option<Option<String>>| {
        let (requests, folder, after) = (Arc::clone(&requests), folder.clone(), after.clone());
        async move {
            let Some(token) = next else { return Ok(None) };
            let page = requests.page(&folder, &after, token.as_deref()).await?;
            let is_encoded = page.encoding_type.as_deref() == Some("url");
            let metas = page.contents.into_iter().map(move |found| found.meta(is_encoded));
            let next = page.next_continuation_token.map(Some);
            Ok::<_, Error>(Some((stream::iter(metas), next)))
        }
    })
    .try_flatten()
    .boxed()
}

impl fmt::Display for S3Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for S3Files {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if !is_odd(location) {
            return self.inner.get_opts(location, options).await;
        }
        let key = key_at(location);
        let key = String::from_utf8_lossy(&key).into_owned();
        if key.split('/').any(|part| matches!(part, "." | "..")) {
            // What sends requests would take it for a way up.
            let source = "a key with a part . or .. cannot be asked for over HTTP".into();
            return Err(Error::PermissionDenied { path: key, source });
        }
        let mut headers = Vec::new();
        if let Some(etag) = &options.if_match {
            headers.push((header::IF_MATCH, etag.clone()));
        }
        if let Some(range) = &options.range {
            headers.push((header::RANGE, range.to_string()));
        }
        let method = if options.head { Method::HEAD } else { Method::GET };
        let path = format!("/{}", utf8_percent_encode(&key, KEY));
        let answer = self.requests.send(method, &path, &headers).await?;
        let meta = meta_of(location, &answer)?;
        let range = match &options.range {
            Some(range) => range.as_range(meta.size).map_err(generic)?,
            None => 0..meta.size,
        };
        let body = answer.into_body().bytes_stream().map_err(generic).boxed();
        let payload = GetResultPayload::Stream(body);
        Ok(GetResult { payload, meta, range, attributes: Default::default() })
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        pages(Arc::clone(&self.requests), prefix, None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        pages(Arc::clone(&self.requests), prefix, Some(offset))
    }

    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
