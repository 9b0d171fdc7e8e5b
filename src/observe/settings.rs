//! What the environment asks of telemetry, in OpenTelemetry's own variables. The exporters read
//! the rest of them: endpoints, headers, timeouts, intervals, samplers.

use super::names;

/// Which exporters run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TelemetrySettings {
    /// Spans are pushed by OTLP.
    pub push_traces: bool,
    /// Metrics are pushed by OTLP.
    pub push_metrics: bool,
    /// Metrics can be asked for as Prometheus text.
    pub prometheus: bool,
    /// The process is a worker, which has a service name of its own.
    pub is_worker: bool,
    /// What was asked for and is not done, for the log.
    pub warnings: Vec<String>,
}

impl TelemetrySettings {
    /// What `env` asks for: OTLP where an endpoint is set.
    pub fn from_env(env: &dyn Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| env(name).filter(|value| !value.is_empty());
        let mut settings = Self::default();
        if get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return settings;
        }
        settings.push_traces = settings.pushes("TRACES", &get);
        settings.push_metrics = settings.pushes("METRICS", &get);
        settings
    }

    /// The same, and Prometheus text beside.
    #[must_use]
    pub fn with_prometheus(self) -> Self {
        Self { prometheus: true, ..self }
    }

    /// The same, of a worker.
    #[must_use]
    pub fn of_worker(self) -> Self {
        Self { is_worker: true, ..self }
    }

    /// The name of the service, where the environment gives none.
    pub(super) fn service_name(&self) -> &'static str {
        if self.is_worker { names::WORKER_SERVICE } else { names::SERVICE }
    }

    /// Whether anything reads metrics.
    pub fn measures(&self) -> bool {
        self.push_metrics || self.prometheus
    }

    fn pushes(&mut self, signal: &str, get: &dyn Fn(&str) -> Option<String>) -> bool {
        let either = |setting: &str| {
            let own = format!("OTEL_EXPORTER_OTLP_{signal}_{setting}");
            let shared = format!("OTEL_EXPORTER_OTLP_{setting}");
            [own, shared].into_iter().find_map(|name| Some((get(&name)?, name)))
        };
        if either("ENDPOINT").is_none() {
            return false;
        }
        let exporter = format!("OTEL_{signal}_EXPORTER");
        match get(&exporter).as_deref() {
            None | Some("otlp") => {}
            Some("none") => return false,
            Some(other) => {
                self.warnings.push(format!(
                    "{exporter}={other} is not supported, and nothing is exported for it; use otlp \
                     or none"
                ));
                return false;
            }
        }
        match either("PROTOCOL") {
            Some((protocol, name)) if protocol != "grpc" => {
                let what = signal.to_lowercase();
                self.warnings.push(format!(
                    "{name}={protocol} is not supported, and {what} are not exported; use grpc, \
                     with the receiver's port for it (4317 by convention)"
                ));
                false
            }
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> TelemetrySettings {
        let get = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        TelemetrySettings::from_env(&get)
    }

    #[test]
    fn nothing_is_pushed_without_an_endpoint() {
        assert_eq!(of(&[]), TelemetrySettings::default());
        assert_eq!(of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), TelemetrySettings::default());
    }

    #[test]
    fn an_endpoint_of_one_signal_pushes_that_signal() {
        let settings = of(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a:1")]);
        assert!(settings.push_traces && !settings.push_metrics && settings.warnings.is_empty());
    }

    #[test]
    fn another_protocol_is_warned_about_by_its_variable() {
        let settings = of(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1"),
            ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf"),
        ]);
        assert!(settings.push_traces && !settings.push_metrics);
        let [warning] = settings.warnings.as_slice() else { panic!("{settings:?}") };
        assert!(
            warning.starts_with("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=http/protobuf"),
            "{warning}"
        );
    }

    #[test]
    fn the_sdk_can_be_disabled_and_a_signal_left_out() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1");
        assert_eq!(of(&[endpoint, ("OTEL_SDK_DISABLED", "true")]), TelemetrySettings::default());
        let settings = of(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]);
        assert!(!settings.push_traces && settings.push_metrics && settings.warnings.is_empty());
        let settings = of(&[endpoint, ("OTEL_TRACES_EXPORTER", "zipkin")]);
        assert!(!settings.push_traces && settings.warnings.len() == 1, "{settings:?}");
    }
}
