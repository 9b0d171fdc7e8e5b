//! `tidegauge explain JOB.yaml`: what a job keeps, for how long, and where it runs.

mod dot;
mod lengths;
mod physical;
mod text;

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::failure::Failure;
use super::run::compile;
use crate::plan::Explanation;

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub(super) struct ExplainArguments {
    /// The job file.
    job: PathBuf,
    /// How it is printed: for a terminal, for a program, or for Graphviz.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// DataFusion's plans, too: of ingest for each stage, of close for each query.
    #[arg(long)]
    physical: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
    Dot,
}

pub(super) async fn explain(arguments: ExplainArguments) -> Result<(), Failure> {
    if arguments.physical && arguments.format == Format::Dot {
        return Err(Failure::bad(
            "error: a graph holds no physical plans; write --physical with --format text or json",
        ));
    }
    let job = compile(&arguments.job).await?;
    let explanation = Explanation::new(&job.spec, &job.plan);
    let physical = match arguments.physical {
        true => Some(physical::named(&explanation, job.physical_plans().await?)),
        false => None,
    };
    let shown = match arguments.format {
        Format::Text => {
            let plans = physical.iter().flatten().map(physical::PlanText::section);
            plans.fold(text::text(&explanation), |text, plan| text + "\n" + &plan)
        }
        Format::Json => physical::json(&explanation, physical.as_deref())?,
        Format::Dot => dot::dot(&explanation),
    };
    write!(std::io::stdout().lock(), "{shown}")?;
    Ok(())
}
