//! The two logical nodes that a cut puts into plans: the partial aggregation at the top of an
//! ingest plan, and the stage that a close plan reads.
//!
//! ```text
//!   ingest:  scan -> ... -> Partial          close:  Stage -> having -> ... -> sink
//! ```
//!
//! Neither is optimised through: the aggregate that they stand for is built as `AggregateExec`
//! by `physical.rs`, so that no rule can take it apart.

use std::cmp::Ordering;
use std::fmt;

use datafusion::common::{DFSchemaRef, Result, internal_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

/// The keys of an aggregate: expressions, and which of them each grouping set leaves out.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub(crate) struct Keys {
    /// The grouping expressions; the first is the start of the pane.
    pub(crate) exprs: Vec<Expr>,
    /// For each grouping set, whether each expression is NULL in it; none without grouping sets.
    pub(crate) sets: Option<Vec<Vec<bool>>>,
}

/// Partial aggregation of `input` by `keys`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PartialNode {
    pub(crate) input: LogicalPlan,
    pub(crate) keys: Keys,
    pub(crate) aggregates: Vec<Expr>,
    /// The gap of sessions, where it aggregates pieces of them.
    pub(crate) gap_us: Option<i64>,
    /// The schema of the partial states.
    pub(crate) schema: DFSchemaRef,
}

impl PartialOrd for PartialNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.input.partial_cmp(&other.input)
    }
}

impl UserDefinedLogicalNodeCore for PartialNode {
    fn name(&self) -> &str {
        "PartialAggregate"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.keys.exprs.iter().chain(&self.aggregates).cloned().collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let text =
            |exprs: &[Expr]| exprs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        write!(f, "PartialAggregate: by [{}]", text(&self.keys.exprs))?;
        if let Some(sets) = &self.keys.sets {
            write!(f, " sets {sets:?}")?;
        }
        write!(f, " [{}]", text(&self.aggregates))
    }

    fn with_exprs_and_inputs(
        &self,
        mut exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<Self> {
        let Some(input) = inputs.pop() else {
            return internal_err!("a partial aggregate has one input");
        };
        if exprs.len() != self.keys.exprs.len() + self.aggregates.len() {
            return internal_err!("a partial aggregate lost an expression");
        }
        let aggregates = exprs.split_off(self.keys.exprs.len());
        let keys = Keys { exprs, sets: self.keys.sets.clone() };
        Ok(Self { input, keys, aggregates, gap_us: self.gap_us, schema: self.schema.clone() })
    }
}

/// The final rows of a stage: `__pane`, the keys `__k0 ...`, the aggregates `__a0 ...`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct StageNode {
    /// The stage's identity.
    pub(crate) stage: String,
    pub(crate) schema: DFSchemaRef,
}

impl PartialOrd for StageNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.stage.partial_cmp(&other.stage)
    }
}

impl UserDefinedLogicalNodeCore for StageNode {
    fn name(&self) -> &str {
        "Stage"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Stage: {}", self.stage)
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, _: Vec<LogicalPlan>) -> Result<Self> {
        Ok(self.clone())
    }
}
