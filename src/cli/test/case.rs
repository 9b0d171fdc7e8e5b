//! The file of a job's cases, read and checked as far as it goes without the job. All mistakes are
//! told in one go, so a case that has some is read on, as if what is wrong were not there.
//!
//! ```yaml
//! cases:
//!   - name: a row of a minute that is closed comes late
//!     input:
//!       flows:                                     # rows, or {rows: [...]}, or {files: [...]}
//!         - {ts: "2026-01-01T00:00:01Z", src_ip: 10.0.0.1, bytes_out: 10}
//!         - {ts: "2026-01-01T00:02:00Z", src_ip: 10.0.0.1, bytes_out: 10}
//!         - {ts: "2026-01-01T00:00:02Z", src_ip: 10.0.0.1, bytes_out: 10}
//!     arrival: as_written                          # or by_event_time, shuffled
//!     cuts: {flows: [2]}                           # the third row comes in an epoch of its own
//!     drain: true
//!     late: 1                                      # or by source, {flows: 1}
//!     expect:
//!       findings:
//!         - {src_ip: 10.0.0.1, score: 99.5}
//!     tolerance: 1e-6
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tidegauge_spec::nearest;

use super::place::{Fields, Mistakes, Place};
use super::value::{Row, Value};

const KEYS: [&str; 10] = [
    "name",
    "env",
    "input",
    "arrival",
    "cuts",
    "drain",
    "late",
    "quarantined",
    "expect",
    "tolerance",
];
const NAME: &str = "what the case shows, such as name: a port scan is found";
const INPUTS: &str = "what each source reads, such as input: {flows: [{ts: ..., bytes: 1}]}";
const INPUT: &str = "a list of rows, or {files: [../fixtures/a.json]}";
const ROW: &str = "a row, a mapping of columns to values";

/// Rows or files in, rows out.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) env: BTreeMap<String, String>,
    pub(super) input: BTreeMap<String, Input>,
    pub(super) arrival: Arrival,
    /// By source, how much of it has been read at the end of each epoch but the last; none where
    /// the cuts are drawn.
    pub(super) cuts: Option<BTreeMap<String, Vec<usize>>>,
    /// Whether the windows that are open at the end are closed.
    pub(super) drain: bool,
    pub(super) late: Counts,
    pub(super) quarantined: Counts,
    /// Each sink's rows; only the columns that they name are compared.
    pub(super) expect: BTreeMap<String, Vec<Row>>,
    /// How far a number may be off, relative to its size; none where the case does not say.
    pub(super) tolerance: Option<f64>,
}

/// What a source reads, as it is written in the case.
#[derive(Debug, Clone)]
pub(super) enum Input {
    Rows(Vec<Row>),
    Files(Vec<PathBuf>),
}

impl Input {
    /// How many rows or files there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Rows(rows) => rows.len(),
            Self::Files(files) => files.len(),
        }
    }

    /// What its members are called.
    pub(super) fn unit(&self) -> &'static str {
        match self {
            Self::Rows(_) => "rows",
            Self::Files(_) => "files",
        }
    }
}

/// The order in which rows, or files, arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    AsWritten,
    ByEventTime,
    Shuffled,
}

/// How many rows are expected to have met some fate.
#[derive(Debug, Clone)]
pub(super) enum Counts {
    Total(u64),
    /// A source that is not named has none.
    BySource(BTreeMap<String, u64>),
}

impl Counts {
    fn total(&self) -> u64 {
        match self {
            Self::Total(count) => *count,
            Self::BySource(counts) => counts.values().sum(),
        }
    }
}

/// A case as it was written, with what is wrong with it.
#[derive(Debug)]
pub(super) struct Draft {
    /// Its file and name, or the place in the file of a case without a name.
    pub(super) title: String,
    /// Nothing where it is too far from a case to be checked against its job.
    pub(super) case: Option<Case>,
    /// Each with its place in the case.
    pub(super) mistakes: Vec<String>,
}

/// The cases of a file, and what is wrong with it outside of them.
#[derive(Debug)]
pub(super) struct Loaded {
    /// Each with the file.
    pub(super) mistakes: Vec<String>,
    pub(super) drafts: Vec<Draft>,
}

/// The cases at `path`; the error is for a file that cannot be read.
pub(super) fn load(path: &Path) -> Result<Loaded, String> {
    let file = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        format!("{file}: the cases cannot be read: {error}; write the cases of the job there")
    })?;
    let whole: Value = serde_yaml::from_str(&text).map_err(|error| format!("{file}: {error}"))?;
    let mistakes = Mistakes::default();
    let places = cases(&Place::root(&whole, &mistakes)).unwrap_or_default();
    let values: Vec<&Value> = places.iter().map(Place::value).collect();
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut names = BTreeSet::new();
    let drafts = values.into_iter().enumerate().map(|(at, value)| {
        let name = value.as_map().and_then(|case| case.get("name")).and_then(Value::as_str);
        let title = match name {
            Some(name) => format!("{file}: case {name:?}"),
            None => format!("{file}: cases[{at}]"),
        };
        let mistakes = Mistakes::default();
        let place = Place::root(value, &mistakes);
        let case = case(&place, &mistakes, folder);
        if name.is_some_and(|name| !names.insert(name)) {
            place.mistake("name: is that of another case too; write one of its own");
        }
        Draft { title, case, mistakes: mistakes.into_list() }
    });
    let drafts = drafts.collect();
    let mistakes = mistakes.into_list().into_iter().map(|message| format!("{file}: {message}"));
    Ok(Loaded { mistakes: mistakes.collect(), drafts })
}

