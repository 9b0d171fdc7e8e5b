//! What a job is made of, for `tidegauge explain`: its sources, its stages in order, what each keeps
//! and for how long, and where the rows of its sinks come from. `cli/explain` writes it as text,
//! JSON or a graph; the fields here are those of the JSON.
//!
//! ```text
//!   JobPlan, JobSpec --> Explanation { sources, stages, sinks }
//!     order.rs   the stages' numbers
//!     lag.rs     how long a stage may keep what it keeps
//!     names.rs   keys and aggregates as the query writes them
//! ```

mod lag;
mod names;
mod order;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;
use tidegauge_spec::JobSpec;

use super::feed::Feed;
use super::input::Input;
use super::job_plan::JobPlan;
use super::query::Query;
use super::stage::Stage;
use crate::sql::Windows;
use crate::state::StateShape;

/// A job as `explain` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The job's name.
    pub job: String,
    /// The sources that a query reads, in the order of the job file.
    pub sources: Vec<SourceOutline>,
    /// The stages, each after those whose rows it reads.
    pub stages: Vec<StageOutline>,
    /// The INSERTs in the order of the text.
    pub sinks: Vec<SinkOutline>,
}

/// A source, and what its watermark is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceOutline {
    /// Its name.
    pub name: String,
    /// The column of its event time.
    pub event_time: String,
    /// How far its watermark stays behind its latest event time.
    pub delay_us: i64,
    /// How long it may show no row before it holds no other source back.
    pub idle_after_us: i64,
    /// How long it is silent before what is open of it closes, if it ever does by that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close_when_idle_us: Option<i64>,
    /// The stages and stateless queries that share its one read.
    pub cuts: usize,
}

/// A stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StageOutline {
    /// Its number, from 1.
    pub number: usize,
    /// Its identity, which names its state in the commit records.
    pub id: String,
    /// Whose rows it reads, in the epoch in which they come.
    pub reads: Reads,
    /// How many stages and stateless queries share that read with it.
    pub other_cuts: usize,
    /// Its windows.
    pub window: WindowOutline,
    /// What it groups by beside the window.
    pub keys: Vec<String>,
    /// What it aggregates; nothing where it keeps rows as they are.
    pub aggregates: Vec<String>,
    /// What a row of its state is.
    pub state: StateOutline,
    /// How far the latest event time may pass a row's own (of a session: its last row's) while the
    /// row is kept; none where that depends on how long sessions are.
    pub kept_us_max: Option<i64>,
    /// How long after its end a window may still change.
    pub allowed_lateness_us: i64,
    /// The folder of its late rows, where the job keeps them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late: Option<String>,
    /// What its watermark is the least of.
    pub watermark: Vec<ClockOutline>,
}

/// Whose rows are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reads {
    /// Those of a source.
    Source {
        /// Its name.
        source: String,
    },
    /// What stages emit.
    Stages {
        /// Their numbers.
        stages: Vec<usize>,
        /// Whether a join brings their rows together.
        is_joined: bool,
    },
}

/// A family of windows; lengths in microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WindowOutline {
    /// Side by side.
    Tumble {
        /// The length.
        size_us: i64,
        /// How far starts are from multiples of the size.
        offset_us: i64,
    },
    /// One each slide.
    Hop {
        /// The length.
        size_us: i64,
        /// The distance between two starts.
        slide_us: i64,
        /// How far starts are from multiples of the slide.
        offset_us: i64,
    },
    /// Growing from one start.
    Cumulate {
        /// The length of the longest.
        size_us: i64,
        /// How much longer each is than the one before.
        step_us: i64,
        /// How far starts are from multiples of the size.
        offset_us: i64,
    },
    /// As the rows of a key lie.
    Session {
        /// The largest distance between two neighbours.
        gap_us: i64,
        /// The keys that have sessions of their own.
        partition_by: Vec<String>,
    },
}

/// What a row of a stage's state stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StateOutline {
    /// A window and key.
    Windows,
    /// A pane and key; windows are put together of panes.
    Panes {
        /// The length of a pane.
        pane_us: i64,
    },
    /// A piece of a session.
    Sessions,
    /// A row as it came, with how often it did.
    Rows,
}

/// One of the clocks that a watermark is the least of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ClockOutline {
    /// The latest event time of a source, less its delay.
    Source {
        /// Its name.
        source: String,
        /// The column of its event time.
        event_time: String,
        /// How far the watermark stays behind it.
        delay_us: i64,
    },
    /// The least value that stages may still emit.
    Stages {
        /// Their numbers.
        stages: Vec<usize>,
        /// The column of that value.
        event_time: String,
    },
}

/// Where the rows of an INSERT come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SinkOutline {
    /// The sink.
    pub sink: String,
    /// The line of the SQL where the INSERT begins.
    pub line: u64,
    /// Whether rows pass as they come, so that nothing of them is kept.
    pub is_stateless: bool,
    /// Whose rows it reads.
    pub reads: Reads,
}

impl Explanation {
    /// Explains the job of `spec` and `plan`.
    pub fn new(spec: &JobSpec, plan: &JobPlan) -> Self {
        Explainer { spec, plan, numbers: order::numbers(plan) }.explain()
    }

    /// The number of the stage of this identity.
    pub fn number_of(&self, id: &str) -> Option<usize> {
        self.stages.iter().find(|stage| stage.id == id).map(|stage| stage.number)
    }
}

