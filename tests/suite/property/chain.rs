//! Drawn chains: up to three windows, each over what the one before gives, with a question inside
//! the window above each; and the programs that a chain is in the job and in the reference.

use proptest::prelude::*;

use super::inside::{Link, drawn_link};
use super::nest::{DrawnNest, drawn_nest};
use super::query::{COLUMNS, DrawnBody, drawn_body};
use super::reference::Step;
use super::windows::{DrawnWindow, Spelling, drawn_window};

/// The statements of a job, and the steps that give the same without it.
#[derive(Debug, Clone, Default)]
pub struct Program {
    pub views: Vec<String>,
    pub steps: Vec<Step>,
}

impl Program {
    /// Adds a view that is the same on both sides.
    pub fn view(&mut self, name: &str, sql: &str) {
        self.views.push(format!("CREATE VIEW {name} AS {sql}"));
        let (name, sql) = (name.to_owned(), sql.to_owned());
        self.steps.push(Step::Query { name, sql, said: None });
    }

    /// Adds a view that plain DataFusion has to be asked for in other words.
    pub fn view_said(&mut self, name: &str, job: &str, reference: &str) {
        self.views.push(format!("CREATE VIEW {name} AS {job}"));
        let (name, sql, said) = (name.to_owned(), reference.to_owned(), Some(job.to_owned()));
        self.steps.push(Step::Query { name, sql, said });
    }
}

/// A source or a view.
#[derive(Debug, Clone)]
pub struct Relation {
    pub name: String,
    /// The column that the next window is over.
    pub time: String,
    /// Columns that order it totally, but for rows that are equal.
    pub order: String,
    /// The columns of its own window.
    pub window: Vec<String>,
    /// Columns in addition to those that every view has.
    pub more: Vec<String>,
    pub is_source: bool,
}

impl Relation {
    fn source(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            time: "ts".to_owned(),
            order: "ts, id".to_owned(),
            window: vec![],
            more: vec![],
            is_source: true,
        }
    }

    /// The columns that every view of the same window has.
    pub fn interface(&self) -> Vec<String> {
        self.window.iter().cloned().chain(COLUMNS.map(str::to_owned)).collect()
    }

    pub fn columns(&self) -> Vec<String> {
        self.interface().into_iter().chain(self.more.iter().cloned()).collect()
    }

    /// The event time that it carries, as a column and what is to be added to it in microseconds.
    pub fn carried_time(&self) -> (String, i64) {
        let has = |name: &str| self.window.iter().any(|column| column == name);
        match (self.is_source, has("wt")) {
            (true, _) => (self.time.clone(), 0),
            (false, true) => ("wt".to_owned(), 0),
            // The last millisecond before the end.
            (false, false) => ("we".to_owned(), -1_000),
        }
    }
}

/// One window, what is asked of its rows, and what stands above.
#[derive(Debug, Clone)]
struct DrawnStage {
    window: DrawnWindow,
    body: DrawnBody,
    link: Link,
    /// The other view of the same windows, where the question above takes one; of the second
    /// source where that is said.
    partner: Option<(DrawnBody, bool)>,
    /// Queries inside queries, below the window and above what stands over it.
    below: Option<DrawnNest>,
    above: Option<DrawnNest>,
}

/// A query of one to three stages.
#[derive(Debug, Clone)]
pub struct DrawnChain {
    stages: Vec<DrawnStage>,
}

fn drawn_stage() -> impl Strategy<Value = DrawnStage> {
    let partner = proptest::option::of((drawn_body(), proptest::bool::weighted(0.4)));
    let nests = (
        proptest::option::weighted(0.15, drawn_nest()),
        proptest::option::weighted(0.25, drawn_nest()),
    );
    (drawn_window(), drawn_body(), drawn_link(), partner, nests).prop_map(
        |(window, body, link, partner, (below, above))| {
            let partner = partner.filter(|_| link.is_of_two());
            DrawnStage { window, body, link, partner, below, above }
        },
    )
}

