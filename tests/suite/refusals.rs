//! Every refusal of a query, with its line and its text: the cases of `fixtures/refusals.sql`.

use std::path::Path;

use tidegauge::runtime::CompiledJob;
use tidegauge_spec::{BadJob, JobSpec};

use super::binary::repository;

const SINK: &str = "out: {location: out/}";

/// What one refusal is made of.
struct Case {
    name: String,
    sql: String,
    expected: String,
}

/// The cases of a file: `-- case: name`, SQL, and `-- line N: text` or, without a line, `-- text`.
fn cases(text: &str) -> Vec<Case> {
    let blocks = text.split("-- case: ").skip(1);
    let case = |block: &str| {
        let (name, rest) = block.split_once('\n').unwrap();
        let (said, sql): (Vec<&str>, Vec<&str>) =
            rest.lines().partition(|line| line.starts_with("-- "));
        let expected: Vec<&str> = said.iter().map(|line| line.trim_start_matches("-- ")).collect();
        Case { name: name.to_owned(), sql: sql.join("\n"), expected: expected.join("\n") }
    };
    blocks.map(case).collect()
}

/// A job over two sources; only a case that names them has the sinks beside `out`, and the source
/// whose late rows change windows that have closed.
fn job(sql: &str) -> Result<JobSpec, BadJob> {
    let more = ["other: {location: other/}", "parted: {location: parted/, partition_by: [src]}"];
    let used = more.iter().filter(|sink| {
        let name = sink.split(':').next().unwrap_or_default();
        sql.contains(&format!("INTO {name}"))
    });
    let sinks: Vec<&str> = std::iter::once(SINK).chain(used.copied()).collect();
    let sql: String = sql.lines().map(|line| format!("  {line}\n")).collect();
    let source = |name: &str, columns: &str, time: &str| {
        format!(
            "  {name}:\n    location: in/{name}/\n    format: json\n    schema: {{ts: TIMESTAMP, \
             src: VARCHAR, {columns}}}\n    event_time: {{column: ts, delay: 10s{time}}}\n"
        )
    };
    let tardy = match sql.contains("tardy") {
        true => source("tardy", "bytes: BIGINT", ", allowed_lateness: 5m"),
        false => String::new(),
    };
    let yaml = format!(
        "name: refused\nsources:\n{}{}{tardy}sinks:\n  {}\nstate: {{location: state/}}\nsql: |\n{sql}",
        source("flows", "dst: VARCHAR, bytes: BIGINT, seen: TIMESTAMP", ""),
        source("dns", "name: VARCHAR", ""),
        sinks.join("\n  "),
    );
    JobSpec::parse(&yaml, Path::new("job.yaml"), &|_| None)
}

/// What `check` says of `sql`, with the lines of the SQL.
async fn refusal(sql: &str) -> String {
    let bad = match job(sql) {
        Ok(spec) => match CompiledJob::new(spec).await {
            Ok(_) => return "it is good".to_owned(),
            Err(bad) => bad,
        },
        Err(bad) => bad,
    };
    let said: Vec<String> = bad.problems.into_iter().map(|problem| problem.message).collect();
    said.join("\n")
}

#[tokio::test]
async fn every_refusal_names_the_clause_its_line_and_what_would_be_right() {
    let text = std::fs::read_to_string(repository().join("tests/fixtures/refusals.sql")).unwrap();
    let cases = cases(&text);
    assert!(cases.len() > 50, "{} cases", cases.len());
    let mut other = Vec::new();
    for case in cases {
        let said = refusal(&case.sql).await;
        if said != case.expected {
            let said: Vec<String> = said.lines().map(|line| format!("-- {line}")).collect();
            other.push(format!("-- case: {}\n{}", case.name, said.join("\n")));
        }
    }
    assert!(other.is_empty(), "these are refused with another text:\n{}", other.join("\n"));
}

#[tokio::test]
async fn no_refusal_shows_a_name_that_the_engine_made() {
    let text = std::fs::read_to_string(repository().join("tests/fixtures/refusals.sql")).unwrap();
    for case in cases(&text) {
        let said = refusal(&case.sql).await;
        let made = said
            .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
            .find(|word| word.contains("__") || is_identity(word));
        assert_eq!(made, None, "{}: {said}", case.name);
    }
}

fn is_identity(word: &str) -> bool {
    word.len() == 12 && word.chars().all(|digit| digit.is_ascii_hexdigit())
}