struct Explainer<'a> {
    spec: &'a JobSpec,
    plan: &'a JobPlan,
    numbers: BTreeMap<String, usize>,
}

impl Explainer<'_> {
    fn explain(&self) -> Explanation {
        let mut stages: Vec<StageOutline> =
            self.plan.stages.values().map(|stage| self.stage(stage)).collect();
        stages.sort_by_key(|stage| stage.number);
        let used = self.plan.sources_used();
        let sources = self.spec.sources.iter().filter(|source| used.contains(source.name.as_str()));
        let sources = sources.map(|source| SourceOutline {
            name: source.name.clone(),
            event_time: source.event_time.spoken(),
            delay_us: micros(source.event_time.delay),
            idle_after_us: micros(source.event_time.idle_after),
            close_when_idle_us: source.event_time.close_when_idle.map(micros),
            cuts: self.cuts_of(&Input::Source(source.name.clone())),
        });
        Explanation {
            job: self.spec.name.clone(),
            sources: sources.collect(),
            stages,
            sinks: self.plan.queries.iter().map(|query| self.sink(query)).collect(),
        }
    }

    fn stage(&self, stage: &Stage) -> StageOutline {
        let keys = names::keys(stage);
        StageOutline {
            number: self.numbers.get(&stage.id).copied().unwrap_or_default(),
            id: stage.id.clone(),
            reads: self.reads(&stage.input),
            other_cuts: self.cuts_of(&stage.input).saturating_sub(1),
            window: window(stage, &keys),
            keys: names::grouped(stage, keys),
            aggregates: names::aggregates(stage),
            state: match stage.state_shape() {
                _ if stage.keeps_rows => StateOutline::Rows,
                StateShape::Windows(_) => StateOutline::Windows,
                StateShape::Panes(shape) | StateShape::Stacks(shape) => {
                    StateOutline::Panes { pane_us: shape.pane_us() }
                }
                StateShape::Sessions(_) => StateOutline::Sessions,
            },
            kept_us_max: lag::kept_us_max(self.spec, self.plan, stage),
            allowed_lateness_us: stage.lateness_us,
            late: self
                .spec
                .late
                .as_ref()
                .map(|late| format!("{}/{}/", late.location.trim_end_matches('/'), stage.id)),
            watermark: stage.clocks.iter().filter_map(|clock| self.clock(clock)).collect(),
        }
    }

    fn sink(&self, query: &Query) -> SinkOutline {
        let reads = match &query.input {
            Some(input) => self.reads(input),
            None => {
                let stages = query.stages.iter().map(String::as_str);
                Reads::Stages { stages: self.numbers(stages), is_joined: query.prepared.has_join() }
            }
        };
        let (sink, line) = (query.sink.clone(), query.line);
        SinkOutline { sink, line, is_stateless: query.is_stateless(), reads }
    }

    fn reads(&self, input: &Input) -> Reads {
        match (input, self.feed(input)) {
            (Input::Feed(_), Some(feed)) => Reads::Stages {
                stages: self.numbers(feed.stages.iter().map(String::as_str)),
                is_joined: feed.prepared.has_join(),
            },
            (input, _) => Reads::Source { source: input.name().to_owned() },
        }
    }

    fn clock(&self, clock: &Input) -> Option<ClockOutline> {
        if let Some(feed) = self.feed(clock) {
            return Some(ClockOutline::Stages {
                stages: self.numbers(feed.stages.iter().map(String::as_str)),
                event_time: names::feed_time(feed).to_owned(),
            });
        }
        let source = self.spec.sources.iter().find(|source| source.name == clock.name())?;
        Some(ClockOutline::Source {
            source: source.name.clone(),
            event_time: source.event_time.spoken(),
            delay_us: micros(source.event_time.delay),
        })
    }

    fn feed(&self, input: &Input) -> Option<&Feed> {
        match input {
            Input::Feed(id) => self.plan.feeds.get(id),
            Input::Source(_) => None,
        }
    }

    fn numbers<'a>(&self, ids: impl Iterator<Item = &'a str>) -> Vec<usize> {
        let numbers: BTreeSet<usize> = ids.filter_map(|id| self.numbers.get(id).copied()).collect();
        numbers.into_iter().collect()
    }

    fn cuts_of(&self, input: &Input) -> usize {
        let stages = self.plan.stages.values().filter(|stage| stage.input == *input).count();
        let queries = self.plan.queries.iter().filter(|query| query.input.as_ref() == Some(input));
        stages + queries.count()
    }
}

fn window(stage: &Stage, keys: &[String]) -> WindowOutline {
    match stage.windows {
        Windows::Aligned(shape) => {
            let (size_us, offset_us) = (shape.size_us(), shape.offset_us());
            if shape.is_tumble() {
                WindowOutline::Tumble { size_us, offset_us }
            } else if shape.cumulates() {
                WindowOutline::Cumulate { size_us, step_us: shape.slide_us(), offset_us }
            } else {
                WindowOutline::Hop { size_us, slide_us: shape.slide_us(), offset_us }
            }
        }
        Windows::Session(shape) => {
            let partition = stage.sessions.as_ref().map_or(0, |keys| keys.partition);
            let partition_by = keys.iter().take(partition).cloned().collect();
            WindowOutline::Session { gap_us: shape.gap_us(), partition_by }
        }
    }
}

fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX)
}
