//! The numbers of stages: each after those whose rows it reads, else in the order of the queries
//! that need them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::super::input::Input;
use super::super::job_plan::{JobPlan, Unit};

/// The number of each stage, from 1, by its identity.
pub(super) fn numbers(plan: &JobPlan) -> BTreeMap<String, usize> {
    let depths = depths(plan);
    let mut first_use: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, query) in plan.queries.iter().enumerate() {
        for id in needed(plan, &query.stages, query.input.as_ref()) {
            first_use.entry(id).or_insert(at);
        }
    }
    let mut stages: Vec<_> = plan.stages.values().collect();
    // Identities are hashes: with them alone, a change of one stage would number all anew.
    stages.sort_by_cached_key(|stage| {
        let id = stage.id.as_str();
        let depth = depths.get(id).copied().unwrap_or_default();
        let used = first_use.get(id).copied().unwrap_or(usize::MAX);
        (depth, used, stage.input.clone(), Reverse(stage.windows), stage.logic.clone())
    });
    stages.into_iter().zip(1..).map(|(stage, number)| (stage.id.clone(), number)).collect()
}

/// How many stages stand below each.
fn depths(plan: &JobPlan) -> BTreeMap<&str, usize> {
    let mut stages: BTreeMap<&str, usize> = BTreeMap::new();
    let mut feeds: BTreeMap<&str, usize> = BTreeMap::new();
    for unit in &plan.order {
        match unit {
            Unit::Stage(id) => {
                let Some(stage) = plan.stages.get(id) else { continue };
                let below = stage.clocks.iter().chain([&stage.input]).filter_map(|clock| {
                    let Input::Feed(feed) = clock else { return None };
                    feeds.get(feed.as_str()).map(|depth| depth + 1)
                });
                stages.insert(id, below.max().unwrap_or_default());
            }
            Unit::Feed(id) => {
                let Some(feed) = plan.feeds.get(id) else { continue };
                let below = feed.stages.iter().filter_map(|id| stages.get(id.as_str()).copied());
                feeds.insert(id, below.max().unwrap_or_default());
            }
        }
    }
    stages
}

/// All stages that a query of `stages` and `input` needs.
fn needed<'a>(
    plan: &'a JobPlan,
    stages: &'a [String],
    input: Option<&'a Input>,
) -> BTreeSet<&'a str> {
    let mut found: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<&str> = stages.iter().map(String::as_str).collect();
    let of_feed = |input: &'a Input| {
        let feed = plan.feeds.get(input.name());
        feed.into_iter().flat_map(|feed| feed.stages.iter().map(String::as_str))
    };
    open.extend(input.into_iter().flat_map(of_feed));
    while let Some(id) = open.pop() {
        if !found.insert(id) {
            continue;
        }
        let Some(stage) = plan.stages.get(id) else { continue };
        open.extend(stage.clocks.iter().chain([&stage.input]).flat_map(of_feed));
    }
    found
}
