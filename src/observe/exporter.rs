//! Exporters that speak of their troubles, but only now and then: the library says nothing, and a
//! receiver that is away is no trouble of the job's, so it must not fill the job's log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use parking_lot::Mutex;

/// The least time between two complaints of one exporter.
const QUIET: Duration = Duration::from_secs(300);

/// An exporter of `what`, with its failures logged.
#[derive(Debug)]
pub(super) struct Exporter<E> {
    inner: E,
    what: &'static str,
    failures: Mutex<Failures>,
    given_up: Arc<AtomicBool>,
}

/// Failures since the last complaint.
#[derive(Debug, Default)]
struct Failures {
    number: u64,
    said: Option<Instant>,
}

impl Failures {
    /// Counts one; gives how many there were when it is time to speak.
    fn add(&mut self, now: Instant) -> Option<u64> {
        self.number += 1;
        let is_quiet = self.said.is_some_and(|said| now.saturating_duration_since(said) < QUIET);
        if is_quiet {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.number))
    }
}

impl<E> Exporter<E> {
    /// It is silent once telemetry was `given_up`, for then the process ends underneath it.
    pub(super) fn new(inner: E, what: &'static str, given_up: &Arc<AtomicBool>) -> Self {
        Self { inner, what, failures: Mutex::default(), given_up: Arc::clone(given_up) }
    }

    fn heard(&self, done: OTelSdkResult) -> OTelSdkResult {
        if let Err(error) = &done
            && !self.given_up.load(Ordering::Relaxed)
            && let Some(failures) = self.failures.lock().add(Instant::now())
        {
            tracing::warn!(%error, failures, "{} are not exported; the job goes on", self.what);
        }
        done
    }
}

impl<E: SpanExporter> SpanExporter for Exporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.heard(self.inner.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Exporter<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.heard(self.inner.export(metrics).await)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.inner.temporality()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_spoken_of_once_in_a_while_with_their_number() {
        let mut failures = Failures::default();
        let start = Instant::now();
        assert_eq!(failures.add(start), Some(1));
        assert_eq!(failures.add(start + QUIET / 2), None);
        assert_eq!(failures.add(start + QUIET), Some(2));
        assert_eq!(failures.add(start + QUIET), None);
    }
}
