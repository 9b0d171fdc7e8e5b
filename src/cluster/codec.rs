//! The engine's own nodes to bytes and back, for their way to a worker.
//!
//! A node is its description as JSON, its schemas, and the plans inside it. UDFs travel by name.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::{Result, internal_err};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::{self, proto_error};
use prost::Message;

use super::ingest_exec::IngestExec;
use super::sink_exec::SinkExec;
use super::spec::{
    CutSpec, FileSpec, IngestSpec, LateSpec, NodeSpec, OutputSpec, RunSpec, SinkSpec, StateSpec,
};
use super::state_exec::RunExec;
use super::task::TaskObserver;
use crate::error::to_datafusion;
use crate::operator::{
    BatchLeaf, ChunkScan, GuardedJoinExec, IsolateExec, Isolation, SessionExec, StateScan,
};
use crate::plan::IngestCut;
use crate::runtime::{PassCut, PassPlan};

/// Encodes and decodes the engine's nodes.
#[derive(Debug)]
pub(super) struct EngineCodec;

#[derive(Clone, PartialEq, prost::Message)]
struct NodeProto {
    /// A [`NodeSpec`] as JSON.
    #[prost(string, tag = "1")]
    spec: String,
    #[prost(message, repeated, tag = "2")]
    schemas: Vec<protobuf::Schema>,
    #[prost(message, repeated, tag = "3")]
    plans: Vec<protobuf::PhysicalPlanNode>,
    #[prost(message, optional, tag = "4")]
    filter: Option<protobuf::PhysicalExprNode>,
}

type Converter<'a> = &'a dyn PhysicalProtoConverterExtension;

impl PhysicalExtensionCodec for EngineCodec {
    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        converter: Converter<'_>,
    ) -> Result<()> {
        let proto = if let Some(scan) = node.downcast_ref::<ChunkScan>() {
            self.encode_chunks(scan, converter)?
        } else if let Some(scan) = node.downcast_ref::<StateScan>() {
            let spec = StateSpec::of(scan).map_err(to_datafusion)?;
            proto(&NodeSpec::State(spec), [scan.state_schema()])?
        } else if let Some(ingest) = node.downcast_ref::<IngestExec>() {
            self.encode_ingest(ingest, converter)?
        } else if let Some(sink) = node.downcast_ref::<SinkExec>() {
            let spec = NodeSpec::Sink { sink: SinkSpec::of(&sink.target), number: sink.number };
            proto(&spec, [&sink.target.schema])?
        } else if let Some(sessions) = node.downcast_ref::<SessionExec>() {
            proto(&NodeSpec::Sessions { layout: sessions.layout() }, [])?
        } else if let Some(isolate) = node.downcast_ref::<IsolateExec>() {
            let (segment, depth) = isolate.segment()?;
            let isolation = isolate.isolation();
            let (policy, names) = (isolation.policy, isolation.names.clone());
            let plans = vec![converter.execution_plan_to_proto(&segment, self)?];
            NodeProto { plans, ..proto(&NodeSpec::Isolate { depth, policy, names }, [])? }
        } else if let Some(guarded) = node.downcast_ref::<GuardedJoinExec>() {
            let plans = vec![converter.execution_plan_to_proto(&guarded.emptied()?, self)?];
            let spec = NodeSpec::GuardedJoin { policy: guarded.policy() };
            NodeProto { plans, ..proto(&spec, [])? }
        } else if let Some(batch) = node.downcast_ref::<BatchLeaf>() {
            proto(&NodeSpec::Batch, [&batch.schema()])?
        } else if let Some(run) = node.downcast_ref::<RunExec>() {
            proto(&NodeSpec::Run(RunSpec::of(&run.target)), [&run.target.schema])?
        } else {
            return internal_err!("{} is not a node of the engine", node.name());
        };
        proto.encode(buf).map_err(|error| proto_error(error.to_string()))
    }

    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        task: &TaskContext,
        converter: Converter<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let proto = NodeProto::decode(buf).map_err(|error| proto_error(error.to_string()))?;
        let spec = serde_json::from_str(&proto.spec)
            .map_err(|error| proto_error(format!("a node's description: {error}")))?;
        let observer = TaskObserver::of(task)?;
        let mut schemas = schemas(&proto.schemas)?.into_iter();
        let mut schema = || schemas.next().ok_or_else(|| proto_error("a node lost a schema"));
        let input = || inputs.first().cloned().ok_or_else(|| proto_error("a node lost its input"));
        Ok(match spec {
            NodeSpec::Chunks { columns, partitions } => {
                let source = schema()?;
                let context = PhysicalPlanDecodeContext::new(task, self);
                let filter = match &proto.filter {
                    Some(filter) => {
                        Some(converter.proto_to_physical_expr(filter, &source, &context)?)
                    }
                    None => None,
                };
                Arc::new(ChunkScan::new(columns, filter, source, partitions)?)
            }
            NodeSpec::State(spec) => {
                Arc::new(spec.scan(schema()?, &observer).map_err(to_datafusion)?)
            }
            NodeSpec::Ingest(spec) => {
                let context = PhysicalPlanDecodeContext::new(task, self);
                let plans = proto.plans.iter();
                let plans = plans.map(|plan| converter.proto_to_execution_plan(plan, &context));
                let ingest = decode_ingest(spec, schema()?, schemas, plans, &observer)?;
                Arc::new(ingest.over(inputs.first().cloned()))
            }
            NodeSpec::Sessions { layout } => {
                Arc::new(SessionExec::try_new(layout, inputs.to_vec())?)
            }
            NodeSpec::Isolate { depth, policy, names } => {
                let context = PhysicalPlanDecodeContext::new(task, self);
                let Some(segment) = proto.plans.first() else {
                    return internal_err!("a node lost its segment");
                };
                let segment = converter.proto_to_execution_plan(segment, &context)?;
                let reports = observer.reports().clone();
                let isolation = Isolation { policy, names, reports };
                Arc::new(IsolateExec::of_segment(&segment, depth, input()?, isolation)?)
            }
            NodeSpec::GuardedJoin { policy } => {
                let context = PhysicalPlanDecodeContext::new(task, self);
                let Some(join) = proto.plans.first() else {
                    return internal_err!("a node lost its join");
                };
                let join = converter.proto_to_execution_plan(join, &context)?;
                let reports = observer.reports().clone();
                Arc::new(GuardedJoinExec::of_emptied(&join, inputs, policy, reports)?)
            }
            NodeSpec::Batch => Arc::new(BatchLeaf::empty(schema()?)),
            NodeSpec::Sink { sink, number } => {
                let target = sink.target(schema()?, &observer).map_err(to_datafusion)?;
                Arc::new(SinkExec::new(input()?, target, number))
            }
            NodeSpec::Run(spec) => {
                let target = spec.target(schema()?, &observer).map_err(to_datafusion)?;
                Arc::new(RunExec::new(input()?, target))
            }
        })
    }
}

