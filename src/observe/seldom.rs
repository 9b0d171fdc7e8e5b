//! Lets the telemetry library speak of its own troubles, but only now and then: a receiver that
//! is away is no trouble of the job's, and must not fill its log.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::subscriber::Interest;
use tracing::{Event, Metadata};
use tracing_subscriber::layer::{Context, Filter};

const QUIET: Duration = Duration::from_secs(300);

/// A filter that passes one event of the telemetry library in five minutes, and all others.
#[derive(Debug, Default)]
pub(super) struct Seldom {
    said: Mutex<Option<Instant>>,
}

impl Seldom {
    fn passes(&self, target: &str, now: Instant) -> bool {
        if !target.starts_with("opentelemetry") {
            return true;
        }
        let mut said = self.said.lock();
        let is_due = said.is_none_or(|at| now.saturating_duration_since(at) >= QUIET);
        if is_due {
            *said = Some(now);
        }
        is_due
    }
}

impl<S> Filter<S> for Seldom {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn callsite_enabled(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::always()
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.passes(event.metadata().target(), Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_telemetry_library_is_heard_once_in_a_while_and_others_always() {
        let seldom = Seldom::default();
        let start = Instant::now();
        assert!(seldom.passes("opentelemetry_sdk", start));
        assert!(!seldom.passes("opentelemetry-otlp", start + QUIET / 2));
        assert!(seldom.passes("tidegauge::runtime", start + QUIET / 2));
        assert!(seldom.passes("opentelemetry_sdk", start + QUIET));
    }
}
