//! What a job's state depends on, as hashes by name: compared with the last record's when a job
//! starts, so that a changed job is refused with what changed.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::held_settings::{changed_settings, is_setting};
use super::job_plan::{JobPlan, SourceTable};

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
    for (at, query) in plan.queries.iter().enumerate() {
        let stages: Vec<&str> = query
            .stages
            .iter()
            .filter_map(|id| Some(plan.stages.get(id)?.logic.as_str()))
            .collect();
        let nth = plan.queries[..at].iter().filter(|other| other.sink == query.sink).count();
        let name = match nth {
            0 => format!("query into {}", query.sink),
            n => format!("query {} into {}", n + 1, query.sink),
        };
        parts.insert(name, hash(&format!("{}\n{}", query.logic, stages.join("\n"))));
    }
    parts
}

/// The names of the parts in which two fingerprints differ, with how.
pub fn differences(
    before: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut found = changed_settings(before, now);
    for (name, value) in before.iter().filter(|(name, _)| !is_setting(name)) {
        match now.get(name) {
            None => found.push(format!("{name} is gone")),
            Some(other) if other != value => found.push(format!("{name} changed")),
            Some(_) => {}
        }
    }
    let added = now.keys().filter(|name| !is_setting(name) && !before.contains_key(*name));
    found.extend(added.map(|name| format!("{name} is new")));
    found
}

fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
