//! DataFusion's rules for physical plans, those held back that confuse columns of one name.
//!
//! A join of two tables that have a column `k` has two of that name. The rule that moves filters down
//! (`FilterPushdown` of DataFusion 55, and what it moves at run time, the bounds of a top-N) finds a
//! filter's columns in the node below by their names, and so takes the first `k` for the second: `x RIGHT
//! JOIN y ON x.a = y.a WHERE x.k IS NULL`, which asks for rows without a partner, becomes a filter of y
//! and gives none. Where any node of a plan has a name twice, the rule is left out: what was moved down in
//! the logical plan, where columns have relations, is where it belongs already.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_optimizer::{PhysicalOptimizerContext, PhysicalOptimizerRule};
use datafusion::physical_plan::ExecutionPlan;

/// The rules that find columns by their names.
const BY_NAME: [&str; 2] = ["FilterPushdown", "FilterPushdown(Post)"];

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// The rules of a session, in DataFusion's order.
pub fn physical_rules() -> Vec<Rule> {
    PhysicalOptimizer::new().rules.into_iter().map(guarded).collect()
}

fn guarded(rule: Rule) -> Rule {
    if BY_NAME.contains(&rule.name()) { Arc::new(OverDistinctNames { rule }) } else { rule }
}

/// A rule that plans with repeated names are spared.
#[derive(Debug)]
struct OverDistinctNames {
    rule: Rule,
}

impl PhysicalOptimizerRule for OverDistinctNames {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if has_repeated_names(&plan) { Ok(plan) } else { self.rule.optimize(plan, config) }
    }

    fn optimize_with_context(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        context: &dyn PhysicalOptimizerContext,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if has_repeated_names(&plan) {
            return Ok(plan);
        }
        self.rule.optimize_with_context(plan, context)
    }

    fn name(&self) -> &str {
        self.rule.name()
    }

    fn schema_check(&self) -> bool {
        self.rule.schema_check()
    }
}

/// Whether any node gives two columns of one name.
fn has_repeated_names(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let schema = plan.schema();
    let mut names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    names.sort_unstable();
    names.windows(2).any(|pair| pair[0] == pair[1])
        || plan.children().into_iter().any(has_repeated_names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_that_find_columns_by_name_are_there() {
        let rules = PhysicalOptimizer::new().rules;
        for name in BY_NAME {
            assert!(rules.iter().any(|rule| rule.name() == name), "{name} has another name now");
        }
    }
}
