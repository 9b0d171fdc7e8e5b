//! The line that shows a run at work; silent when stderr is not a terminal.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::runtime::{Progress, rfc3339};

const REFRESH: Duration = Duration::from_millis(200);

/// A line on stderr that is drawn until it is finished or dropped.
pub(super) struct Display {
    bar: ProgressBar,
    drawing: tokio::task::JoinSet<()>,
}

impl Display {
    /// Begins to show `progress` of the job `name`.
    pub(super) fn start(name: &str, progress: Arc<Progress>) -> Self {
        let bar = ProgressBar::new_spinner().with_prefix(name.to_owned());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}: {wide_msg}") {
            bar.set_style(style);
        }
        let mut drawing = tokio::task::JoinSet::new();
        if !bar.is_hidden() {
            let bar = bar.clone();
            drawing.spawn(async move {
                let began = Instant::now();
                loop {
                    bar.set_message(line(&progress, began.elapsed()));
                    bar.tick();
                    tokio::time::sleep(REFRESH).await;
                }
            });
        }
        Self { bar, drawing }
    }

    /// Takes the line away.
    pub(super) fn finish(mut self) {
        self.drawing.abort_all();
        self.bar.finish_and_clear();
    }
}

fn line(progress: &Progress, elapsed: Duration) -> String {
    let rate = progress.rows() as f64 / elapsed.as_secs_f64().max(1e-9);
    let event_time_us = progress.event_time_us();
    let time = event_time_us.and_then(rfc3339).unwrap_or_else(|| "-".to_owned());
    let lag_s = match (event_time_us, progress.watermark_us()) {
        (Some(time), Some(watermark)) => {
            format!("{:.0} s", time.saturating_sub(watermark) as f64 / 1e6)
        }
        _ => "-".to_owned(),
    };
    format!(
        "{} epochs, {} files, {} rows, {rate:.0} rows/s, event time {time}, watermark lag {lag_s}",
        progress.epochs(),
        progress.files(),
        progress.rows(),
    )
}
