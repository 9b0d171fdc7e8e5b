//! `tidegauge check JOB.yaml`.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;

use super::failure::Failure;
use super::run::compile;

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// The job file.
    job: PathBuf,
}

pub(super) async fn check(arguments: CheckArguments) -> Result<(), Failure> {
    let job = compile(&arguments.job).await?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}: the job is good", job.spec.name)?;
    for advice in job.spec.advice() {
        writeln!(out, "warning: {advice}")?;
    }
    for sink in &job.spec.sinks {
        let Some(query) = job.plan.queries.iter().find(|query| query.sink == sink.name) else {
            continue;
        };
        let partition = match sink.partition_by.is_empty() {
            true => String::new(),
            false => format!(", partitioned by {}", sink.partition_by.join(", ")),
        };
        writeln!(out, "sink {} at {}{partition}", sink.name, sink.location)?;
        for field in query.schema.fields() {
            writeln!(out, "  {} {}", field.name(), field.data_type())?;
        }
    }
    Ok(())
}
