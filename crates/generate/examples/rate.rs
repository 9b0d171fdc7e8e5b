//! Prints how many rows a second each kind and format are generated at.
//!
//! `cargo run --release -p tidegauge-generate --example rate -- [ROWS]`

use std::io::Write;
use std::time::Instant;

use tidegauge_generate::{Kind, OutputFormat, Settings, generate};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rows: u64 = std::env::args().nth(1).map_or(Ok(4_000_000), |text| text.parse())?;
    let folder = std::env::temp_dir().join(format!("tidegauge-rate-{}", std::process::id()));
    for kind in [Kind::Flows, Kind::Dns, Kind::Auth] {
        for format in [OutputFormat::Json, OutputFormat::Parquet] {
            let settings = Settings {
                anomalies: 20,
                format,
                threads: 2,
                ..Settings::new(kind, &folder, rows)
            };
            let start = Instant::now();
            let summary = generate(&settings, &|_| {})?;
            let rate = rows as f64 / start.elapsed().as_secs_f64() / 1e6;
            let (kind, format) = (kind.name(), format.name());
            let megabytes = summary.bytes / 1_000_000;
            writeln!(std::io::stdout(), "{kind} {format}: {rate:.2} M rows/s, {megabytes} MB")?;
            std::fs::remove_dir_all(&folder)?;
        }
    }
    Ok(())
}
