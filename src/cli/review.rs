//! `tidegauge review LOCATION`: the top findings of a sink and, against labels, how many of the
//! labelled anomalies were found and how many findings were false.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use comfy_table::{Table, presets::UTF8_HORIZONTAL_ONLY};
use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::compute::{cast, concat_batches, sort_to_indices, take_record_batch};
use datafusion::arrow::datatypes::{DataType, TimestampMicrosecondType};
use serde::Deserialize;
use tidegauge_commitlog::Storage;

use super::failure::Failure;
use super::show::{cells, header};
use crate::sink::read_all;
use crate::source::parse_timestamp;

/// Arguments of `review`.
#[derive(Debug, Args)]
pub(super) struct ReviewArguments {
    /// The sink's location.
    location: String,
    /// A labels file, as `generate` writes it.
    #[arg(long)]
    labels: Option<PathBuf>,
    /// How many findings to print, highest score first.
    #[arg(long, default_value_t = 15)]
    top: usize,
    /// The column that a finding is ordered by.
    #[arg(long, default_value = "score")]
    score: String,
    /// The column that names the host.
    #[arg(long, default_value = "src_ip")]
    host: String,
}

/// A labelled anomaly.
#[derive(Debug, Clone, Deserialize)]
struct Label {
    #[serde(rename = "type")]
    kind: String,
    tenant: String,
    host: String,
    start: String,
    end: String,
}

/// Where and when a finding is.
struct Place {
    tenant: String,
    host: String,
    start_us: i64,
    end_us: i64,
}

pub(super) async fn review(arguments: ReviewArguments) -> Result<(), Failure> {
    let storage = Storage::open(&arguments.location)?;
    let findings = ordered(&read_all(&storage).await?, &arguments.score)?;
    let mut out = std::io::stdout().lock();
    let Some(findings) = findings else {
        writeln!(out, "no findings at {}", arguments.location)?;
        return Ok(());
    };
    let shown = findings.slice(0, findings.num_rows().min(arguments.top));
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY);
    table.set_header(header(&shown.schema()));
    table.add_rows(cells(&shown)?);
    writeln!(out, "{table}")?;
    writeln!(out, "{} of {} findings", shown.num_rows(), findings.num_rows())?;
    if let Some(labels) = &arguments.labels {
        let text = against(&findings, &load(labels)?, &arguments.host)?;
        writeln!(out, "{text}")?;
    }
    Ok(())
}

fn ordered(batches: &[RecordBatch], score: &str) -> Result<Option<RecordBatch>, Failure> {
    let Some(first) = batches.first() else { return Ok(None) };
    let failed = |error| Failure::running(format!("error: findings cannot be ordered: {error}"));
    let all = concat_batches(&first.schema(), batches).map_err(failed)?;
    let scores = column(&all, score)?;
    let options = datafusion::arrow::compute::SortOptions { descending: true, nulls_first: false };
    let order = sort_to_indices(&scores, Some(options), None).map_err(failed)?;
    take_record_batch(&all, &order).map(Some).map_err(failed)
}

fn load(path: &Path) -> Result<Vec<Label>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::bad(format!("{}: {error}", path.display())))?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::bad(format!("{}: not labels: {error}", path.display())))
}

/// A label is found when a finding of its host overlaps it; a finding is false when it overlaps
/// no label of its host.
fn against(findings: &RecordBatch, labels: &[Label], host: &str) -> Result<String, Failure> {
    let places = places(findings, host)?;
    let mut found: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut true_findings: BTreeSet<usize> = BTreeSet::new();
    for label in labels {
        let hits: Vec<usize> = places
            .iter()
            .enumerate()
            .filter(|(_, place)| overlaps(place, label))
            .map(|(at, _)| at)
            .collect();
        let (hit, all) = found.entry(&label.kind).or_default();
        *hit += usize::from(!hits.is_empty());
        *all += 1;
        true_findings.extend(hits);
    }
    let hit: usize = found.values().map(|(hit, _)| hit).sum();
    let mut text = format!(
        "{hit} of {} labelled anomalies found; {} of {} findings are false",
        labels.len(),
        places.len() - true_findings.len(),
        places.len()
    );
    for (kind, (hit, all)) in found {
        text.push_str(&format!("\n  {kind}: {hit} of {all}"));
    }
    Ok(text)
}

fn overlaps(place: &Place, label: &Label) -> bool {
    let time = |text: &str| parse_timestamp(text, None);
    let (Some(start), Some(end)) = (time(&label.start), time(&label.end)) else { return false };
    place.tenant == label.tenant
        && place.host == label.host
        && place.start_us <= end
        && place.end_us > start
}

fn places(findings: &RecordBatch, host: &str) -> Result<Vec<Place>, Failure> {
    let failed = |error| Failure::running(format!("error: findings cannot be read: {error}"));
    let text = |name: &str| cast(&column(findings, name)?, &DataType::Utf8).map_err(failed);
    let time = |name: &str| {
        let utc = crate::plan::utc_type();
        cast(&column(findings, name)?, &utc).map_err(failed)
    };
    let (tenants, hosts) = (text("tenant")?, text(host)?);
    let (starts, ends) = (time("window_start")?, time("window_end")?);
    let (tenants, hosts) = (tenants.as_string::<i32>(), hosts.as_string::<i32>());
    let starts = starts.as_primitive::<TimestampMicrosecondType>();
    let ends = ends.as_primitive::<TimestampMicrosecondType>();
    Ok((0..findings.num_rows())
        .map(|row| Place {
            tenant: tenants.value(row).to_owned(),
            host: hosts.value(row).to_owned(),
            start_us: starts.value(row),
            end_us: ends.value(row),
        })
        .collect())
}

fn column(findings: &RecordBatch, name: &str) -> Result<Arc<dyn Array>, Failure> {
    findings.column_by_name(name).cloned().ok_or_else(|| {
        let schema = findings.schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        Failure::bad(format!("the findings have no column {name}, only {}", names.join(", ")))
    })
}
