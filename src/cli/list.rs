//! `tidegauge list --to URL`.

use std::io::Write as _;

use clap::Args;
use comfy_table::{Table, presets::UTF8_HORIZONTAL_ONLY};
use serde_json::Value;

use super::failure::Failure;
use super::remote::{Format, Remote, RemoteArguments};
use super::show::plain;

/// Arguments of `list`.
#[derive(Debug, Args)]
pub(super) struct ListArguments {
    #[command(flatten)]
    remote: RemoteArguments,
}

const COLUMNS: [&str; 7] =
    ["name", "phase", "epoch", "watermark", "lag_ms", "restarts", "last_error"];

pub(super) async fn list(arguments: ListArguments) -> Result<(), Failure> {
    let answer = Remote::new(&arguments.remote)?.get(&["api", "jobs"]).await?;
    let mut out = std::io::stdout().lock();
    if arguments.remote.format == Format::Json {
        writeln!(out, "{answer}")?;
        return Ok(());
    }
    let jobs: &[Value] = answer["jobs"].as_array().map_or(&[], Vec::as_slice);
    if jobs.is_empty() {
        writeln!(out, "no jobs")?;
        return Ok(());
    }
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY);
    table.set_header(COLUMNS);
    for job in jobs {
        table.add_row(COLUMNS.map(|column| plain(&job[column])));
    }
    writeln!(out, "{table}")?;
    Ok(())
}