/// The places of the cases.
fn cases<'a>(file: &Place<'a>) -> Option<Vec<Place<'a>>> {
    let right = "a list such as cases: [{name: ..., input: ..., expect: ...}]";
    let place = file.fields(&["cases"])?.required("cases", right)?;
    let list = place.list(right)?;
    if list.is_empty() {
        place.mistake(format!("is empty; write {right}"));
    }
    Some(list)
}

/// Nothing where it is no mapping, and without its variables the job cannot be read.
fn case(place: &Place<'_>, mistakes: &Mistakes, folder: &Path) -> Option<Case> {
    let fields = place.fields(&KEYS)?;
    let name = fields.required("name", NAME).and_then(|place| place.text(NAME));
    let input = fields.required("input", INPUTS).and_then(|place| input(&place, folder));
    let known = input.as_ref();
    let counted = |key| fields.setting(key, Counts::Total(0), |place| counts(place, known));
    let case = Case {
        name: name.unwrap_or_default().to_owned(),
        arrival: fields.setting("arrival", Arrival::AsWritten, arrival),
        cuts: fields.setting("cuts", None, |place| cuts(place, known).map(Some)),
        drain: fields.setting("drain", true, Place::truth),
        late: counted("late"),
        quarantined: counted("quarantined"),
        expect: expect(&fields).unwrap_or_default(),
        tolerance: fields.setting("tolerance", None, |place| tolerance(place).map(Some)),
        env: match fields.get("env") {
            Some(place) => env(&place)?,
            None => BTreeMap::new(),
        },
        input: input.unwrap_or_default(),
    };
    // Of settings that are wrong by themselves it cannot be said whether they fit together.
    if mistakes.is_empty() {
        check(place, &case);
    }
    Some(case)
}

/// Settings that are good each by itself and say nothing together.
fn check(place: &Place<'_>, case: &Case) {
    let files = case.input.iter().find(|(_, input)| matches!(input, Input::Files(_)));
    if let (Arrival::ByEventTime, Some((source, _))) = (case.arrival, files) {
        place.mistake(format!(
            "arrival: {source} is given as files, whose rows are not sorted; write as_written or \
             shuffled"
        ));
    }
    if case.late.total() > 0 && case.cuts.is_none() {
        place.mistake(
            "late: which rows are late depends on where the epochs end; say that too, such as \
             cuts: {flows: [2]}",
        );
    }
    if case.late.total() > 0 && case.arrival == Arrival::Shuffled {
        place.mistake(
            "late: which rows are late depends on their order; write arrival: as_written or \
             by_event_time",
        );
    }
}

fn env(place: &Place<'_>) -> Option<BTreeMap<String, String>> {
    let entries = place.entries("variables by name, such as {LEVEL: high}")?;
    let text = |place: &Place<'_>| match place.value() {
        Value::Whole(_) => Some(place.value().to_string()),
        Value::Float(number) if number.is_finite() => Some(place.value().to_string()),
        _ => place.text("a text").map(ToOwned::to_owned),
    };
    every(entries, text)
}

