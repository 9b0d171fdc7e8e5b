//! stub
#![allow(missing_docs, clippy::todo)]
use std::sync::Arc;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use futures::stream::BoxStream;
use object_store::{ObjectStore, path::Path};
use std::ops::Range;
pub struct Decoded { pub batch: RecordBatch, pub rejects: Vec<Reject>, pub consumed: usize }
pub struct Reject { pub byte_offset: u64, pub line: u64, pub field: Option<String>, pub message: String, pub raw: Vec<u8> }
#[derive(Debug, Clone)]
pub struct InputFile { pub location: Path, pub size: u64, pub etag: Option<String>, pub display: String, pub row_groups: Option<Range<usize>> }
pub struct OpenSettings { pub schema: SchemaRef, pub projection: Vec<usize>, pub format: tidegauge_spec::Format, pub compression: tidegauge_spec::Compression, pub unit: Option<tidegauge_spec::EpochUnit>, pub batch_rows: usize, pub block_bytes: usize }
pub fn read_file(_s: Arc<dyn ObjectStore>, _f: &InputFile, _o: Arc<OpenSettings>) -> BoxStream<'static, Result<Decoded, crate::error::Error>> { todo!() }
#[derive(Debug, Clone)]
pub struct SourceLocation;
impl SourceLocation { pub fn parse(_: &str) -> crate::error::Result<Self> { todo!() } pub fn open(&self) -> crate::error::Result<Arc<dyn ObjectStore>> { todo!() } }
#[derive(Debug, Clone)]
pub struct Discovered { pub location: Path, pub size: u64, pub etag: Option<String> }
impl Discovered { pub fn input_file(&self) -> InputFile { todo!() } }
pub async fn discover(_: &Arc<dyn ObjectStore>, _: &SourceLocation, _: tidegauge_spec::DiscoveryOrder) -> crate::error::Result<Vec<Discovered>> { todo!() }
pub fn arrow_schema(_: &[tidegauge_spec::Column]) -> SchemaRef { todo!() }
