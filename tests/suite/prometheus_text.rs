//! A strict reader of Prometheus's text format 0.0.4: what a scraper would refuse or take for
//! something else fails the test.

use std::collections::BTreeMap;

use super::otlp_receiver::Labels;

/// A metric family.
#[derive(Debug, Default)]
pub(super) struct Family {
    pub(super) kind: String,
    pub(super) help: String,
    /// By the suffix after the family's name (empty for counters and gauges) and labels.
    pub(super) samples: BTreeMap<(String, Labels), f64>,
}

/// The families of `text`, by name.
pub(super) fn parse(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n'), "the last line must end");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let mut help: Option<(String, String)> = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, text) = rest.split_once(' ').unwrap_or((rest, ""));
            help = Some((name.to_owned(), text.to_owned()));
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            let (of, help) = help.take().unwrap_or_else(|| panic!("no help before {line}"));
            assert_eq!(of, name, "{line}");
            name.to_owned().clone_into(&mut current);
            let family = Family { kind: kind.to_owned(), help, ..Family::default() };
            assert!(families.insert(name.to_owned(), family).is_none(), "{name} comes twice");
        } else {
            let (name, labels, value) = sample(line);
            let family = families.get_mut(&current).unwrap_or_else(|| panic!("no type: {line}"));
            let suffix = name.strip_prefix(&current).unwrap_or_else(|| panic!("strays: {line}"));
            let suffixes: &[&str] = match family.kind.as_str() {
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            assert!(suffixes.contains(&suffix), "{line}");
            let before = family.samples.insert((suffix.to_owned(), labels), value);
            assert!(before.is_none(), "a series comes twice: {line}");
        }
    }
    for (name, family) in &families {
        assert!(!family.samples.is_empty(), "{name} has no sample");
        check_buckets(name, family);
    }
    families
}

/// `name{label="value",...} value`, with the escapes of label values.
fn sample(line: &str) -> (String, Labels, f64) {
    let (name, mut rest) = line.split_at(line.find(['{', ' ']).unwrap());
    assert!(is_name(name), "{line}");
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!(is_name(label) && !label.contains(':'), "{line}");
            let (value, after) = quoted(after);
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line}"));
    let value = match value {
        "+Inf" => f64::INFINITY,
        value => value.parse().unwrap_or_else(|_| panic!("{line}")),
    };
    (name.to_owned(), labels, value)
}

fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, &text[at + 1..]),
            '\\' => match letters.next().map(|(_, letter)| letter) {
                Some('n') => value.push('\n'),
                Some(letter @ ('\\' | '"')) => value.push(letter),
                other => panic!("no escape: {other:?} in {text}"),
            },
            letter => value.push(letter),
        }
    }
    panic!("a value does not end: {text}")
}

fn is_name(name: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphabetic() || letter == '_' || letter == ':';
    name.starts_with(is_letter) && name.chars().all(|c| is_letter(c) || c.is_ascii_digit())
}

/// Buckets only grow, and the last is the count.
fn check_buckets(name: &str, family: &Family) {
    if family.kind != "histogram" {
        return;
    }
    let mut series: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for ((suffix, labels), value) in &family.samples {
        if suffix == "_bucket" {
            let mut labels = labels.clone();
            let bound = labels.remove("le").unwrap_or_else(|| panic!("{name} has no bound"));
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() };
            series.entry(labels).or_default().push((bound, *value));
        }
    }
    for (labels, mut buckets) in series {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{name}{labels:?}: {buckets:?}");
        let (bound, last) = *buckets.last().unwrap();
        assert_eq!(bound, f64::INFINITY, "{name}{labels:?}");
        assert_eq!(Some(&last), family.samples.get(&("_count".to_owned(), labels)), "{name}");
    }
}

mod tests {
    use super::*;

    #[test]
    fn a_label_with_quotes_is_read_and_what_is_torn_is_refused() {
        let good = "# HELP a_total What is.\n# TYPE a_total counter\na_total{b=\"c\\\"d\\\\\"} 3\n";
        let families = parse(good);
        let labels = Labels::from([("b".to_owned(), "c\"d\\".to_owned())]);
        assert_eq!(families["a_total"].samples[&(String::new(), labels)], 3.0);
        for bad in [
            "a_total 3\n",
            "# HELP a x\n# TYPE a counter\nb 3\n",
            "# HELP a x\n# TYPE a counter\na 3\na 4\n",
            "# HELP a x\n# TYPE a histogram\na_bucket{le=\"1\"} 2\na_sum 1\na_count 2\n",
        ] {
            assert!(std::panic::catch_unwind(|| parse(bad)).is_err(), "{bad}");
        }
    }
}
