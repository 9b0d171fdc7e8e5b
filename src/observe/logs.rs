//! Where logs and spans go: lines on stderr by `RUST_LOG`, and spans to the tracer, if there is
//! one, whatever `RUST_LOG` says.

use std::io::IsTerminal as _;

use opentelemetry_sdk::trace::SdkTracer;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

use super::names;

/// Sets the logs of the process up; the first call counts.
pub(super) fn install(tracer: Option<SdkTracer>) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(!is_plain && std::io::stderr().is_terminal())
        .with_filter(filter);
    // Only the engine's own spans: those of the exporter's client would be exported in turn.
    let own = Targets::new().with_target(names::SCOPE, LevelFilter::INFO);
    let spans = tracer.map(|tracer| {
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false)
            .with_filter(own)
    });
    if Registry::default().with(lines).with(spans).try_init().is_err() {
        tracing::debug!("logs were set up before");
    }
}
