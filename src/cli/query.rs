//! `tidegauge query "SELECT ..." --to grpc://HOST:PORT`.

mod output;

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow_flight::FlightInfo;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use clap::{Args, ValueEnum};
use futures::TryStreamExt;
use tidegauge_spec::{format_duration, parse_duration};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use super::failure::Failure;
use super::remote::{TOKEN_VARIABLE, token};
use crate::access::tls_client;
use crate::error::root_cause;
use output::Output;

/// The largest message: a batch is sent in parts of 2 MiB, but a row is never cut.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Arguments of `query`.
#[derive(Debug, Args)]
pub(super) struct QueryArguments {
    /// The statement, such as "SELECT * FROM results.findings".
    sql: String,
    /// The service: grpc://HOST:PORT, or grpc+tls://HOST:PORT.
    #[arg(long)]
    to: String,
    /// How rows are printed; a table ends after 1000 rows, the others do not.
    #[arg(long, value_enum, default_value_t = QueryFormat::Table)]
    format: QueryFormat,
    /// A file with the token; without it, the variable TIDEGAUGE_TOKEN, if it is set.
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// The certificates that the service's is checked against, PEM; without it, the system's.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// The longest wait for the whole answer.
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    timeout: Duration,
}

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum QueryFormat {
    /// For people.
    Table,
    /// With a header; NULL is an empty field.
    Csv,
    /// An object a line.
    Json,
}

pub(super) async fn query(arguments: QueryArguments) -> Result<(), Failure> {
    let timeout = arguments.timeout;
    tokio::time::timeout(timeout, ask(arguments)).await.unwrap_or_else(|_| {
        let timeout = format_duration(timeout);
        Err(Failure::running(format!("error: no whole answer within {timeout}; see --timeout")))
    })
}

async fn ask(arguments: QueryArguments) -> Result<(), Failure> {
    let token = token(arguments.token_file.as_deref(), TOKEN_VARIABLE)?;
    let channel = connect(&arguments.to, arguments.ca.as_deref()).await?;
    let client = FlightServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let mut client = FlightSqlServiceClient::new_from_inner(client);
    if let Some(token) = token {
        client.set_token(token);
    }
    let info: FlightInfo =
        client.execute(arguments.sql, None).await.map_err(|error| failed(&error))?;
    let endpoints = info.endpoint.clone();
    let schema = info
        .try_decode_schema()
        .map_err(|error| Failure::running(format!("error: the answer has no schema: {error}")))?;
    let mut output = Output::begin(arguments.format, schema)?;
    for ticket in endpoints.into_iter().filter_map(|endpoint| endpoint.ticket) {
        let mut rows = client.do_get(ticket).await.map_err(|error| failed(&error))?;
        while let Some(batch) = rows.try_next().await.map_err(|error| failed(&error))? {
            if !output.write(&batch)? {
                return output.finish();
            }
        }
    }
    output.finish()
}

async fn connect(to: &str, ca: Option<&Path>) -> Result<Channel, Failure> {
    let wrong = || {
        Failure::bad(format!(
            "error: --to {to:?} is not an address; write grpc://HOST:PORT or grpc+tls://HOST:PORT"
        ))
    };
    let (scheme, place) = to.split_once("://").ok_or_else(wrong)?;
    let place = place.trim_end_matches('/');
    let (uri, is_tls) = match scheme {
        "grpc" | "grpc+tcp" | "http" => (format!("http://{place}"), false),
        "grpc+tls" | "https" => (format!("https://{place}"), true),
        _ => return Err(wrong()),
    };
    let mut endpoint =
        Endpoint::from_shared(uri).map_err(|_| wrong())?.connect_timeout(CONNECT_MAX);
    if endpoint.uri().port().is_none() {
        return Err(wrong());
    }
    if is_tls {
        endpoint = endpoint
            .tls_config(tls_client(ca, None)?)
            .map_err(|error| Failure::bad(format!("error: --ca: {}", root_cause(&error))))?;
    }
    endpoint.connect().await.map_err(|error| {
        Failure::running(format!(
            "error: cannot connect to {to}: {}; is the service running there, with TLS or without?",
            root_cause(&error)
        ))
    })
}

/// What the service said; a statement that is wrong is the caller's to mend.
fn failed(error: &FlightError) -> Failure {
    let FlightError::Tonic(status) = error else {
        return Failure::running(format!("error: the answer cannot be read: {error}"));
    };
    let said = status.message();
    match status.code() {
        Code::InvalidArgument => Failure::bad(format!("error: {said}")),
        Code::Unauthenticated => Failure::running(format!(
            "error: the service wants a token that it knows: {said}; give --token-file FILE or \
             {TOKEN_VARIABLE}"
        )),
        Code::Unknown | Code::Unavailable => match status.source() {
            Some(source) => Failure::running(format!("error: {said}: {}", root_cause(source))),
            None => Failure::running(format!("error: {said}")),
        },
        _ => Failure::running(format!("error: {said}")),
    }
}
