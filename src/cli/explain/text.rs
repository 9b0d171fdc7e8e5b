//! The explanation for a terminal of 80 columns: five lines a stage, and one for its late rows.

use super::lengths::length;
use crate::plan::{
    ClockOutline, Explanation, Reads, SinkOutline, SourceOutline, StageOutline, StateOutline,
    WindowOutline,
};

const COLUMNS_MAX: usize = 80;
/// Where the text after a label begins.
const INDENT: usize = 13;

/// The whole text, which ends a line.
pub(super) fn text(job: &Explanation) -> String {
    let mut lines = vec![summary(job)];
    lines.extend(job.sources.iter().map(source));
    lines.extend(job.stages.iter().flat_map(stage));
    lines.extend(job.sinks.iter().map(sink));
    if !job.stages.is_empty() {
        lines.push(
            "Each read and each close runs in this process, or on workers with --workers."
                .to_owned(),
        );
    }
    lines.join("\n") + "\n"
}

fn summary(job: &Explanation) -> String {
    let counted = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    let stages = match job.stages.len() {
        0 => "no stage, so that nothing is kept".to_owned(),
        count => counted(count, "stage"),
    };
    let (sources, sinks) = (job.sources.len(), job.sinks.len());
    format!(
        "{}: {}, {}, {stages}",
        job.job,
        counted(sources, "source"),
        counted(sinks, "query").replace("querys", "queries")
    )
}

fn source(source: &SourceOutline) -> String {
    let closing = match source.close_when_idle_us {
        Some(us) => format!(", closes windows after {} of silence", length(us)),
        None => String::new(),
    };
    fitted(format!(
        "source {}: event time {}, delay {}, idle after {}{closing}",
        source.name,
        source.event_time,
        length(source.delay_us),
        length(source.idle_after_us)
    ))
}

fn stage(stage: &StageOutline) -> Vec<String> {
    let by = match stage.keys.as_slice() {
        [] => String::new(),
        keys => format!(", by {}", keys.join(", ")),
    };
    let mut lines = vec![fitted(format!("stage {}: {}{by}", stage.number, window(&stage.window)))];
    let labelled = |label: &str, text: String| fitted(format!("  {label:<11}{text}"));
    lines.push(labelled("reads", reads_of(stage)));
    lines.push(labelled("state", state(stage)));
    lines.push(labelled("kept", kept(stage)));
    lines.extend(stage.late.iter().map(|folder| format!("  {:<11}{folder}", "late rows")));
    let clocks: Vec<String> = stage.watermark.iter().map(clock).collect();
    match clocks.as_slice() {
        [one] => lines.push(labelled("watermark", one.clone())),
        several => {
            lines.push(labelled("watermark", "the least of:".to_owned()));
            let indent = " ".repeat(INDENT + 2);
            lines.extend(several.iter().map(|one| fitted(format!("{indent}{one}"))));
        }
    }
    lines
}

/// The window in the words of the SQL.
pub(super) fn window(window: &WindowOutline) -> String {
    let (text, offset_us) = match window {
        WindowOutline::Tumble { size_us, offset_us } => {
            (format!("TUMBLE {}", length(*size_us)), *offset_us)
        }
        WindowOutline::Hop { size_us, slide_us, offset_us } => {
            (format!("HOP {} every {}", length(*size_us), length(*slide_us)), *offset_us)
        }
        WindowOutline::Cumulate { size_us, step_us, offset_us } => {
            (format!("CUMULATE to {} by {}", length(*size_us), length(*step_us)), *offset_us)
        }
        WindowOutline::Session { gap_us, partition_by } => {
            let by = match partition_by.as_slice() {
                [] => String::new(),
                keys => format!(" of each {}", keys.join(", ")),
            };
            (format!("SESSION gap {}{by}", length(*gap_us)), 0)
        }
    };
    match offset_us {
        0 => text,
        offset_us => format!("{text}, offset {}", length(offset_us)),
    }
}

