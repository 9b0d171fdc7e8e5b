//! The explanation as a graph for Graphviz: sources, stages, sinks, and what flows between them.

use super::lengths::length;
use super::text::window;
use crate::plan::{Explanation, Reads};

/// The graph, which ends a line.
pub(super) fn dot(job: &Explanation) -> String {
    let mut lines = vec![format!("digraph {} {{", quoted(&job.job)), "  rankdir=LR;".to_owned()];
    for source in &job.sources {
        let label = format!("{}\ndelay {}", source.name, length(source.delay_us));
        lines.push(node(&source_id(&source.name), "cylinder", &label));
    }
    for stage in &job.stages {
        let by = match stage.keys.as_slice() {
            [] => String::new(),
            keys => format!("\nby {}", keys.join(", ")),
        };
        let label = format!("stage {}\n{}{by}", stage.number, window(&stage.window));
        lines.push(node(&stage_id(stage.number), "box", &label));
    }
    // Several queries may write one sink.
    let mut shown: Vec<&str> = Vec::new();
    for sink in job.sinks.iter().map(|sink| sink.sink.as_str()) {
        if !shown.contains(&sink) {
            shown.push(sink);
            lines.push(node(&sink_id(sink), "folder", sink));
        }
    }
    for stage in &job.stages {
        lines.extend(edges(&stage.reads, &stage_id(stage.number), ""));
    }
    for sink in &job.sinks {
        lines.extend(edges(&sink.reads, &sink_id(&sink.sink), &format!("line {}", sink.line)));
    }
    lines.push("}".to_owned());
    lines.join("\n") + "\n"
}

fn source_id(name: &str) -> String {
    quoted(&format!("source {name}"))
}

fn stage_id(number: usize) -> String {
    quoted(&format!("stage {number}"))
}

fn sink_id(name: &str) -> String {
    quoted(&format!("sink {name}"))
}

fn node(id: &str, shape: &str, label: &str) -> String {
    format!("  {id} [shape={shape}, label={}];", quoted(label))
}

fn edges(reads: &Reads, to: &str, label: &str) -> Vec<String> {
    let from: Vec<String> = match reads {
        Reads::Source { source } => vec![source_id(source)],
        Reads::Stages { stages, .. } => stages.iter().map(|number| stage_id(*number)).collect(),
    };
    let label = match label {
        "" => String::new(),
        label => format!(" [label={}]", quoted(label)),
    };
    from.into_iter().map(|from| format!("  {from} -> {to}{label};")).collect()
}

/// A string of the language: quotes and backslashes escaped, line breaks centred.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}
