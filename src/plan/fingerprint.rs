//! What a job's state depends on, as hashes by name: compared with the last record's when a job
//! starts, so that a changed job is refused with what changed.
//!
//! A query is two things: its stages, which hold state, and what it does with their closed windows
//! (the columns, HAVING, scores), which holds none. The second may change over the same state.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::held_settings::{changed_settings, is_setting};
use super::job_plan::{JobPlan, SourceTable};
use super::query::Query;

/// The version of the state's own layout.
const STATE_FORMAT: &str = "2";

/// The parts of a job by name, each with a hash or a version.
pub fn fingerprint(plan: &JobPlan, sources: &[SourceTable]) -> BTreeMap<String, String> {
    let mut parts = BTreeMap::new();
    parts.insert("datafusion".to_owned(), datafusion::DATAFUSION_VERSION.to_owned());
    parts.insert("functions".to_owned(), tidegauge_udfs::VERSION.to_owned());
    parts.insert("state format".to_owned(), STATE_FORMAT.to_owned());
    let used = plan.sources_used();
    for source in sources.iter().filter(|source| used.contains(source.name.as_str())) {
        let columns: Vec<String> = source
            .schema
            .fields()
            .iter()
            .map(|field| format!("{} {}", field.name(), field.data_type()))
            .collect();
        let text = format!("{} {}", source.event_time.join("."), columns.join(", "));
        parts.insert(format!("source {}", source.name), hash(&text));
        // What it was decides which closed windows are still there to be revised.
        if source.allowed_lateness_us > 0 {
            let name = format!("allowed_lateness of source {}", source.name);
            parts.insert(name, format!("{} us", source.allowed_lateness_us));
        }
    }
    for (name, query) in named_queries(plan) {
        for id in plan.all_stages(&query.stages) {
            parts.entry(format!("{STAGE}{id}")).or_insert_with(|| name.clone());
        }
        let selects = if query.is_stateless() { ROWS } else { SELECT };
        parts.insert(format!("{selects}{name}"), hash(&query.logic));
    }
    parts
}

/// The part that is a stage, before its identity; its value is the first query that reads it.
const STAGE: &str = "stage ";
/// The part that is what a query does with closed windows, before its name.
const SELECT: &str = "select of ";
/// The part that is a query without state, before its name.
const ROWS: &str = "rows of ";

/// The queries by what they are called.
fn named_queries(plan: &JobPlan) -> impl Iterator<Item = (String, &Query)> {
    plan.queries.iter().enumerate().map(|(at, query)| {
        let nth = plan.queries[..at].iter().filter(|other| other.sink == query.sink).count();
        let name = match nth {
            0 => format!("query into {}", query.sink),
            n => format!("query {} into {}", n + 1, query.sink),
        };
        (name, query)
    })
}

/// The part that was a query with all of its stages, before its name, in the records of builds that
/// told them apart not yet.
const WHOLE: &str = "query ";

/// `before`, the fingerprint of a record, in the form of `now`: where a query is told as a whole, and
/// is the same as in `plan`, its parts are those of `now`.
pub fn in_parts(
    before: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
    plan: &JobPlan,
) -> BTreeMap<String, String> {
    let mut parts = before.clone();
    for (name, query) in named_queries(plan) {
        let stages = query.stages.iter().filter_map(|id| plan.stages.get(id));
        let stages: Vec<&str> = stages.map(|stage| stage.logic.as_str()).collect();
        let whole = hash(&format!("{}\n{}", query.logic, stages.join("\n")));
        if parts.get(&name) != Some(&whole) {
            continue;
        }
        parts.remove(&name);
        let own = plan.all_stages(&query.stages).into_iter().map(|id| format!("{STAGE}{id}"));
        let own = own.chain([SELECT, ROWS].map(|kind| format!("{kind}{name}")));
        parts.extend(own.filter_map(|part| Some((part.clone(), now.get(&part)?.clone()))));
    }
    parts
}

/// How one fingerprint differs from another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// What the state does not fit.
    pub refused: Vec<String>,
    /// What goes on over the state as it is.
    pub taken: Vec<String>,
}