fn reads_of(stage: &StageOutline) -> String {
    let beside = match stage.other_cuts {
        0 => String::new(),
        1 => ", in one read with 1 other cut".to_owned(),
        others => format!(", in one read with {others} other cuts"),
    };
    let same_epoch = match stage.reads {
        Reads::Source { .. } => "",
        Reads::Stages { .. } => ", as they close, in the same epoch",
    };
    format!("{}{same_epoch}{beside}", reads(&stage.reads))
}

fn reads(reads: &Reads) -> String {
    match reads {
        Reads::Source { source } => source.clone(),
        Reads::Stages { stages, is_joined } => {
            let joined = if *is_joined && stages.len() > 1 { " joined" } else { "" };
            format!("the rows of {}{joined}", numbered(stages))
        }
    }
}

/// `stage 1`, `stages 1 and 2`.
pub(super) fn numbered(stages: &[usize]) -> String {
    let numbers: Vec<String> = stages.iter().map(ToString::to_string).collect();
    match numbers.as_slice() {
        [one] => format!("stage {one}"),
        [first @ .., last] => format!("stages {} and {last}", first.join(", ")),
        [] => "no stage".to_owned(),
    }
}

fn state(stage: &StageOutline) -> String {
    let what = match &stage.state {
        StateOutline::Windows => "a row a window".to_owned(),
        StateOutline::Panes { pane_us } => format!("a row a pane of {}", length(*pane_us)),
        StateOutline::Sessions => "pieces of sessions".to_owned(),
        StateOutline::Rows => return "rows as they are".to_owned(),
    };
    let of_keys = match (&stage.state, stage.keys.is_empty()) {
        (StateOutline::Sessions, _) | (_, true) => "",
        (_, false) => " and key",
    };
    match stage.aggregates.as_slice() {
        [] => format!("{what}{of_keys}"),
        aggregates => format!("{what}{of_keys}: {}", aggregates.join(", ")),
    }
}

fn kept(stage: &StageOutline) -> String {
    let until = match (&stage.window, &stage.state) {
        (WindowOutline::Session { .. }, _) => "until the gap after its last row has passed",
        (_, StateOutline::Panes { .. }) => "until the last window that holds it closes",
        _ => "until its window closes",
    };
    let until = match stage.allowed_lateness_us {
        0 => until.to_owned(),
        us => format!("{until} and {} more", length(us)),
    };
    match stage.kept_us_max {
        Some(us) => format!("{until}: {} at most", length(us)),
        None => format!("{until}, as far as open sessions hold back"),
    }
}

fn clock(clock: &ClockOutline) -> String {
    match clock {
        ClockOutline::Source { source, event_time, delay_us: 0 } => {
            format!("latest {event_time} of {source}")
        }
        ClockOutline::Source { source, event_time, delay_us } => {
            format!("latest {event_time} of {source} less {}", length(*delay_us))
        }
        ClockOutline::Stages { stages, event_time } => {
            format!("least {event_time} that {} may still emit", numbered(stages))
        }
    }
}

fn sink(sink: &SinkOutline) -> String {
    let how = match (sink.is_stateless, &sink.reads) {
        (true, Reads::Source { source }) => format!("straight from {source}, as rows come"),
        (true, reads_of) => format!("straight from {}, as they come", reads(reads_of)),
        (false, reads_of) => format!("from {}", reads(reads_of)),
    };
    fitted(format!("sink {}: the query of line {}, {how}", sink.sink, sink.line))
}

/// The line, cut off where the terminal ends; the JSON has the whole.
fn fitted(line: String) -> String {
    if line.chars().count() <= COLUMNS_MAX {
        return line;
    }
    let kept: String = line.chars().take(COLUMNS_MAX - 4).collect();
    format!("{} ...", kept.trim_end_matches([' ', ',']))
}