/// Each entry as `read` reads it; nothing where one of them has a mistake, but all are read.
fn every<T>(
    entries: Vec<(&str, Place<'_>)>,
    read: impl Fn(&Place<'_>) -> Option<T>,
) -> Option<BTreeMap<String, T>> {
    let read: Vec<Option<(String, T)>> = entries
        .into_iter()
        .map(|(name, place)| read(&place).map(|value| (name.to_owned(), value)))
        .collect();
    read.into_iter().collect()
}

fn input(place: &Place<'_>, folder: &Path) -> Option<BTreeMap<String, Input>> {
    every(place.entries(INPUTS)?, |place| {
        let Value::Map(_) = place.value() else {
            return match place.value() {
                Value::List(_) => rows(place).map(Input::Rows),
                _ => {
                    place.kind(INPUT);
                    None
                }
            };
        };
        let fields = place.fields(&["rows", "files"])?;
        match (fields.get("rows"), fields.get("files")) {
            (Some(place), None) => rows(&place).map(Input::Rows),
            (None, Some(place)) => files(&place, folder).map(Input::Files),
            (Some(_), Some(_)) => {
                place.mistake("has rows and files; write one of the two");
                None
            }
            (None, None) => {
                if place.value().as_map().is_some_and(|map| map.is_empty()) {
                    place.mistake(format!("has neither rows nor files; write {INPUT}"));
                }
                None
            }
        }
    })
}

/// A row that is none stands as an empty one, so that the others keep their places.
fn rows(place: &Place<'_>) -> Option<Vec<Row>> {
    let rows = place.list("a list of rows")?;
    Some(rows.iter().map(|row| row.object(ROW).cloned().unwrap_or_default()).collect())
}

/// Paths are relative to the file of the cases.
fn files(place: &Place<'_>, folder: &Path) -> Option<Vec<PathBuf>> {
    let right = "a list of paths, relative to this file";
    let one = |place: &Place<'_>| {
        let path = folder.join(place.text(right).unwrap_or_default());
        let shown = path.display();
        match std::fs::metadata(&path) {
            _ if place.value().as_str().is_none() => {}
            Ok(found) if found.is_file() => {}
            Ok(_) => {
                place.mistake(format!("{shown} is no file; write each of its files by itself"));
            }
            Err(error) => place.mistake(format!(
                "{shown} cannot be read: {error}; write a path relative to this file"
            )),
        }
        path
    };
    Some(place.list(right)?.iter().map(one).collect())
}

fn arrival(place: &Place<'_>) -> Option<Arrival> {
    let right = "as_written, by_event_time or shuffled";
    match place.text(right)? {
        "as_written" => Some(Arrival::AsWritten),
        "by_event_time" => Some(Arrival::ByEventTime),
        "shuffled" => Some(Arrival::Shuffled),
        other => {
            place.mistake(format!("{other:?} is not an order; write {right}"));
            None
        }
    }
}

/// `input` is nothing where it has mistakes; then the cuts are not held against it.
fn cuts(
    place: &Place<'_>,
    input: Option<&BTreeMap<String, Input>>,
) -> Option<BTreeMap<String, Vec<usize>>> {
    let right =
        "after how many rows or files of each source an epoch ends, such as {flows: [2, 5]}";
    let mut cuts = BTreeMap::new();
    for (source, place) in place.entries(right)? {
        if !has_input(&place, source, input) {
            continue;
        }
        let own = input.and_then(|input| input.get(source));
        let mut before = 0;
        let mut ends = Vec::new();
        for place in place.list(right).unwrap_or_default() {
            let Some(end) = place.count(right) else { continue };
            let end = usize::try_from(end).unwrap_or(usize::MAX);
            if let Some((len, unit)) =
                own.map(|own| (own.len(), own.unit())).filter(|(len, _)| end > *len)
            {
                place.mistake(format!(
                    "{end} is past the end: {source} has {len} {unit}; write at most {len}"
                ));
            }
            if end < before {
                place.mistake(format!(
                    "{end} comes after {before}, and cuts do not go back; write at least {before}"
                ));
            }
            before = end;
            ends.push(end);
        }
        cuts.insert(source.to_owned(), ends);
    }
    Some(cuts)
}

fn counts(place: &Place<'_>, input: Option<&BTreeMap<String, Input>>) -> Option<Counts> {
    let right = "how many rows, such as 3, or by source, such as {flows: 3}";
    if place.value().as_map().is_none() {
        return place.count(right).map(Counts::Total);
    }
    let mut counts = BTreeMap::new();
    for (source, place) in place.entries(right)? {
        if let (true, Some(count)) = (has_input(&place, source, input), place.count(right)) {
            counts.insert(source.to_owned(), count);
        }
    }
    Some(Counts::BySource(counts))
}

/// Whether the case has input of `source`, as far as is known; it is a mistake if not.
fn has_input(place: &Place<'_>, source: &str, input: Option<&BTreeMap<String, Input>>) -> bool {
    let Some(input) = input.filter(|input| !input.contains_key(source)) else { return true };
    let known: Vec<&str> = input.keys().map(String::as_str).collect();
    place.mistake(match nearest(source, known.iter().copied()) {
        Some(near) => format!("the case has no input of {source}; write {near}"),
        None if known.is_empty() => format!(
            "the case has no input of {source}, nor of another source; write input: {{{source}: \
             [...]}}"
        ),
        None => {
            format!("the case has no input of {source}; it has that of {}", known.join(", "))
        }
    });
    false
}

fn expect(fields: &Fields<'_>) -> Option<BTreeMap<String, Vec<Row>>> {
    let right = "the rows of each sink, such as expect: {findings: []}";
    let sinks = fields.required("expect", right)?.entries(right)?;
    let sinks = sinks.into_iter();
    Some(sinks.filter_map(|(sink, place)| Some((sink.to_owned(), rows(&place)?))).collect())
}

fn tolerance(place: &Place<'_>) -> Option<f64> {
    // YAML 1.1 takes 1e-6 for a text, since it has no dot.
    let value = match place.value() {
        Value::Text(text) => text.parse().ok(),
        other => other.as_f64(),
    };
    let value = value.filter(|value: &f64| value.is_finite() && *value >= 0.0);
    if value.is_none() {
        place.kind("a number from 0, such as 1.0e-6");
    }
    value
}
