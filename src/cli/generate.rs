//! `tidegauge generate KIND --out DIR`.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tidegauge_generate::{Kind, OutputFormat, Settings};

use super::failure::Failure;

/// Arguments of `generate`.
#[derive(Debug, Args)]
pub(super) struct GenerateArguments {
    /// What to generate.
    #[arg(value_enum)]
    kind: KindArgument,
    /// The folder to write to.
    #[arg(long)]
    out: PathBuf,
    /// How many rows, those of the anomalies among them.
    #[arg(long)]
    rows: u64,
    /// Equal seeds give equal files.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many labelled anomalies are among the rows.
    #[arg(long, default_value_t = 0)]
    anomalies: u32,
    /// The format of the files.
    #[arg(long, value_enum, default_value_t = FormatArgument::Json)]
    format: FormatArgument,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KindArgument {
    Flows,
    Dns,
    Auth,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FormatArgument {
    Json,
    Parquet,
}

pub(super) fn generate(arguments: GenerateArguments) -> Result<(), Failure> {
    let kind = match arguments.kind {
        KindArgument::Flows => Kind::Flows,
        KindArgument::Dns => Kind::Dns,
        KindArgument::Auth => Kind::Auth,
    };
    let format = match arguments.format {
        FormatArgument::Json => OutputFormat::Json,
        FormatArgument::Parquet => OutputFormat::Parquet,
    };
    let settings = Settings {
        seed: arguments.seed,
        anomalies: arguments.anomalies,
        format,
        ..Settings::new(kind, arguments.out, arguments.rows)
    };
    let summary = tidegauge_generate::generate(&settings, &|_| {})
        .map_err(|error| Failure::running(format!("error: {error}")))?;
    writeln!(std::io::stdout().lock(), "{summary}")?;
    Ok(())
}
