//! The settings of sources and sinks that what is kept depends on, beside columns and queries: how
//! values are read, and how files are laid out. Each has its key in the job file as its name, and is
//! there when it is not the default.
//!
//! Of every other setting a job may change between two runs: those that pace it, bound it, or say how
//! long it waits. `tests/suite/changed_keys.rs` goes through all keys.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::Value;
use tidegauge_spec::{CsvOptions, Format, JobSpec};

/// The name under which a fingerprint says that settings are in it: those of builds before are not.
const MARK: &str = "settings";
const MARK_VALUE: &str = "1";

/// The settings of `spec` by their keys; of its sources, those that are `used`.
pub fn held_settings(spec: &JobSpec, used: &HashSet<&str>) -> BTreeMap<String, String> {
    let mut held = BTreeMap::from([(MARK.to_owned(), MARK_VALUE.to_owned())]);
    for source in spec.sources.iter().filter(|source| used.contains(source.name.as_str())) {
        let path = |key: &str| format!("sources.{}.{key}", source.name);
        for (key, value) in format_options(&source.format) {
            held.insert(path(&key), value);
        }
        if let Some(unit) = source.event_time.unit {
            held.insert(path("event_time.unit"), unit.word().to_owned());
        }
    }
    for sink in spec.sinks.iter().filter(|sink| !sink.partition_by.is_empty()) {
        let key = format!("sinks.{}.partition_by", sink.name);
        held.insert(key, format!("[{}]", sink.partition_by.join(", ")));
    }
    held
}

/// A format and those of its options that are not the default, as it serializes: an option that is
/// added to it is in here without another word.
fn format_options(format: &Format) -> Vec<(String, String)> {
    let (name, options) = match serde_json::to_value(format) {
        Ok(Value::Object(variants)) => variants.into_iter().next().unwrap_or_default(),
        Ok(Value::String(name)) => (name, Value::Null),
        _ => (format!("{format:?}"), Value::Null),
    };
    let name = name.to_lowercase();
    let defaults = match format {
        Format::Csv(_) => serde_json::to_value(CsvOptions::default()).unwrap_or_default(),
        Format::Json | Format::Parquet => Value::Null,
    };
    let mut all = vec![("format".to_owned(), name.clone())];
    for (key, value) in options.as_object().into_iter().flatten() {
        if defaults.get(key) != Some(value) {
            let shown =
                match (key.as_str(), value.as_u64().and_then(|byte| u8::try_from(byte).ok())) {
                    ("delimiter", Some(byte)) => format!("{:?}", char::from(byte).to_string()),
                    _ => value.to_string(),
                };
            all.push((format!("{name}.{key}"), shown));
        }
    }
    all
}

/// Whether a part of a fingerprint is a setting.
pub(super) fn is_setting(name: &str) -> bool {
    name == MARK || name.starts_with("sources.") || name.starts_with("sinks.")
}

/// The settings that differ between two fingerprints, with how; none where one has none, for it is of
/// a build that did not tell.
pub(super) fn changed_settings(
    before: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
) -> Vec<String> {
    if !before.contains_key(MARK) || !now.contains_key(MARK) {
        return vec![];
    }
    let names: BTreeSet<&String> =
        before.keys().chain(now.keys()).filter(|name| is_setting(name)).collect();
    let mut found = Vec::new();
    for name in names.into_iter().filter(|name| is_of_both(name, before, now)) {
        let value = |of: &BTreeMap<String, String>| {
            of.get(name).cloned().unwrap_or_else(|| "the default".to_owned())
        };
        let (was, is) = (value(before), value(now));
        if was != is {
            let why = match name.ends_with(".partition_by") {
                true => ": its files would be laid out in two ways; give it another location, too",
                false => "",
            };
            found.push(format!("{name} changed from {was} to {is}{why}"));
        }
    }
    found
}

/// Whether the setting is not one of a source that only one of the jobs reads, or of a sink that only
/// one of them writes: that they are new or gone is told already.
fn is_of_both(
    name: &str,
    before: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
) -> bool {
    let mut path = name.split('.');
    let (section, owner) = (path.next(), path.next().unwrap_or_default());
    let owns = |parts: &BTreeMap<String, String>| match section {
        Some("sources") => parts.contains_key(&format!("source {owner}")),
        Some("sinks") => {
            parts.keys().any(|part| !is_setting(part) && part.ends_with(&format!(" into {owner}")))
        }
        _ => false,
    };
    owns(before) && owns(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let always = [("source a", "1"), ("query into out", "2")];
        always.iter().chain(all).map(owned).collect()
    }

    #[test]
    fn a_setting_that_is_left_out_is_its_default_and_one_of_an_older_build_is_unknown() {
        let unit = ("sources.a.event_time.unit", "s");
        let (old, without, with) =
            (parts(&[]), parts(&[("settings", "1")]), parts(&[("settings", "1"), unit]));
        assert_eq!(
            changed_settings(&without, &with),
            ["sources.a.event_time.unit changed from the default to s"]
        );
        assert!(changed_settings(&old, &with).is_empty());
        assert!(changed_settings(&with, &with).is_empty());
        let mut gone = without;
        gone.remove("source a");
        assert!(changed_settings(&with, &gone).is_empty(), "the source is gone with it");
    }
}
