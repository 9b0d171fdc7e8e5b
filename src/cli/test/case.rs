//! The file of a job's cases, read and checked as far as it goes without the job.
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

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::place::{Fields, Place};

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
const INPUT: &str = "a list of rows, or {files: [../fixtures/a.json]}";
const ROW: &str = "a row, a mapping of columns to values";
const TOLERANCE: f64 = 1e-9;

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
    /// How far a number may be off, relative to its size.
    pub(super) tolerance: f64,
}

/// A row by column.
pub(super) type Row = serde_json::Map<String, Value>;

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

/// Reads the cases at `path`; the error says all that is wrong, by file, case and place.
pub(super) fn load(path: &Path) -> Result<Vec<Case>, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{}: the cases cannot be read: {error}", path.display()))?;
    let file: Value =
        serde_yaml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let whole = |message: String| format!("{}: {message}", path.display());
    let places = cases(&file).map_err(whole)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let (mut good, mut wrong) = (Vec::<Case>::new(), Vec::new());
    for (at, place) in places.iter().enumerate() {
        match case(place, folder) {
            Ok(case) if good.iter().any(|other| other.name == case.name) => {
                let message = "name: is that of another case too; write one of its own";
                wrong.push(in_case(path, &case.name, message));
            }
            Ok(case) => good.push(case),
            Err(message) => match place.value().get("name").and_then(Value::as_str) {
                Some(name) => wrong.push(in_case(path, name, &message)),
                None => wrong.push(format!("{}: cases[{at}]: {message}", path.display())),
            },
        }
    }
    match wrong.is_empty() {
        true => Ok(good),
        false => Err(wrong.join("\n")),
    }
}

/// A message about a case.
pub(super) fn in_case(file: &Path, name: &str, message: &str) -> String {
    format!("{}: case {name:?}: {message}", file.display())
}

/// The values of the cases; places in them are counted from each case.
fn cases(file: &Value) -> Result<Vec<Place<'_>>, String> {
    let right = "a list such as cases: [{name: ..., input: ..., expect: ...}]";
    let list = Place::root(file).fields(&["cases"])?.required("cases", right)?.list(right)?;
    match list.is_empty() {
        true => Err(format!("cases: is empty; write {right}")),
        false => Ok(list.iter().map(|place| Place::root(place.value())).collect()),
    }
}

fn case(place: &Place<'_>, folder: &Path) -> Result<Case, String> {
    let fields = place.fields(&KEYS)?;
    let name = "what the case shows, such as name: a port scan is found";
    let input = input(&fields, folder)?;
    let case = Case {
        name: fields.required("name", name)?.text(name)?.to_owned(),
        env: fields.setting("env", BTreeMap::new(), env)?,
        arrival: fields.setting("arrival", Arrival::AsWritten, arrival)?,
        cuts: fields.setting("cuts", None, |place| cuts(place, &input).map(Some))?,
        drain: fields.setting("drain", true, |place| {
            place.value().as_bool().ok_or_else(|| place.wrong("write true or false"))
        })?,
        late: fields.setting("late", Counts::Total(0), |place| counts(place, &input))?,
        quarantined: fields
            .setting("quarantined", Counts::Total(0), |place| counts(place, &input))?,
        expect: expect(&fields)?,
        tolerance: fields.setting("tolerance", TOLERANCE, tolerance)?,
        input,
    };
    check(&case)?;
    Ok(case)
}

/// Settings that are good each by itself and say nothing together.
fn check(case: &Case) -> Result<(), String> {
    let files = case.input.iter().find(|(_, input)| matches!(input, Input::Files(_)));
    if let (Arrival::ByEventTime, Some((source, _))) = (case.arrival, files) {
        return Err(format!(
            "arrival: {source} is given as files, whose rows are not sorted; write as_written or \
             shuffled"
        ));
    }
    if case.late.total() > 0 && case.cuts.is_none() {
        return Err(
            "late: which rows are late depends on where the epochs end; say that too, such \
                    as cuts: {flows: [2]}"
                .to_owned(),
        );
    }
    if case.late.total() > 0 && case.arrival == Arrival::Shuffled {
        return Err("late: which rows are late depends on their order; write arrival: as_written \
                    or by_event_time"
            .to_owned());
    }
    Ok(())
}

fn env(place: &Place<'_>) -> Result<BTreeMap<String, String>, String> {
    let entries = place.entries("variables by name, such as {LEVEL: high}")?;
    let text = |place: &Place<'_>| match place.value() {
        Value::Number(number) => Ok(number.to_string()),
        _ => place.text("a text").map(ToOwned::to_owned),
    };
    entries.into_iter().map(|(name, place)| Ok((name.to_owned(), text(&place)?))).collect()
}

