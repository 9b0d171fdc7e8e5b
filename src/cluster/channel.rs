//! Connections to workers, kept from epoch to epoch, and whether who answers is one.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::common::DataFusionError;
use datafusion_distributed::grpc::{BoxCloneSyncChannel, create_worker_client};
use datafusion_distributed::{ChannelResolver, GetWorkerInfoRequest, WorkerChannel};
use parking_lot::Mutex;
use tonic::metadata::Ascii;
use tonic::metadata::MetadataValue;
use tonic::transport::{ClientTlsConfig, Endpoint};
use tower::ServiceExt;
use url::Url;

use crate::error::{Error, Result, root_cause, to_datafusion};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a worker may be silent before it is taken for lost, twice over.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// What is shown to workers, and what is expected of them.
#[derive(Debug, Clone, Default)]
pub struct WorkerAccess {
    /// The bearer token that workers ask for.
    pub token: Option<String>,
    /// How connections are secured; without it they are not.
    pub tls: Option<ClientTlsConfig>,
}

/// Counts what plans have that builds before could not read.
const PLANS: u32 = 2;

/// The build that a coordinator and its workers must have in common, for plans and state to mean
/// the same to both.
pub fn engine_version() -> String {
    format!(
        "tidegauge {}, plans {PLANS}, DataFusion {}, functions {}",
        env!("CARGO_PKG_VERSION"),
        datafusion::DATAFUSION_VERSION,
        tidegauge_udfs::VERSION
    )
}

/// Open connections by address.
#[derive(Debug)]
pub(super) struct Channels {
    bearer: Option<MetadataValue<Ascii>>,
    tls: Option<ClientTlsConfig>,
    open: Mutex<HashMap<Url, BoxCloneSyncChannel>>,
}

impl Channels {
    pub(super) fn new(access: WorkerAccess) -> Result<Self> {
        let bearer = match &access.token {
            Some(token) => Some(format!("Bearer {token}").parse().map_err(|error| {
                Error::bad_job("the workers' token is not one line of ASCII").with_source(error)
            })?),
            None => None,
        };
        Ok(Self { bearer, tls: access.tls, open: Mutex::default() })
    }

    /// `https` where connections are secured.
    pub(super) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Asks who is at `url`.
    ///
    /// # Errors
    /// `Unavailable` when nobody is, or a worker of another build.
    pub(super) async fn probe(&self, url: &Url) -> Result<()> {
        let mut client = create_worker_client(self.channel(url).await?);
        let asked = client.get_worker_info(GetWorkerInfoRequest {});
        let answer = match tokio::time::timeout(CONNECT_TIMEOUT, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                self.forget(url);
                return Err(Error::unavailable(format!("{url}: {}", plain(&error))));
            }
            Err(_) => {
                self.forget(url);
                return Err(Error::unavailable(format!("{url}: no answer in {CONNECT_TIMEOUT:?}")));
            }
        };
        if answer.version != engine_version() {
            return Err(Error::unavailable(format!(
                "{url}: runs {}, and this is {}",
                if answer.version.is_empty() { "something else" } else { &answer.version },
                engine_version()
            )));
        }
        Ok(())
    }

    async fn channel(&self, url: &Url) -> Result<BoxCloneSyncChannel> {
        if let Some(channel) = self.open.lock().get(url) {
            return Ok(channel.clone());
        }
        let failed = |error: tonic::transport::Error| {
            Error::unavailable(format!("{url}: {}", root_cause(&error)))
        };
        let mut endpoint = Endpoint::from_shared(url.to_string())
            .map_err(failed)?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        if let Some(tls) = &self.tls {
            endpoint = endpoint.tls_config(tls.clone()).map_err(failed)?;
        }
        let channel = endpoint.connect().await.map_err(failed)?;
        let bearer = self.bearer.clone();
        let channel = BoxCloneSyncChannel::new(channel.map_request(
            move |mut request: tonic::codegen::http::Request<tonic::body::Body>| {
                if let Some(bearer) = &bearer
                    && let Ok(value) = bearer.as_encoded_bytes().try_into()
                {
                    request.headers_mut().insert("authorization", value);
                }
                request
            },
        ));
        self.open.lock().insert(url.clone(), channel.clone());
        Ok(channel)
    }

    /// Lets go of the workers that are not among `urls` any more.
    pub(super) fn keep_only(&self, urls: &[Url]) {
        self.open.lock().retain(|url, _| urls.contains(url));
    }

    fn forget(&self, url: &Url) {
        self.open.lock().remove(url);
    }
}

#[async_trait]
impl ChannelResolver for Channels {
    async fn get_worker_client_for_url(
        &self,
        url: &Url,
    ) -> Result<Box<dyn WorkerChannel>, DataFusionError> {
        let channel = self.channel(url).await.map_err(to_datafusion)?;
        Ok(create_worker_client(channel))
    }
}

/// An error's message, without what the library wraps around it.
fn plain(error: &DataFusionError) -> String {
    if let DataFusionError::External(inner) = error.find_root()
        && let Some(status) = inner.downcast_ref::<tonic::Status>()
    {
        return match status.message().is_empty() {
            true => status.code().to_string(),
            false => status.message().to_owned(),
        };
    }
    error.strip_backtrace()
}