impl EngineCodec {
    fn encode_chunks(&self, scan: &ChunkScan, converter: Converter<'_>) -> Result<NodeProto> {
        let spec =
            NodeSpec::Chunks { columns: scan.columns.clone(), partitions: scan.queues.len() };
        let filter = match &scan.filter {
            Some(filter) => Some(converter.physical_expr_to_proto(filter, self)?),
            None => None,
        };
        Ok(NodeProto { filter, ..proto(&spec, [&scan.source])? })
    }

    fn encode_ingest(&self, ingest: &IngestExec, converter: Converter<'_>) -> Result<NodeProto> {
        let mut schemas = vec![&ingest.pass.schema];
        let mut plans = Vec::new();
        let mut cuts = Vec::new();
        for cut in &ingest.pass.cuts {
            let (output, schema) = OutputSpec::of(&cut.output);
            schemas.push(schema);
            for plan in std::iter::once(&cut.plan.plan).chain(&cut.merge) {
                plans.push(converter.execution_plan_to_proto(plan, self)?);
            }
            cuts.push(CutSpec {
                target: cut.plan.target.clone(),
                query: cut.query.clone(),
                window: cut.window,
                copies: cut.copies,
                late: cut.late.as_ref().map(LateSpec::of),
                output,
            });
        }
        let spec = NodeSpec::Ingest(IngestSpec {
            source: ingest.pass.source.clone(),
            partitions: ingest.pass.partitions,
            task: ingest.pass.task.clone(),
            number: ingest.number,
            at: ingest.at,
            on_error: ingest.pass.on_error,
            cuts,
            files: ingest.files.iter().map(FileSpec::of).collect(),
        });
        Ok(NodeProto { plans, ..proto(&spec, schemas)? })
    }
}

fn decode_ingest(
    spec: IngestSpec,
    schema: SchemaRef,
    mut schemas: impl Iterator<Item = SchemaRef>,
    mut plans: impl Iterator<Item = Result<Arc<dyn ExecutionPlan>>>,
    observer: &TaskObserver,
) -> Result<IngestExec> {
    let mut plan = || plans.next().unwrap_or_else(|| internal_err!("a cut lost its plan"));
    let mut cuts = Vec::with_capacity(spec.cuts.len());
    for cut in spec.cuts {
        let Some(output) = schemas.next() else { return internal_err!("a cut lost its schema") };
        let ingest = IngestCut::new(cut.target, plan()?)?;
        let merge = match &cut.output {
            OutputSpec::State(_) => Some(plan()?),
            OutputSpec::Sink(_) => None,
        };
        let output = cut.output.target(output, observer).map_err(to_datafusion)?;
        let late = cut.late.map(|late| late.target(&schema, observer));
        let late = late.transpose().map_err(to_datafusion)?;
        let (query, window, copies) = (cut.query, cut.window, cut.copies);
        cuts.push(PassCut { plan: ingest, query, window, copies, late, output, merge });
    }
    let files = spec.files.into_iter().map(FileSpec::file);
    let files = files.collect::<crate::error::Result<Vec<_>>>().map_err(to_datafusion)?;
    let pass = PassPlan {
        source: spec.source,
        schema,
        cuts,
        partitions: spec.partitions,
        task: spec.task,
        on_error: spec.on_error,
    };
    Ok(IngestExec::new(pass, files, spec.number).of_task(spec.at))
}

fn proto<'a>(
    spec: &NodeSpec,
    schemas: impl IntoIterator<Item = &'a SchemaRef>,
) -> Result<NodeProto> {
    let spec = serde_json::to_string(spec)
        .map_err(|error| proto_error(format!("a node's description: {error}")))?;
    let schemas = schemas
        .into_iter()
        .map(|schema| Ok(protobuf::Schema::try_from(schema.as_ref())?))
        .collect::<Result<Vec<_>>>()?;
    Ok(NodeProto { spec, schemas, plans: vec![], filter: None })
}

fn schemas(protos: &[protobuf::Schema]) -> Result<Vec<SchemaRef>> {
    protos.iter().map(|proto| Ok(Arc::new(Schema::try_from(proto)?))).collect()
}
