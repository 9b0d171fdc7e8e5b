//! What is YAML and what is not: documents, aliases, variables, and arbitrary text.

use std::path::Path;

use proptest::prelude::*;

use super::{JOB, changed, no_env, parse, wrong};
use crate::JobSpec;

#[test]
fn what_is_not_yaml_is_told_by_line_and_column() {
    let message = wrong(&changed("sinks:\n", "sinks: {a: [}\n"));
    assert!(message.starts_with("9: not YAML at column 12: "), "{message}");
    let message = wrong("name: dns\nsources:\n\tdns: x\n");
    assert!(message.starts_with("3: not YAML at column "), "{message}");
    assert!(message.ends_with("; indent with spaces"), "{message}");
}

#[test]
fn a_file_is_one_document_with_a_mapping() {
    for text in ["", "\n\n", "# nothing\n", "---\n", "~"] {
        let message = wrong(text);
        assert!(message.contains("the file is empty; write a job such as {name: "), "{message}");
    }
    assert!(
        wrong("- name: dns\n").starts_with("1: is a list; write a mapping with the keys name,")
    );
    assert!(wrong("dns\n").starts_with("1: \"dns\" is not a mapping; write a mapping with"));
    let message = wrong(&format!("{JOB}---\n{JOB}"));
    assert_eq!(message, "12: a second YAML document begins here; a file holds one job");
    assert!(parse(&format!("---\n{JOB}...\n")).is_ok());
    assert!(parse(&JOB.replace('\n', "\r\n")).is_ok());
    assert!(parse(&format!("\u{feff}{JOB}")).is_ok());
}

#[test]
fn keys_are_given_once() {
    let message = wrong(&changed("format: json", "format: json\n    format: csv"));
    let expected =
        "6: sources.queries.format: \"format\" is given twice, first on line 5; keep one";
    assert_eq!(message, expected);
    let message = wrong(&changed("format: json", "format: json\n    [a]: x"));
    assert!(message.starts_with("6: sources.queries: a key is a list or a mapping here"));
    let message = wrong(&changed("name: dns", "name: !secret dns"));
    assert_eq!(message, "1: name: the tag \"!secret\" has no meaning in a job; remove it");
}

#[test]
fn aliases_and_merge_keys_stand_for_what_they_name() {
    let text = changed("{column: ts, delay: 10s}", "&time {column: ts, delay: 10s}").replace(
        "sql: ",
        "  more:
    location: ./more/
    format: json
    schema: {ts: TIMESTAMP}
    event_time: {<<: *time, delay: 20s}
sql: ",
    );
    let job = parse(&text).unwrap();
    assert_eq!(job.sources[1].event_time.column, "ts");
    assert_eq!(job.sources[1].event_time.delay.as_secs(), 20);
    let job = parse(&text.replace("{<<: *time, delay: 20s}", "*time")).unwrap();
    assert_eq!(job.sources[1].event_time, job.sources[0].event_time);
    let message = wrong(&text.replace("<<: *time,", "<<: time,"));
    let expected = "12: sources.more.event_time.\"<<\": only mappings can be merged; \
                    write an alias of a mapping";
    assert!(message.starts_with(expected), "{message}");
}

#[test]
fn aliases_cannot_fill_the_memory() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let alias = format!("*a{}", level - 1);
        let aliases = vec![alias; 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    let message = wrong(&bomb);
    assert!(
        message.contains("the file has more than 100000 values, with its aliases"),
        "{message}"
    );
    let long = "x".repeat(100_000);
    let aliases = vec!["*a"; 90_000].join(",");
    let message = wrong(&format!("a: &a {long}\nb: [{aliases}]\n"));
    assert!(message.contains("the file has more than 100000 values"), "{message}");
    assert!(wrong("a: &a [*a]\n").contains("the alias is inside the value that it names"));
}

#[test]
fn nesting_is_bounded() {
    let deep = format!("name: {}x{}\n", "[".repeat(100), "]".repeat(100));
    assert!(wrong(&deep).contains("nested more than 64 levels deep"));
    let mut chain = "a0: &a0 [x]\n".to_owned();
    for level in 1..100 {
        chain.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    assert!(wrong(&chain).contains("nested more than 64 levels deep"));
    let schema = format!("schema: {{ts: TIMESTAMP, x: {}INT{}}}", "[".repeat(40), "]".repeat(40));
    let message = wrong(&changed("schema: {ts: TIMESTAMP, host: VARCHAR}", &schema));
    assert!(message.contains("nested more than 32 levels deep; write a flatter schema"));
    assert!(wrong(&" ".repeat((1 << 20) + 1)).contains("a job file has at most 1048576"));
}

#[test]
fn a_variable_cannot_change_the_structure() {
    let text = changed("name: dns", "name: dns\ndescription: ${WHAT}");
    let env = |name: &str| (name == "WHAT").then(|| "x\nname: evil # {[".to_owned());
    let job = JobSpec::parse(&text, Path::new("a.yaml"), &env).unwrap();
    assert_eq!(job.name, "dns");
    assert_eq!(job.description.as_deref(), Some("x\nname: evil # {["));
    let env = |_: &str| Some("null".to_owned());
    let job = JobSpec::parse(&text, Path::new("a.yaml"), &env).unwrap();
    assert_eq!(job.description.as_deref(), Some("null"));
}

#[test]
fn variables_without_a_value_are_named() {
    let message = wrong(&changed("./data/", "${DATA}/${KIND:-dns}/"));
    let expected = "4: sources.queries.location: the environment variable DATA is not set; \
                    set it, or write ${DATA:-default}";
    assert_eq!(message, expected);
    let message = wrong(&changed("./data/", "${DATA"));
    assert!(message.contains("has no closing brace"), "{message}");
    let delay = changed("delay: 10s", "delay: \"${DELAY:-3 s}\"");
    assert!(wrong(&delay).ends_with("\"3 s\" is not a duration; write 3s"));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text: String) {
        prop_assert!(parse(&text).is_err());
    }

    #[test]
    fn no_text_like_yaml_makes_it_panic(text in "[a-z0-9:{}\\[\\]&*!|>'\"%@,<$?~.\\- \n\t#]{0,200}") {
        prop_assert!(parse(&text).is_err());
    }

    #[test]
    fn no_damage_to_a_job_makes_it_panic(
        at in 0..JOB.len(),
        cut in 0usize..20,
        put in "[a-zA-Z0-9:{}\\[\\]&*$,.\\- \n\"]{0,10}",
    ) {
        let end = (at + cut).min(JOB.len());
        let text = format!("{}{put}{}", &JOB[..at], &JOB[end..]);
        match JobSpec::parse(&text, Path::new("a.yaml"), &no_env) {
            Ok(job) => prop_assert!(!job.sources.is_empty()),
            Err(bad) => prop_assert!(!bad.problems.is_empty()),
        }
    }
}
