//! Telemetry: metric names, tracing, OpenTelemetry.
