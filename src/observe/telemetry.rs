//! The exporters of a process: started once, asked for text, and flushed within a bound at the
//! end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, MetricExporter, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use prometheus::{Registry, TextEncoder};
use tokio::sync::mpsc;

use super::exporter::Exporter;
use super::instruments::Metrics;
use super::settings::TelemetrySettings;
use super::{logs, names};

/// How long the last flush may delay the end of the process.
const FLUSH_MAX: Duration = Duration::from_secs(3);

/// The telemetry of a process. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Telemetry {
    metrics: Metrics,
    meters: Option<SdkMeterProvider>,
    tracers: Option<SdkTracerProvider>,
    registry: Option<Registry>,
    warnings: Vec<String>,
    given_up: Arc<AtomicBool>,
}

impl Telemetry {
    /// Starts what `settings` ask for. An exporter that cannot be made is a warning: a job runs
    /// without telemetry rather than not at all.
    ///
    /// It must be called where tokio runs, since exporters connect in it; and nothing of it is
    /// global but what [`Telemetry::log_to_stderr`] sets up.
    pub fn start(settings: TelemetrySettings) -> Self {
        let mut telemetry = Self { warnings: settings.warnings.clone(), ..Self::default() };
        let resource = resource(settings.service_name());
        if settings.push_traces {
            let tracers = tracers(&telemetry.given_up, resource.clone());
            telemetry.tracers = telemetry.made("spans", tracers);
        }
        if settings.measures() {
            telemetry.start_metrics(&settings, resource);
        }
        telemetry
    }

    /// No telemetry.
    pub fn off() -> Self {
        Self::default()
    }

    /// Sends logs to stderr and spans to their exporter, from everywhere in the process.
    pub fn log_to_stderr(&self) {
        logs::install(self.tracers.as_ref().map(|tracers| tracers.tracer(names::SCOPE)));
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
    }

    /// The instruments.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// All metrics in Prometheus's text format, version 0.0.4; empty where
    /// [`TelemetrySettings::prometheus`] was not asked for.
    pub fn prometheus_text(&self) -> String {
        let Some(registry) = &self.registry else { return String::new() };
        match TextEncoder::new().encode_to_string(&registry.gather()) {
            Ok(text) => text,
            Err(error) => {
                tracing::warn!(%error, "metrics could not be written as text");
                String::new()
            }
        }
    }

    /// Flushes what is not exported yet, for three seconds at most: a receiver that is away must
    /// not hold up the end. Gauges are exported once more of the jobs that are still there. Later
    /// calls do nothing.
    pub async fn shutdown(&self) {
        let (done, mut all_done) = mpsc::channel::<()>(1);
        if let Some(tracers) = self.tracers.clone() {
            flush(done.clone(), move || tracers.shutdown_with_timeout(FLUSH_MAX));
        }
        if let Some(meters) = self.meters.clone() {
            flush(done.clone(), move || meters.shutdown_with_timeout(FLUSH_MAX));
        }
        drop(done);
        // Each flush holds a sender until it is over; nothing is ever sent.
        if tokio::time::timeout(FLUSH_MAX, all_done.recv()).await.is_err() {
            self.given_up.store(true, Ordering::Relaxed);
            tracing::warn!(bound = ?FLUSH_MAX, "the last telemetry was given up: no answer");
        }
    }

    fn start_metrics(&mut self, settings: &TelemetrySettings, resource: Resource) {
        let mut builder = SdkMeterProvider::builder().with_resource(resource);
        if settings.push_metrics
            && let Some(exporter) =
                self.made("metrics", MetricExporter::builder().with_tonic().build())
        {
            let exporter = Exporter::new(exporter, "metrics", &self.given_up);
            builder = builder.with_reader(PeriodicReader::builder(exporter).build());
        }
        if settings.prometheus {
            let registry = Registry::new();
            let exporter = opentelemetry_prometheus::exporter()
                .with_registry(registry.clone())
                .scope_info_enabled(false)
                .build();
            if let Some(exporter) = self.made("metrics as text", exporter) {
                builder = builder.with_reader(exporter);
                self.registry = Some(registry);
            }
        }
        let meters = builder.build();
        self.metrics = Metrics::new(&meters.meter(names::SCOPE));
        self.meters = Some(meters);
    }

    fn made<T, E: std::fmt::Display>(&mut self, what: &str, made: Result<T, E>) -> Option<T> {
        made.map_err(|error| self.warnings.push(format!("{what} are not exported: {error}"))).ok()
    }
}

fn tracers(
    given_up: &Arc<AtomicBool>,
    resource: Resource,
) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter = SpanExporter::builder().with_tonic().build()?;
    let exporter = Exporter::new(exporter, "spans", given_up);
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// What the environment says of this process, and else the name of its service, its version and
/// an id of its own: counters of two processes with one identity would be taken for one counter.
fn resource(service_name: &'static str) -> Resource {
    let found = Resource::builder().build();
    let mut builder = Resource::builder();
    let name = found.get(&Key::from_static_str("service.name")).map(|name| name.to_string());
    if name.is_none_or(|name| name.starts_with("unknown_service")) {
        builder = builder.with_service_name(service_name);
    }
    if found.get(&Key::from_static_str("service.version")).is_none() {
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        builder = builder.with_attribute(version);
    }
    if found.get(&Key::from_static_str("service.instance.id")).is_none() {
        let id = format!("{:032x}", rand::random::<u128>());
        builder = builder.with_attribute(KeyValue::new("service.instance.id", id));
    }
    builder.build()
}

/// Flushes in a thread of its own, which ends with the process if it takes too long: the library
/// has waits that cannot be bounded from outside.
fn flush(done: mpsc::Sender<()>, flush: impl FnOnce() -> OTelSdkResult + Send + 'static) {
    let started = std::thread::Builder::new().name("flush telemetry".to_owned()).spawn(move || {
        if let Err(error) = flush() {
            tracing::debug!(%error, "telemetry was not flushed");
        }
        drop(done);
    });
    if let Err(error) = started {
        tracing::warn!(%error, "the last telemetry is not flushed");
    }
}
