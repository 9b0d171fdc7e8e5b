//! `tidegauge test`: the example of its documentation, input in files, arrival, cuts, late rows,
//! and what is said of mistakes in a case.

use std::path::Path;

use insta::assert_snapshot;
use tempfile::TempDir;

use super::binary::{Finished, repository, tidegauge};
use super::harness::scratch;

const CASES: &str = "tests/jobs/minutes.yaml";

/// The job and the cases of the documentation's page, as files.
fn example() -> TempDir {
    let page = std::fs::read_to_string(repository().join("docs/testing-jobs.md")).unwrap();
    let folder = scratch();
    for (path, opening) in [
        ("jobs/minutes.yaml", "```yaml\n# jobs/minutes.yaml\n"),
        ("sql/minutes.sql", "```sql\n-- sql/minutes.sql\n"),
        (CASES, "```yaml\n# tests/jobs/minutes.yaml\n"),
    ] {
        let (_, rest) = page.split_once(opening).unwrap();
        let (text, _) = rest.split_once("```").unwrap();
        write(folder.path(), path, text);
    }
    folder
}

fn write(folder: &Path, path: &str, text: &str) {
    let path = folder.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn test(folder: &Path) -> Finished {
    tidegauge(folder, &["test", "jobs/minutes.yaml"], &[])
}

/// Runs one case against the documentation's job.
fn test_case(case: &str) -> Finished {
    let folder = example();
    write(folder.path(), "fixtures/1.json", "{\"ts\": \"2026-01-01T00:00:01Z\", \"bytes\": 1}\n");
    write(
        folder.path(),
        "fixtures/2.json",
        "{\"ts\": \"2026-01-01T00:02:00Z\", \"bytes\": 2}\n{\"ts\": null, \"bytes\": 2}\n",
    );
    write(folder.path(), CASES, &format!("cases:\n  - {}\n", case.replace('\n', "\n    ")));
    test(folder.path())
}

/// What is wrong with one case.
fn refused(case: &str) -> String {
    test_case(case).failed(2)
}

const ROWS: &str = r#"input:
  flows:
    - {ts: "2026-01-01T00:00:01Z", bytes: 1}
    - {ts: "2026-01-01T00:02:00Z", bytes: 2}
    - {ts: "2026-01-01T00:00:02Z", bytes: 4}"#;

#[test]
fn the_example_of_the_documentation_holds_and_prints_what_is_there() {
    let page = std::fs::read_to_string(repository().join("docs/testing-jobs.md")).unwrap();
    let folder = example();
    let out = test(folder.path()).done();
    assert!(page.contains(&format!("```\n{out}```")), "{out}");
    let path = folder.path().join(CASES);
    let text = std::fs::read_to_string(&path).unwrap();
    let wrong = text.replace("    late: 1\n", "").replace("host: a, flows: 1, bytes: 1}\n        - {window_start: \"2026-01-01T00:01:00Z\", host: a, flows: 2", "host: a, flows: 2, bytes: 3}\n        - {window_start: \"2026-01-01T00:01:00Z\", host: a, flows: 2");
    std::fs::write(&path, wrong).unwrap();
    let ran = test(folder.path());
    let (_, failure) = page.rsplit_once("```\nFAILED").unwrap();
    assert_eq!(ran.code, 1, "{ran:?}");
    let failure = format!("FAILED{}", failure.trim_end().trim_end_matches("```"));
    assert!(ran.stdout.contains(&failure), "{}", ran.stdout);
}

#[test]
fn files_are_read_in_the_order_written_and_cut_by_number() {
    let case = "name: files\ninput: {flows: {files: [../../fixtures/2.json, ../../fixtures/1.json]}}\n\
                cuts: {flows: [1]}\nlate: {flows: 1}\nquarantined: 1\n\
                expect: {host_minutes: [{bytes: 2}]}";
    test_case(case).done();
    let in_order = case.replace("2.json, ../../fixtures/1.json", "1.json, ../../fixtures/2.json");
    assert_snapshot!(test_case(&in_order).stdout, @r#"
    FAILED  jobs/minutes.yaml / files
      at the cut flows: 1 + 1 files
      sink host_minutes:
        + unexpected: {"bytes":1}
      rows late of flows: expected 1, counted 0
    1 failed
    "#);
}

#[test]
fn rows_by_event_time_are_not_late_and_rows_as_written_are() {
    let by_time = format!(
        "name: sorted\n{ROWS}\narrival: by_event_time\ncuts: {{flows: [1, 2]}}\n\
         expect: {{host_minutes: [{{bytes: 5}}, {{bytes: 2}}]}}"
    );
    test_case(&by_time).done();
    let as_written = by_time.replace("by_event_time", "as_written");
    let ran = test_case(&as_written);
    assert!(ran.stdout.contains("at the cut flows: 1 + 1 + 1 rows"), "{ran:?}");
    assert!(ran.stdout.contains("rows late: expected 0, counted 1"), "{ran:?}");
}

#[test]
fn a_shuffled_case_that_fails_prints_its_seed() {
    let case = format!("name: drawn\n{ROWS}\narrival: shuffled\nexpect: {{host_minutes: []}}");
    let ran = test_case(&case);
    assert!(ran.stdout.contains("at the cut flows: 3 rows, shuffled by --seed 1\n"), "{ran:?}");
}

#[test]
fn a_part_of_nothing_lets_an_epoch_pass() {
    let case = format!(
        "name: nothing\n{ROWS}\ncuts: {{flows: [0, 2, 2]}}\nlate: 1\n\
         expect: {{host_minutes: [{{bytes: 1}}, {{bytes: 2}}]}}"
    );
    test_case(&case).done();
}

#[test]
fn a_record_that_does_not_fit_fails_its_case_by_its_place_in_the_case() {
    let case = "name: bad\ninput: {flows: [{ts: \"2026-01-01T00:00:01Z\", bytes: many}]}\n\
                cuts: {}\nexpect: {host_minutes: []}";
    let ran = test_case(case);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stdout.contains("flows/epoch-000001.json") && !ran.stdout.contains("/.tmp"),
        "{ran:?}"
    );
}

#[test]
fn mistakes_in_cuts_and_counts_say_what_would_be_right() {
    let with =
        |more: &str| refused(&format!("name: bad\n{ROWS}\nexpect: {{host_minutes: []}}\n{more}"));
    assert_snapshot!(with("cuts: {flows: [1, 4]}"), @"");
    assert_snapshot!(with("cuts: {flows: [2, 1]}"), @"");
    assert_snapshot!(with("cuts: {flow: [2]}"), @"");
    assert_snapshot!(with("cuts: {flows: 2}"), @"");
    assert_snapshot!(with("cuts: {flows: [-1]}"), @"");
    assert_snapshot!(with("late: 1"), @"");
    assert_snapshot!(with("late: {flow: 1}"), @"");
    assert_snapshot!(with("late: 1\ncuts: {flows: [1]}\narrival: shuffled"), @"");
    assert_snapshot!(with("quarantined: some"), @"");
    assert_snapshot!(with("arrival: sorted"), @"");
    assert_snapshot!(with("drain: maybe"), @"");
    assert_snapshot!(with("tolerance: tiny"), @"");
    assert_snapshot!(with("cut: {flows: [1]}"), @"");
}

#[test]
fn mistakes_in_input_and_expectation_say_what_would_be_right() {
    let flows = |input: &str| {
        refused(&format!("name: bad\ninput: {{flows: {input}}}\nexpect: {{host_minutes: []}}"))
    };
    assert_snapshot!(flows("{files: [../../fixtures/3.json]}"), @"");
    assert_snapshot!(flows("{files: [../../fixtures]}"), @"");
    assert_snapshot!(flows("{files: [], rows: []}"), @"");
    assert_snapshot!(flows("{file: a.json}"), @"");
    assert_snapshot!(flows("{}"), @"");
    assert_snapshot!(flows("a.json"), @"");
    assert_snapshot!(flows("[1]"), @"");
    let by_time = "name: bad\ninput: {flows: {files: []}}\nexpect: {}\narrival: by_event_time";
    assert_snapshot!(refused(by_time), @"");
    assert_snapshot!(refused("name: bad\ninput: {flow: []}\nexpect: {}"), @"");
    assert_snapshot!(refused("name: bad\ninput: {flows: []}\nexpect: {minutes: []}"), @"");
    assert_snapshot!(refused("name: bad\ninput: {}\nexpect: {host_minutes: [{byte: 1}]}"), @"");
    assert_snapshot!(refused("name: bad\nexpect: {}"), @"");
    assert_snapshot!(refused("name: bad\ninput: {}"), @"");
    assert_snapshot!(refused("input: {}\nexpect: {}"), @"");
}

#[test]
fn every_case_with_a_mistake_is_named_and_none_is_run() {
    let two = "name: one\ninput: {}\nexpect: {}\n  - name: one\n    input: {}\n    expect: {}\n  \
               - name: two\n    input: {}";
    let folder = example();
    write(folder.path(), CASES, &format!("cases:\n  - {}\n", two.replacen('\n', "\n    ", 2)));
    assert_snapshot!(test(folder.path()).failed(2), @"");
    write(folder.path(), CASES, "cases: []\n");
    assert_snapshot!(test(folder.path()).failed(2), @"");
}
