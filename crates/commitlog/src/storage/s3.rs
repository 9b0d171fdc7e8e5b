//! Opens an S3 prefix: everything from the environment, every wait bounded.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::path::Path;
use object_store::{BackoffConfig, ClientConfigKey, ClientOptions, ObjectStore, RetryConfig};

use crate::error::{Error, Result};

const CONNECT_TIMEOUT_MS: u64 = 5_000;
const TIMEOUT_MS: u64 = 30_000;
const RETRY_TIMEOUT_MS: u64 = 60_000;
const RETRIES_MAX: usize = 10;

/// The longest one request may take, milliseconds.
const TIMEOUT_VARIABLE: &str = "TIDEGAUGE_S3_TIMEOUT_MS";
/// The longest a request and its repetitions may take, milliseconds.
const RETRY_TIMEOUT_VARIABLE: &str = "TIDEGAUGE_S3_RETRY_TIMEOUT_MS";

/// A bucket, and what it takes to send it requests of one's own.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// Its store.
    pub store: Arc<AmazonS3>,
    /// How its store is connected to.
    pub client: ClientOptions,
    /// The region that requests are signed for.
    pub region: String,
    /// Whether requests are signed.
    pub is_signed: bool,
    /// How long a request is repeated.
    pub retry_timeout: Duration,
}

/// A store for the bucket of `location`, and the prefix in it.
pub(super) fn open(location: &str) -> Result<(Arc<dyn ObjectStore>, Path)> {
    let (bucket, prefix) = split(location)?;
    Ok((open_bucket(bucket)?.store, prefix))
}

/// Opens a bucket by its name, from the usual `AWS_` variables.
pub fn open_bucket(bucket: &str) -> Result<Bucket> {
    let retry_timeout_ms = milliseconds(RETRY_TIMEOUT_VARIABLE, RETRY_TIMEOUT_MS)?;
    let timeout_ms = milliseconds(TIMEOUT_VARIABLE, TIMEOUT_MS)?;
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_retry(RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(100),
                max_backoff: Duration::from_secs(5),
                base: 2.0,
            },
            max_retries: RETRIES_MAX,
            retry_timeout: Duration::from_millis(retry_timeout_ms),
        });
    let connect_ms = CONNECT_TIMEOUT_MS.min(timeout_ms);
    builder = client(builder, ClientConfigKey::Timeout, timeout_ms);
    builder = client(builder, ClientConfigKey::ConnectTimeout, connect_ms);
    let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
    if endpoint.is_some_and(|url| url.starts_with("http://")) {
        builder = builder.with_allow_http(true);
    }
    let value = |key| builder.get_config_value(&key);
    let region = value(AmazonS3ConfigKey::Region).unwrap_or_else(|| "us-east-1".to_owned());
    let is_signed = value(AmazonS3ConfigKey::SkipSignature).is_none_or(|text| text != "true");
    let mut options = ClientOptions::new();
    for key in CLIENT_KEYS {
        if let Some(text) = value(AmazonS3ConfigKey::Client(key)) {
            options = options.with_config(key, text);
        }
    }
    let store = builder.build().map_err(|e| {
        Error::bad_job(format!(
            "cannot use s3://{bucket}: {e}; check AWS_ENDPOINT_URL, AWS_REGION and the credentials"
        ))
        .with_source(e)
    })?;
    let retry_timeout = Duration::from_millis(retry_timeout_ms);
    Ok(Bucket { store: Arc::new(store), client: options, region, is_signed, retry_timeout })
}

/// The settings of a connection.
const CLIENT_KEYS: [ClientConfigKey; 8] = [
    ClientConfigKey::AllowHttp,
    ClientConfigKey::AllowInvalidCertificates,
    ClientConfigKey::ConnectTimeout,
    ClientConfigKey::Timeout,
    ClientConfigKey::ProxyUrl,
    ClientConfigKey::ProxyCaCertificate,
    ClientConfigKey::ProxyExcludes,
    ClientConfigKey::UserAgent,
];

/// Whether a bucket is not there. Listing it says so only in the text of the answer, whose code is
/// the same wherever S3 is spoken.
pub fn is_missing_bucket(error: &object_store::Error) -> bool {
    error.to_string().contains("<Code>NoSuchBucket</Code>")
}

fn client(builder: AmazonS3Builder, key: ClientConfigKey, ms: u64) -> AmazonS3Builder {
    builder.with_config(AmazonS3ConfigKey::Client(key), format!("{ms}ms"))
}

fn split(location: &str) -> Result<(&str, Path)> {
    let rest = location.split_once("://").map_or(location, |(_, rest)| rest);
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(Error::bad_job(format!(
            "{location:?} names no bucket; write s3://bucket/prefix"
        )));
    }
    let prefix = Path::parse(prefix.trim_matches('/')).map_err(|e| {
        Error::bad_job(format!("{location:?} is not a valid S3 prefix: {e}")).with_source(e)
    })?;
    Ok((bucket, prefix))
}

fn milliseconds(variable: &str, default: u64) -> Result<u64> {
    let Ok(text) = std::env::var(variable) else {
        return Ok(default);
    };
    match text.parse() {
        Ok(ms) if ms > 0 => Ok(ms),
        _ => Err(Error::bad_job(format!(
            "{variable}={text:?} is not a number of milliseconds above 0; write {default}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_splits_into_bucket_and_prefix() {
        for (location, bucket, prefix) in [
            ("s3://b/p/q/", "b", "p/q"),
            ("s3://b", "b", ""),
            ("s3://b/", "b", ""),
            ("s3a://b/t=a%2Fb", "b", "t=a%2Fb"),
        ] {
            let (found, path) = split(location).unwrap();
            assert_eq!((found, path.as_ref()), (bucket, prefix), "{location}");
        }
        for wrong in ["s3://", "s3:///p", "s3://b/a//b", "s3://b/../c"] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_bucket_opens_without_a_request() {
        let (_, prefix) = open("s3://bucket/some/prefix").unwrap();
        assert_eq!(prefix.as_ref(), "some/prefix");
    }
}