fn input(fields: &Fields<'_>, folder: &Path) -> Result<BTreeMap<String, Input>, String> {
    let right = "what each source reads, such as input: {flows: [{ts: ..., bytes: 1}]}";
    let sources = fields.required("input", right)?.entries(right)?;
    let one = |place: &Place<'_>| {
        if place.value().is_array() {
            return rows(place).map(Input::Rows);
        }
        let right = format!("write {INPUT}");
        let Value::Object(_) = place.value() else { return Err(place.wrong(right)) };
        let fields = place.fields(&["rows", "files"])?;
        match (fields.get("rows"), fields.get("files")) {
            (Some(place), None) => rows(&place).map(Input::Rows),
            (None, Some(place)) => files(&place, folder).map(Input::Files),
            (Some(_), Some(_)) => Err(place.wrong("has rows and files; write one of the two")),
            (None, None) => Err(place.wrong(right)),
        }
    };
    sources.into_iter().map(|(source, place)| Ok((source.to_owned(), one(&place)?))).collect()
}

fn rows(place: &Place<'_>) -> Result<Vec<Row>, String> {
    let rows = place.list("a list of rows")?;
    rows.iter().map(|row| row.object(ROW).cloned()).collect()
}

/// Paths are relative to the file of the cases.
fn files(place: &Place<'_>, folder: &Path) -> Result<Vec<PathBuf>, String> {
    let right = "a list of paths, relative to this file";
    let one = |place: &Place<'_>| {
        let path = folder.join(place.text(right)?);
        match std::fs::metadata(&path) {
            Ok(found) if found.is_file() => Ok(path),
            Ok(_) => Err(place.wrong(format!(
                "{} is no file; write each of its files by itself",
                path.display()
            ))),
            Err(error) => Err(place.wrong(format!(
                "{} cannot be read: {error}; write a path relative to this file",
                path.display()
            ))),
        }
    };
    place.list(right)?.iter().map(one).collect()
}

fn arrival(place: &Place<'_>) -> Result<Arrival, String> {
    let right = "as_written, by_event_time or shuffled";
    match place.text(right)? {
        "as_written" => Ok(Arrival::AsWritten),
        "by_event_time" => Ok(Arrival::ByEventTime),
        "shuffled" => Ok(Arrival::Shuffled),
        other => Err(place.wrong(format!("{other:?} is not an order; write {right}"))),
    }
}

fn cuts(
    place: &Place<'_>,
    input: &BTreeMap<String, Input>,
) -> Result<BTreeMap<String, Vec<usize>>, String> {
    let right =
        "after how many rows or files of each source an epoch ends, such as {flows: [2, 5]}";
    let mut cuts = BTreeMap::new();
    for (source, place) in place.entries(right)? {
        let Some(own) = input.get(source) else { return Err(no_input(&place, source, input)) };
        let mut before = 0;
        let mut ends = Vec::new();
        for place in place.list(right)? {
            let end = usize::try_from(place.count(right)?).unwrap_or(usize::MAX);
            if end > own.len() {
                let (len, unit) = (own.len(), own.unit());
                return Err(place.wrong(format!(
                    "{end} is past the end: {source} has {len} {unit}; write at most {len}"
                )));
            }
            if end < before {
                return Err(place.wrong(format!(
                    "{end} comes after {before}, and cuts do not go back; write at least {before}"
                )));
            }
            before = end;
            ends.push(end);
        }
        cuts.insert(source.to_owned(), ends);
    }
    Ok(cuts)
}

fn counts(place: &Place<'_>, input: &BTreeMap<String, Input>) -> Result<Counts, String> {
    let right = "how many rows, such as 3, or by source, such as {flows: 3}";
    if !place.value().is_object() {
        return place.count(right).map(Counts::Total);
    }
    let mut counts = BTreeMap::new();
    for (source, place) in place.entries(right)? {
        if !input.contains_key(source) {
            return Err(no_input(&place, source, input));
        }
        counts.insert(source.to_owned(), place.count(right)?);
    }
    Ok(Counts::BySource(counts))
}

fn no_input(place: &Place<'_>, source: &str, input: &BTreeMap<String, Input>) -> String {
    let known: Vec<&str> = input.keys().map(String::as_str).collect();
    place.wrong(format!("the case has no input of {source}; it has that of {}", known.join(", ")))
}

fn expect(fields: &Fields<'_>) -> Result<BTreeMap<String, Vec<Row>>, String> {
    let right = "the rows of each sink, such as expect: {findings: []}";
    let sinks = fields.required("expect", right)?.entries(right)?;
    sinks.into_iter().map(|(sink, place)| Ok((sink.to_owned(), rows(&place)?))).collect()
}

fn tolerance(place: &Place<'_>) -> Result<f64, String> {
    // YAML 1.1 takes 1e-6 for a text, since it has no dot.
    let value = match place.value() {
        Value::String(text) => text.parse().ok(),
        other => other.as_f64(),
    };
    let is_right = |value: &f64| value.is_finite() && *value >= 0.0;
    value.filter(is_right).ok_or_else(|| place.wrong("write a number from 0, such as 1.0e-6"))
}
