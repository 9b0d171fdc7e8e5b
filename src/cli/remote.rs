//! A service as the commands `submit`, `list`, `status` and `stop` reach it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Method, StatusCode, Url};
use serde::Serialize;
use serde_json::Value;

use super::failure::Failure;
use crate::access::{certificate_authority, install_crypto};
use crate::error::root_cause;

/// Holds the token that is shown to a service.
pub(super) const TOKEN_VARIABLE: &str = "TIDEGAUGE_TOKEN";
/// Holds the token that a coordinator shows to workers.
pub(super) const WORKER_TOKEN_VARIABLE: &str = "TIDEGAUGE_WORKER_TOKEN";
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// A little more than the service allows itself for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(40);

/// Which service, and who asks.
#[derive(Debug, Args)]
pub(super) struct RemoteArguments {
    /// The service, such as http://127.0.0.1:8080.
    #[arg(long, value_name = "URL")]
    to: String,
    /// A file that holds a token; else the variable TIDEGAUGE_TOKEN is the token.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Certificates to trust, in PEM, beside those of the machine.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// How the answer is printed on stdout.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Text,
    Json,
}

/// A service.
pub(super) struct Remote {
    client: Client,
    base: Url,
    token: Option<String>,
}

impl Remote {
    pub(super) fn new(arguments: &RemoteArguments) -> Result<Self, Failure> {
        install_crypto();
        let base = base(&arguments.to)?;
        let mut builder = Client::builder()
            .connect_timeout(CONNECT_MAX)
            .timeout(ANSWER_MAX)
            // A token is for this service alone.
            .redirect(Policy::none());
        if let Some(ca) = &arguments.ca {
            let bad = |error: reqwest::Error| {
                Failure::bad(format!("error: {}: no certificates: {error}", ca.display()))
            };
            for certificate in
                Certificate::from_pem_bundle(&certificate_authority(ca)?).map_err(bad)?
            {
                builder = builder.add_root_certificate(certificate);
            }
        }
        let client = builder
            .build()
            .map_err(|error| Failure::running(format!("error: no HTTP client: {error}")))?;
        Ok(Self { client, base, token: token(arguments.token_file.as_deref(), TOKEN_VARIABLE)? })
    }

    /// What the service answers to a GET.
    pub(super) async fn get(&self, path: &[&str]) -> Result<Value, Failure> {
        self.send(Method::GET, path, None::<&()>).await
    }

    /// What the service answers to a POST.
    pub(super) async fn post(
        &self,
        path: &[&str],
        body: Option<&impl Serialize>,
    ) -> Result<Value, Failure> {
        self.send(Method::POST, path, body).await
    }

    async fn send(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&impl Serialize>,
    ) -> Result<Value, Failure> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut request = self.client.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| self.no_answer(&error))?;
        let status = response.status();
        let text = response.text().await.map_err(|error| self.no_answer(&error))?;
        let answer: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        match status.is_success() && !answer.is_null() {
            true => Ok(answer),
            false => Err(self.refused(status, &answer)),
        }
    }

    fn no_answer(&self, error: &reqwest::Error) -> Failure {
        let advice = match (error.is_timeout(), error.is_connect()) {
            (true, _) => "it took too long; ask again, or look whether the service is busy",
            (_, true) => {
                "check the address, that the service runs there, and http against https; a \
                 certificate that the machine does not trust needs --ca"
            }
            _ => "ask again",
        };
        Failure::running(format!(
            "error: no answer from {}: {}; {advice}",
            self.base,
            root_cause(error)
        ))
    }

    fn refused(&self, status: StatusCode, answer: &Value) -> Failure {
        // The problems of a job, as `check` prints them.
        if let Some(text) = answer["text"].as_str().filter(|_| status == StatusCode::BAD_REQUEST) {
            return Failure::bad(text);
        }
        let why = answer["error"].as_str().map_or_else(
            || format!("it answers {status}, and not as a service of tidegauge; check the address"),
            str::to_owned,
        );
        let advice = match status {
            StatusCode::UNAUTHORIZED => {
                format!("; give it with --token-file or the variable {TOKEN_VARIABLE}")
            }
            _ => String::new(),
        };
        Failure::running(format!("error: {}: {why}{advice}", self.base))
    }
}

fn base(to: &str) -> Result<Url, Failure> {
    let bad = |why: String| {
        Failure::bad(format!("error: --to {to}: {why}; write a URL such as http://127.0.0.1:8080"))
    };
    let url = Url::parse(to).map_err(|error| bad(error.to_string()))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(bad(format!("{other} is neither http nor https"))),
    }
}

/// The token of a file, else of a variable.
pub(super) fn token(file: Option<&Path>, variable: &str) -> Result<Option<String>, Failure> {
    let text = match file {
        Some(file) => std::fs::read_to_string(file).map_err(|error| {
            Failure::bad(format!("error: {}: the token cannot be read: {error}", file.display()))
        })?,
        None => match std::env::var(variable) {
            Ok(text) => text,
            Err(_) => return Ok(None),
        },
    };
    let token = text.trim();
    match !token.is_empty() && token.chars().all(|c| c.is_ascii_graphic()) {
        true => Ok(Some(token.to_owned())),
        false => Err(Failure::bad(
            "error: what was given is no token; a token is one word, such as tg_0123",
        )),
    }
}
