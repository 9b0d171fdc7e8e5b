//! What each epoch of a case reads: the input in its order of arrival, cut where the case says or
//! at random.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use tidegauge_commitlog::{Clock, SystemClock};
use tidegauge_spec::SourceSpec;

use super::case::{Arrival, Case, Input};
use super::value::{Row, Value};
use crate::source::parse_timestamp;

/// How often a random cut ends an epoch after a row or a file.
const CUT_PROBABILITY: f64 = 0.4;

/// A member of a source's input.
#[derive(Debug, Clone, Copy)]
pub(super) enum Member<'a> {
    Row(&'a Row),
    File(&'a Path),
}

/// Each source's input in parts: the first epoch reads the first part of each, and so on.
#[derive(Debug)]
pub(super) struct Epochs<'a> {
    parts: BTreeMap<&'a str, Vec<Vec<Member<'a>>>>,
    units: BTreeMap<&'a str, &'static str>,
}

impl<'a> Epochs<'a> {
    /// Cut where the case says; else at random, or not at all without `rng`.
    pub(super) fn of(
        case: &'a Case,
        sources: &[SourceSpec],
        arrived: &BTreeMap<&'a str, Vec<Member<'a>>>,
        mut rng: Option<&mut SmallRng>,
    ) -> Self {
        let mut parts = BTreeMap::new();
        for (source, members) in arrived {
            let ends: Vec<usize> = match (&case.cuts, rng.as_deref_mut()) {
                (Some(cuts), _) => cuts.get(*source).cloned().unwrap_or_default(),
                (None, Some(rng)) => {
                    let ends = (0..members.len()).filter(|_| rng.random_bool(CUT_PROBABILITY));
                    let spec = sources.iter().find(|known| known.name == **source);
                    with_times(spec, members, ends)
                }
                (None, None) => vec![],
            };
            parts.insert(*source, split(members, &ends));
        }
        let units = case.input.iter().map(|(source, input)| (source.as_str(), input.unit()));
        Self { parts, units: units.collect() }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.parts.values().map(Vec::len).max().unwrap_or_default()
    }

    /// What the epoch that is `at` places after the first reads, by source.
    pub(super) fn at(&self, at: usize) -> impl Iterator<Item = (&'a str, &[Member<'a>])> {
        self.parts.iter().filter_map(move |(source, parts)| Some((*source, &parts.get(at)?[..])))
    }
}

impl fmt::Display for Epochs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (source, parts)) in self.parts.iter().enumerate() {
            let sizes: Vec<String> = parts.iter().map(|part| part.len().to_string()).collect();
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{source}: {} {}", sizes.join(" + "), self.units[source])?;
        }
        Ok(())
    }
}

/// Those of `ends` that leave no part with nothing but rows without a time, or with one of the future:
/// a file of only such rows is an error, and it is the cut that would have made it.
fn with_times(
    spec: Option<&SourceSpec>,
    members: &[Member<'_>],
    ends: impl Iterator<Item = usize>,
) -> Vec<usize> {
    let clock_us = SystemClock.now_ms().saturating_mul(1_000);
    let has_time = |member: &Member<'_>| match (member, spec) {
        (Member::Row(row), Some(spec)) => {
            let future_max = spec.event_time.future_max.as_micros();
            let latest_us = clock_us.saturating_add(i64::try_from(future_max).unwrap_or(i64::MAX));
            event_time(spec, row).is_some_and(|us| us <= latest_us)
        }
        _ => true,
    };
    let is_good = |part: &[Member<'_>]| part.is_empty() || part.iter().any(has_time);
    let mut good = Vec::new();
    for end in ends {
        let begin = good.last().copied().unwrap_or_default();
        if is_good(&members[begin..end]) && is_good(&members[end..]) {
            good.push(end);
        }
    }
    good
}

/// Each source's input in the order in which it arrives.
pub(super) fn arrived<'a>(
    case: &'a Case,
    sources: &[SourceSpec],
    rng: &mut SmallRng,
) -> BTreeMap<&'a str, Vec<Member<'a>>> {
    let mut arrived = BTreeMap::new();
    for (source, input) in &case.input {
        let mut members: Vec<Member<'a>> = match input {
            Input::Rows(rows) => rows.iter().map(Member::Row).collect(),
            Input::Files(files) => files.iter().map(|path| Member::File(path)).collect(),
        };
        let spec = sources.iter().find(|known| known.name == *source);
        match (case.arrival, spec) {
            (Arrival::Shuffled, _) => members.shuffle(rng),
            (Arrival::ByEventTime, Some(spec)) => members.sort_by(|a, b| by_time(spec, a, b)),
            _ => {}
        }
        arrived.insert(source.as_str(), members);
    }
    arrived
}

/// Rows without an event time come last.
fn by_time(spec: &SourceSpec, a: &Member<'_>, b: &Member<'_>) -> Ordering {
    let time = |member: &Member<'_>| match member {
        Member::Row(row) => event_time(spec, row),
        Member::File(_) => None,
    };
    let (a, b) = (time(a), time(b));
    a.is_none().cmp(&b.is_none()).then(a.cmp(&b))
}

fn event_time(spec: &SourceSpec, row: &Row) -> Option<i64> {
    let unit = spec.event_time.unit;
    let mut time = row.get(&spec.event_time.column)?;
    for name in &spec.event_time.fields {
        let Value::Map(fields) = time else { return None };
        time = fields.get(name)?;
    }
    match time {
        Value::Text(text) => parse_timestamp(text, unit),
        number @ (Value::Whole(_) | Value::Float(_)) => parse_timestamp(&number.to_string(), unit),
        _ => None,
    }
}

/// Parts that end where `ends`, which do not go back, say, and what is left.
fn split<'a>(members: &[Member<'a>], ends: &[usize]) -> Vec<Vec<Member<'a>>> {
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let ends = ends.iter().copied().chain(std::iter::once(members.len()));
    starts.zip(ends).map(|(start, end)| members[start..end].to_vec()).collect()
}
