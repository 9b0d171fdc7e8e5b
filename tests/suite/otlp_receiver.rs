//! A receiver of OTLP over gRPC on loopback, which keeps what it is sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{NumberDataPoint, metric};
use opentelemetry_proto::tonic::resource::v1::Resource;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::process::Env;

/// Attributes as text, by key.
pub(super) type Labels = BTreeMap<String, String>;

/// A receiver that listens as long as it is held.
#[derive(Debug)]
pub(super) struct Receiver {
    address: String,
    received: Arc<Received>,
    _server: JoinSet<()>,
}

/// What came, in order.
#[derive(Debug, Default)]
struct Received {
    traces: Mutex<Vec<ExportTraceServiceRequest>>,
    metrics: Mutex<Vec<ExportMetricsServiceRequest>>,
}

/// A span.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub(super) name: String,
    pub(super) trace: Vec<u8>,
    pub(super) id: Vec<u8>,
    pub(super) parent: Vec<u8>,
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    pub(super) attributes: Labels,
    /// The message of its status, where it is marked as failed.
    pub(super) error: Option<String>,
    /// What sent it.
    pub(super) resource: Labels,
}

impl Receiver {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::new(Received::default());
        let server = Server::builder()
            .add_service(TraceServiceServer::from_arc(Arc::clone(&received)))
            .add_service(MetricsServiceServer::from_arc(Arc::clone(&received)))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { server.await.unwrap() });
        Self { address, received, _server: tasks }
    }

    /// The variables that lead a process here.
    pub(super) fn env(&self) -> Env {
        vec![("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), self.address.clone())]
    }

    /// Every span, by its start.
    pub(super) fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        for request in self.received.traces.lock().iter() {
            let scopes = request.resource_spans.iter().flat_map(|of| {
                let resource = attributes_of(of.resource.as_ref());
                of.scope_spans.iter().map(move |scope| (resource.clone(), scope))
            });
            for (resource, scope) in scopes {
                spans.extend(scope.spans.iter().map(|span| Span {
                    resource: resource.clone(),
                    name: span.name.clone(),
                    trace: span.trace_id.clone(),
                    id: span.span_id.clone(),
                    parent: span.parent_span_id.clone(),
                    start_ns: span.start_time_unix_nano,
                    end_ns: span.end_time_unix_nano,
                    attributes: labels(&span.attributes),
                    // 2 is STATUS_CODE_ERROR.
                    error: span.status.clone().filter(|of| of.code == 2).map(|of| of.message),
                }));
            }
        }
        spans.sort_by_key(|span| span.start_ns);
        spans
    }

    /// The last value of every series, by metric and labels; of a histogram, its count.
    pub(super) fn metrics(&self) -> BTreeMap<(String, Labels), f64> {
        let mut series = BTreeMap::new();
        for request in self.received.metrics.lock().iter() {
            for scope in request.resource_metrics.iter().flat_map(|of| &of.scope_metrics) {
                for metric in &scope.metrics {
                    for (labels, value) in points(metric.data.as_ref().unwrap()) {
                        series.insert((metric.name.clone(), labels), value);
                    }
                }
            }
        }
        series
    }

    /// The last value of every series of the service `name`, its processes together.
    pub(super) fn metrics_of(&self, name: &str) -> BTreeMap<(String, Labels), f64> {
        let mut last = BTreeMap::new();
        let requests = self.received.metrics.lock();
        for of in requests.iter().flat_map(|request| &request.resource_metrics) {
            let resource = attributes_of(of.resource.as_ref());
            if resource["service.name"] != name {
                continue;
            }
            for metric in of.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
                for (labels, value) in points(metric.data.as_ref().unwrap()) {
                    let process = resource["service.instance.id"].clone();
                    last.insert((process, metric.name.clone(), labels), value);
                }
            }
        }
        let mut series = BTreeMap::new();
        for ((_, metric, labels), value) in last {
            *series.entry((metric, labels)).or_default() += value;
        }
        series
    }

    /// The attributes of what sent traces, and of what sent metrics.
    pub(super) fn resources(&self) -> Vec<Labels> {
        let traces = self.received.traces.lock();
        let metrics = self.received.metrics.lock();
        let of_traces = traces.iter().flat_map(|request| &request.resource_spans);
        let of_metrics = metrics.iter().flat_map(|request| &request.resource_metrics);
        let mut resources: Vec<Labels> = of_traces
            .map(|of| of.resource.as_ref())
            .chain(of_metrics.map(|of| of.resource.as_ref()))
            .map(attributes_of)
            .collect();
        resources.dedup();
        resources
    }
}

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.traces.lock().push(request.into_inner());
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Received {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.metrics.lock().push(request.into_inner());
        Ok(Response::new(Default::default()))
    }
}

fn points(data: &metric::Data) -> Vec<(Labels, f64)> {
    let number = |point: &NumberDataPoint| {
        let value = match point.value.unwrap() {
            Value::AsDouble(value) => value,
            Value::AsInt(value) => value as f64,
        };
        (labels(&point.attributes), value)
    };
    match data {
        metric::Data::Sum(sum) => sum.data_points.iter().map(number).collect(),
        metric::Data::Gauge(gauge) => gauge.data_points.iter().map(number).collect(),
        metric::Data::Histogram(histogram) => histogram
            .data_points
            .iter()
            .map(|point| (labels(&point.attributes), point.count as f64))
            .collect(),
        other => panic!("no metric is of this kind: {other:?}"),
    }
}

fn attributes_of(resource: Option<&Resource>) -> Labels {
    labels(&resource.unwrap().attributes)
}

fn labels(attributes: &[KeyValue]) -> Labels {
    let text = |value: &any_value::Value| match value {
        any_value::Value::StringValue(text) => text.clone(),
        any_value::Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes
        .iter()
        .map(|pair| {
            let value = pair.value.as_ref().and_then(|value| value.value.as_ref());
            (pair.key.clone(), text(value.unwrap()))
        })
        .collect()
}
