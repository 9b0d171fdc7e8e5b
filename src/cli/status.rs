//! `tidegauge status NAME --to URL`.

use std::io::Write as _;

use clap::Args;
use serde_json::Value;

use super::failure::Failure;
use super::remote::{Format, Remote, RemoteArguments};
use super::show::plain;
use super::terminal::one_line;

/// Arguments of `status`.
#[derive(Debug, Args)]
pub(super) struct StatusArguments {
    /// The job's name.
    name: String,
    #[command(flatten)]
    remote: RemoteArguments,
}

const LINES: [&str; 7] =
    ["epoch", "watermark", "lag_ms", "state_bytes", "restarts", "origin", "last_error"];
const FATES: [&str; 5] = ["rows_in", "used", "filtered", "late", "quarantined"];

pub(super) async fn status(arguments: StatusArguments) -> Result<(), Failure> {
    let remote = Remote::new(&arguments.remote)?;
    let job = remote.get(&["api", "jobs", &arguments.name]).await?;
    let mut out = std::io::stdout().lock();
    if arguments.remote.format == Format::Json {
        writeln!(out, "{job}")?;
        return Ok(());
    }
    let stopping = if job["stopping"] == true { ", stopping after this epoch" } else { "" };
    writeln!(out, "{}: {}{stopping}", plain(&job["name"]), plain(&job["phase"]))?;
    for line in LINES {
        writeln!(out, "  {line} {}", plain(&job[line]))?;
    }
    for (name, source) in entries(&job["sources"]) {
        let fates = FATES.map(|fate| format!("{fate} {}", plain(&source["rows"][fate])));
        writeln!(out, "  source {}: {}", one_line(name), fates.join(", "))?;
        let odd = ["changed", "gone", "parked"]
            .map(|what| (what, source[format!("files_{what}")].as_u64().unwrap_or_default()));
        if odd.iter().any(|(_, files)| *files > 0) {
            let odd = odd.map(|(what, files)| format!("{what} {files}"));
            writeln!(out, "    files: {}", odd.join(", "))?;
        }
        for file in source["parked"].as_array().into_iter().flatten() {
            writeln!(out, "    left out: {}", plain(&file["error"]))?;
        }
    }
    for (name, stage) in entries(&job["stages"]) {
        let fates = FATES[1..4].iter();
        let fates: Vec<String> =
            fates.map(|fate| format!("{fate} {}", plain(&stage["rows"][fate]))).collect();
        let source = plain(&stage["source"]);
        writeln!(out, "  stage {} of {source}: {}", one_line(name), fates.join(", "))?;
    }
    for (sink, rows) in entries(&job["rows_out"]) {
        writeln!(out, "  sink {}: {} rows", one_line(sink), plain(rows))?;
    }
    Ok(())
}

fn entries(map: &Value) -> impl Iterator<Item = (&String, &Value)> {
    map.as_object().into_iter().flatten()
}