/// The names of the parts in which two fingerprints differ, with how.
pub fn differences(
    before: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
) -> Differences {
    let mut found =
        Differences { refused: changed_settings(before, now), ..Differences::default() };
    let stages = changed_stages(before, now);
    for (name, value) in before.iter().filter(|(name, _)| !is_setting(name)) {
        if name.starts_with(STAGE)
            || stages.iter().any(|(query, _)| of_any_query(name) == Some(query))
        {
            continue;
        }
        match now.get(name) {
            None if name.starts_with(SELECT) => {
                found.taken.extend(of_query(name).map(|query| format!("{query} is gone")));
            }
            None => found.refused.push(format!("{} is gone", of_query(name).unwrap_or(name))),
            Some(other) if other == value => {}
            Some(_) => match of_query(name) {
                Some(query) => found.taken.push(format!("{query} changed")),
                None => found.refused.push(format!("{name} changed")),
            },
        }
    }
    let added = now.keys().filter(|name| !is_setting(name) && !before.contains_key(*name));
    for name in added {
        if name.starts_with(STAGE)
            || stages.iter().any(|(query, _)| of_any_query(name) == Some(query))
        {
            continue;
        }
        match of_query(name) {
            Some(query) if name.starts_with(SELECT) => found.taken.push(format!("{query} is new")),
            query => found.refused.push(format!("{} is new", query.unwrap_or(name))),
        }
    }
    found.refused.extend(stages.into_iter().map(|(query, how)| format!("{query} {how}")));
    found
}

/// The query that a part is of, if its state does not depend on the part.
fn of_query(name: &str) -> Option<&str> {
    name.strip_prefix(SELECT).or_else(|| name.strip_prefix(ROWS))
}

/// The query that a part is of, also one of a record that tells it as a whole.
fn of_any_query(name: &str) -> Option<&str> {
    of_query(name).or_else(|| name.starts_with(WHOLE).then_some(name))
}

/// The queries whose stages are others, with how.
fn changed_stages<'a>(
    before: &'a BTreeMap<String, String>,
    now: &'a BTreeMap<String, String>,
) -> BTreeMap<&'a str, &'static str> {
    let is_there = |parts: &BTreeMap<String, String>, query: &str| {
        parts.keys().any(|name| of_any_query(name) == Some(query))
    };
    let mut changed = BTreeMap::new();
    for (parts, others, how) in [(before, now, "is gone"), (now, before, "is new")] {
        let stages = parts.iter().filter(|(name, _)| name.starts_with(STAGE));
        for (_, query) in stages.filter(|(name, _)| !others.contains_key(*name)) {
            let how = if is_there(others, query) { "changed" } else { how };
            changed.insert(query.as_str(), how);
        }
    }
    changed
}

fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(parts: &[(&str, &str)]) -> BTreeMap<String, String> {
        parts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    const OUT: &str = "query into out";

    #[test]
    fn another_select_over_the_same_stages_is_taken() {
        let before = parts(&[("stage a", OUT), ("select of query into out", "1")]);
        let now = parts(&[("stage a", OUT), ("select of query into out", "2")]);
        let found = differences(&before, &now);
        assert_eq!((found.refused.len(), found.taken), (0, vec![format!("{OUT} changed")]));
        assert_eq!(differences(&before, &before), Differences::default());
    }

    #[test]
    fn another_stage_is_refused_in_the_name_of_its_query_and_no_other() {
        let more = ("select of query into more", "7");
        let before = parts(&[
            ("stage a", OUT),
            ("stage c", "query into more"),
            more,
            ("rows of query into r", "1"),
            ("select of query into out", "1"),
        ]);
        let now = parts(&[
            ("stage b", OUT),
            ("stage c", "query into more"),
            more,
            ("rows of query into r", "2"),
            ("select of query into out", "2"),
        ]);
        let found = differences(&before, &now);
        assert_eq!(found.refused, ["query into out changed"]);
        assert_eq!(found.taken, ["query into r changed"]);
    }

    #[test]
    fn a_query_over_stages_that_are_there_may_come_and_go() {
        let one = parts(&[("stage a", OUT), ("select of query into out", "1")]);
        let mut two = one.clone();
        two.insert("select of query into more".to_owned(), "2".to_owned());
        assert_eq!(differences(&one, &two).taken, ["query into more is new"]);
        assert_eq!(differences(&two, &one).taken, ["query into more is gone"]);
    }

    #[test]
    fn what_has_state_of_its_own_is_refused_when_it_comes_or_goes() {
        let one = parts(&[("functions", "1")]);
        let mut two = parts(&[("functions", "2"), ("stage a", OUT)]);
        two.insert("select of query into out".to_owned(), "1".to_owned());
        two.insert("rows of query into r".to_owned(), "1".to_owned());
        let refused = differences(&one, &two).refused;
        assert_eq!(refused, ["functions changed", "query into r is new", "query into out is new"]);
        let refused = differences(&two, &one).refused;
        assert_eq!(
            refused,
            ["functions changed", "query into r is gone", "query into out is gone"]
        );
    }
}