pub fn drawn_chain() -> impl Strategy<Value = DrawnChain> {
    let stages = prop_oneof![
        6 => proptest::collection::vec(drawn_stage(), 1),
        3 => proptest::collection::vec(drawn_stage(), 2),
        1 => proptest::collection::vec(drawn_stage(), 3),
    ];
    stages.prop_map(|stages| DrawnChain { stages }.consistent())
}

impl DrawnChain {
    /// Takes back what cannot stand below another window, or above one.
    fn consistent(mut self) -> Self {
        for at in 1..self.stages.len() {
            // Arroyo's windows take the end of the window below, which this view must have.
            let below = self.stages[at - 1].window.columns();
            let has_end = below.iter().any(|(_, to)| *to != "ws");
            let window = &mut self.stages[at].window;
            if !has_end && window.spelling == Spelling::Arroyo && !window.is_table_function() {
                window.spelling = Spelling::Flink;
            }
        }
        let last = self.stages.len() - 1;
        for (at, stage) in self.stages.iter_mut().enumerate() {
            if at > 0 {
                stage.partner = None;
            }
            if at < last {
                let is_stream = !stage.body.is_closed(&stage.window) && !stage.link.is_closed();
                if is_stream {
                    stage.link = Link::TopN;
                    stage.partner = None;
                }
            }
        }
        self
    }

    pub fn depth(&self) -> usize {
        self.stages.len()
    }

    pub fn reads_second_source(&self) -> bool {
        self.stages.iter().any(|stage| stage.partner.as_ref().is_some_and(|(_, second)| *second))
    }

    /// The columns that tell the windows of its answer.
    pub fn window_columns(&self) -> Vec<&'static str> {
        let last = self.stages.last().map(|stage| stage.window.columns());
        last.into_iter().flatten().map(|(_, to)| to).collect()
    }

    /// Whether its windows may change after they closed.
    pub fn may_be_revised(&self) -> bool {
        let [stage] = self.stages.as_slice() else { return false };
        !stage.window.is_session()
    }

    /// The sources that the windows of a stage wait for, where rows may come late for them: those
    /// of a first stage do, unless its rows pass as they come.
    fn waits_for(&self, at: usize) -> &'static [&'static str] {
        let stage = &self.stages[at];
        let is_last = at + 1 == self.stages.len();
        let is_closed = stage.body.is_closed(&stage.window)
            || stage.link.is_closed()
            || stage.window.is_session();
        match (at, self.reads_second_source()) {
            (0, false) if is_closed || !is_last => &["t"],
            (0, true) if is_closed || !is_last => &["t", "u"],
            _ => &[],
        }
    }

    /// Adds the chain to `program`, its names beginning with `prefix`; gives the view of its answer.
    pub fn add_to(&self, program: &mut Program, prefix: &str) -> String {
        let mut relation = Relation::source("t");
        for (at, stage) in self.stages.iter().enumerate() {
            let name = format!("{prefix}{at}");
            relation = stage.add_to(program, &name, &relation, self.waits_for(at));
        }
        relation.name
    }
}

impl DrawnStage {
    fn add_to(
        &self,
        program: &mut Program,
        name: &str,
        input: &Relation,
        waits_for: &'static [&'static str],
    ) -> Relation {
        let input = match &self.below {
            Some(nest) => nest.below(program, &format!("{name}_under"), input),
            None => input.clone(),
        };
        let a = self.body.ask(program, name, &self.window, &input, waits_for);
        let b = match &self.partner {
            Some((body, second)) => {
                let source = Relation::source(if *second { "u" } else { "t" });
                body.ask(program, &format!("{name}_other"), &self.window, &source, waits_for)
            }
            None => a.clone(),
        };
        let relation = self.link.above(program, &format!("{name}_above"), a, &b);
        let is_closed = self.body.is_closed(&self.window) || self.link.is_closed();
        match &self.above {
            Some(nest) => nest.above(program, &format!("{name}_over"), relation, is_closed),
            None => relation,
        }
    }
}
