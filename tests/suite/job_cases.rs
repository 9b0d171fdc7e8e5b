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
    0 passed, 1 failed
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
fn the_parts_of_several_sources_are_read_in_the_same_epochs() {
    let folder = example();
    let job = std::fs::read_to_string(folder.path().join("jobs/minutes.yaml")).unwrap();
    let second = "  more:\n    location: ./more/\n    format: csv\n    schema: {ts: TIMESTAMP, bytes: \
                  BIGINT}\n    event_time: {column: ts, delay: 1h}\nsql:";
    let job =
        job.replace("sql:", second).replace("state:", "  more_minutes: {location: ./m/}\nstate:");
    write(folder.path(), "jobs/minutes.yaml", &job);
    let sql = std::fs::read_to_string(folder.path().join("sql/minutes.sql")).unwrap();
    let second = "INSERT INTO more_minutes SELECT window_start, sum(bytes) AS bytes FROM \
                  TABLE(TUMBLE(TABLE more, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) \
                  GROUP BY window_start, window_end;";
    write(folder.path(), "sql/minutes.sql", &format!("{sql}\n{second}\n"));
    write(folder.path(), "fixtures/a.csv", "ts,bytes\n2026-01-01T03:00:00Z,1\n");
    write(folder.path(), "fixtures/b.csv", "ts,bytes\n2026-01-01T00:00:00Z,2\n");
    // The second member of each source is late when it comes an epoch after the first.
    let case = |cuts: &str, late: &str| {
        format!(
            "cases:\n  - name: two\n    input:\n      more: {{files: [../../fixtures/a.csv, \
             ../../fixtures/b.csv]}}\n      flows: [{{ts: \"2026-01-01T00:02:00Z\", bytes: 4}}, \
             {{ts: \"2026-01-01T00:00:00Z\", bytes: 8}}]\n    cuts: {cuts}\n    late: {late}\n    \
             expect: {{}}\n"
        )
    };
    write(folder.path(), CASES, &case("{flows: [1], more: [0, 2]}", "{flows: 1}"));
    test(folder.path()).done();
    write(folder.path(), CASES, &case("{flows: [0, 2], more: [0, 0, 1]}", "{more: 1}"));
    test(folder.path()).done();
    write(folder.path(), CASES, &case("{flows: [1], more: [0, 0, 1]}", "{flows: 1}"));
    let ran = test(folder.path());
    assert!(
        ran.stdout.contains("at the cut flows: 1 + 1 rows; more: 0 + 0 + 1 + 1 files"),
        "{ran:?}"
    );
    assert!(ran.stdout.contains("  rows late of more: expected 0, counted 1"), "{ran:?}");
    assert!(!ran.stdout.contains("rows late of flows"), "{ran:?}");
}

#[test]
fn a_record_of_a_file_that_does_not_fit_is_named_by_its_own_path_and_line() {
    let folder = example();
    let good = "{\"ts\": \"2026-01-01T00:00:01Z\", \"bytes\": 1}";
    let lines = format!("{good}\n{}\n", good.replace("1}", "\"four\"}"));
    write(folder.path(), "fixtures/bad.json", &lines);
    write(
        folder.path(),
        CASES,
        "cases:\n  - name: bad\n    input: {flows: {files: [../../fixtures/bad.json]}}\n    cuts: {}\n    \
         expect: {host_minutes: []}\n",
    );
    let ran = test(folder.path());
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_snapshot!(ran.stdout, @r#"
    FAILED  jobs/minutes.yaml / bad
      at the cut flows: 1 files
      error: tests/jobs/../../fixtures/bad.json:2: field bytes: "four" is not BIGINT (byte 43)
    0 passed, 1 failed
    "#);
}

#[test]
fn a_value_or_a_column_of_a_row_that_its_source_does_not_have_is_a_mistake() {
    let rows = |rows: &str| {
        refused(&format!(
            "name: bad\ninput: {{flows: [{rows}]}}\narrival: shuffled\nexpect: {{host_minutes: []}}"
        ))
    };
    let good = "{ts: \"2026-01-01T00:00:01Z\", bytes: 1}";
    assert_snapshot!(rows(&format!("{good}, {{ts: noon, host: [a], bytes: four}}")), @r#"
    tests/jobs/minutes.yaml: case "bad": input.flows[1].ts: "noon" is not TIMESTAMP
    tests/jobs/minutes.yaml: case "bad": input.flows[1].bytes: "four" is not BIGINT
    "#);
    assert_snapshot!(rows("{TS: \"2026-01-01T00:00:01Z\", byts: 4}, {bytes: 1.5}, {country: de}"), @r#"
    tests/jobs/minutes.yaml: case "bad": input.flows[0]: flows has no column called "TS"; write ts
    tests/jobs/minutes.yaml: case "bad": input.flows[0]: flows has no column called "byts"; write bytes
    tests/jobs/minutes.yaml: case "bad": input.flows[1].bytes: "1.5" has a fraction, which BIGINT cannot hold
    tests/jobs/minutes.yaml: case "bad": input.flows[2]: flows has no column called "country"; write one of ts, host, bytes
    "#);
}

#[test]
fn an_expected_value_that_its_column_cannot_hold_is_a_mistake() {
    let row = |row: &str| refused(&format!("name: bad\n{ROWS}\nexpect: {{host_minutes: [{row}]}}"));
    assert_snapshot!(row("{flows: one, bytes: \"1\", window_start: noon, host: 10}"), @r#"
    tests/jobs/minutes.yaml: case "bad": expect.host_minutes[0].window_start: "noon" is not TIMESTAMP; write a time, such as "2026-01-01T00:00:00Z", or seconds since 1970
    tests/jobs/minutes.yaml: case "bad": expect.host_minutes[0].host: 10 is not VARCHAR; write "10"
    tests/jobs/minutes.yaml: case "bad": expect.host_minutes[0].flows: "one" is not BIGINT; write a whole number
    tests/jobs/minutes.yaml: case "bad": expect.host_minutes[0].bytes: "1" is not BIGINT; write 1
    "#);
}

#[test]
fn expected_times_may_be_numbers_or_have_another_offset() {
    let case = format!(
        "name: spelt\n{ROWS}\nexpect: {{host_minutes: [{{window_start: 1767225600, bytes: 5}}, \
         {{window_start: \"2026-01-01 01:02+01:00\", bytes: 2}}]}}"
    );
    // All rows come in one epoch, or else one of them is late.
    test_case(&format!("{case}\ncuts: {{}}")).done();
}

#[test]
fn a_window_that_is_written_again_asks_for_cuts() {
    let folder = example();
    let job = std::fs::read_to_string(folder.path().join("jobs/minutes.yaml")).unwrap();
    let job = job.replace("delay: 10s", "delay: 10s, allowed_lateness: 5m");
    write(folder.path(), "jobs/minutes.yaml", &job);
    let run = |more: &str, rows: &str| {
        let case = format!("name: again\n{ROWS}\n{more}\nexpect: {{host_minutes: [{rows}]}}");
        let case = case.replace('\n', "\n    ");
        write(folder.path(), CASES, &format!("cases:\n  - {case}\n"));
        test(folder.path())
    };
    let all = "{bytes: 1, _revision: 0}, {bytes: 5, _revision: 1}, {bytes: 2, _revision: 0}";
    run("cuts: {flows: [2]}", all).done();
    assert_snapshot!(run("", all).failed(2), @r#"tests/jobs/minutes.yaml: case "again": expect.host_minutes[1]._revision: which rows come late for a window depends on where the epochs end; say that too, such as cuts: {flows: [2]}"#);
    assert_snapshot!(run("arrival: shuffled\ncuts: {flows: [2]}", all).failed(2), @r#"tests/jobs/minutes.yaml: case "again": expect.host_minutes[1]._revision: which rows come late for a window depends on their order; write arrival: as_written or by_event_time"#);
    let drawn = run("", "{bytes: 5}, {bytes: 2}");
    let says = "\n  host_minutes has windows that were written again (_revision): which rows come \
                late for a window depends on where the epochs end; say that too, such as cuts: \
                {flows: [2]}\n";
    assert!(drawn.code == 1 && drawn.stdout.contains(says), "{drawn:?}");
}

#[test]
fn a_job_that_is_not_there_is_named_and_not_its_cases() {
    let folder = example();
    let failed = |job: &str| tidegauge(folder.path(), &["test", job], &[]).failed(2);
    assert_snapshot!(failed("jobs/nope.yaml"), @"jobs/nope.yaml: cannot be read: No such file or directory (os error 2); write the path of a job file");
    std::fs::rename(folder.path().join(CASES), folder.path().join("cases.yaml")).unwrap();
    assert_snapshot!(failed("jobs/minutes.yaml"), @"tests/jobs/minutes.yaml: the cases cannot be read: No such file or directory (os error 2); write the cases of the job there");
}

#[test]
fn mistakes_in_cuts_and_counts_say_what_would_be_right() {
    let with =
        |more: &str| refused(&format!("name: bad\n{ROWS}\nexpect: {{host_minutes: []}}\n{more}"));
    assert_snapshot!(with("cuts: {flows: [1, 4]}"), @r#"tests/jobs/minutes.yaml: case "bad": cuts.flows[1]: 4 is past the end: flows has 3 rows; write at most 3"#);
    assert_snapshot!(with("cuts: {flows: [2, 1]}"), @r#"tests/jobs/minutes.yaml: case "bad": cuts.flows[1]: 1 comes after 2, and cuts do not go back; write at least 2"#);
    assert_snapshot!(with("cuts: {flow: [2]}"), @r#"tests/jobs/minutes.yaml: case "bad": cuts.flow: the case has no input of flow; write flows"#);
    assert_snapshot!(with("cuts: {flows: 2}"), @r#"tests/jobs/minutes.yaml: case "bad": cuts.flows: 2 does not belong here; write after how many rows or files of each source an epoch ends, such as {flows: [2, 5]}"#);
    assert_snapshot!(with("cuts: {flows: [-1]}"), @r#"tests/jobs/minutes.yaml: case "bad": cuts.flows[0]: -1 does not belong here; write after how many rows or files of each source an epoch ends, such as {flows: [2, 5]}"#);
    assert_snapshot!(with("quarantined: {more: 1}"), @r#"tests/jobs/minutes.yaml: case "bad": quarantined.more: the case has no input of more; it has that of flows"#);
    assert_snapshot!(refused("name: bad\ninput: {}\nexpect: {}\ncuts: {flows: [1]}"), @r#"tests/jobs/minutes.yaml: case "bad": cuts.flows: the case has no input of flows, nor of another source; write input: {flows: [...]}"#);
    assert_snapshot!(with("drian: true"), @r#"tests/jobs/minutes.yaml: case "bad": "drian" is not a known key; write drain"#);
    assert_snapshot!(with("seed: 1"), @r#"tests/jobs/minutes.yaml: case "bad": "seed" is not a known key; the keys here are name, env, input, arrival, cuts, drain, late, quarantined, expect, tolerance"#);
    assert_snapshot!(with("late: 1"), @r#"tests/jobs/minutes.yaml: case "bad": late: which rows are late depends on where the epochs end; say that too, such as cuts: {flows: [2]}"#);
    assert_snapshot!(with("late: {flow: 1}"), @r#"tests/jobs/minutes.yaml: case "bad": late.flow: the case has no input of flow; write flows"#);
    assert_snapshot!(with("late: 1\ncuts: {flows: [1]}\narrival: shuffled"), @r#"tests/jobs/minutes.yaml: case "bad": late: which rows are late depends on their order; write arrival: as_written or by_event_time"#);
    assert_snapshot!(with("quarantined: some"), @r#"tests/jobs/minutes.yaml: case "bad": quarantined: "some" does not belong here; write how many rows, such as 3, or by source, such as {flows: 3}"#);
    assert_snapshot!(with("arrival: sorted"), @r#"tests/jobs/minutes.yaml: case "bad": arrival: "sorted" is not an order; write as_written, by_event_time or shuffled"#);
    assert_snapshot!(with("drain: maybe"), @r#"tests/jobs/minutes.yaml: case "bad": drain: "maybe" does not belong here; write true or false"#);
    assert_snapshot!(with("tolerance: tiny"), @r#"tests/jobs/minutes.yaml: case "bad": tolerance: "tiny" does not belong here; write a number from 0, such as 1.0e-6"#);
    assert_snapshot!(with("cut: {flows: [1]}"), @r#"tests/jobs/minutes.yaml: case "bad": "cut" is not a known key; write cuts"#);
}

#[test]
fn mistakes_in_input_and_expectation_say_what_would_be_right() {
    let flows = |input: &str| {
        refused(&format!("name: bad\ninput: {{flows: {input}}}\nexpect: {{host_minutes: []}}"))
    };
    assert_snapshot!(flows("{files: [../../fixtures/3.json]}"), @r#"tests/jobs/minutes.yaml: case "bad": input.flows.files[0]: tests/jobs/../../fixtures/3.json cannot be read: No such file or directory (os error 2); write a path relative to this file"#);
    assert_snapshot!(flows("{files: [../../fixtures]}"), @r#"tests/jobs/minutes.yaml: case "bad": input.flows.files[0]: tests/jobs/../../fixtures is no file; write each of its files by itself"#);
    assert_snapshot!(flows("{files: [], rows: []}"), @r#"tests/jobs/minutes.yaml: case "bad": input.flows: has rows and files; write one of the two"#);
    assert_snapshot!(flows("{file: a.json}"), @r#"tests/jobs/minutes.yaml: case "bad": input.flows: "file" is not a known key; write files"#);
    assert_snapshot!(flows("{}"), @r#"tests/jobs/minutes.yaml: case "bad": input.flows: has neither rows nor files; write a list of rows, or {files: [../fixtures/a.json]}"#);
    assert_snapshot!(flows("a.json"), @r#"tests/jobs/minutes.yaml: case "bad": input.flows: "a.json" does not belong here; write a list of rows, or {files: [../fixtures/a.json]}"#);
    assert_snapshot!(flows("[1]"), @r#"tests/jobs/minutes.yaml: case "bad": input.flows[0]: 1 does not belong here; write a row, a mapping of columns to values"#);
    let by_time = "name: bad\ninput: {flows: {files: []}}\nexpect: {}\narrival: by_event_time";
    assert_snapshot!(refused(by_time), @r#"tests/jobs/minutes.yaml: case "bad": arrival: flows is given as files, whose rows are not sorted; write as_written or shuffled"#);
    assert_snapshot!(refused("name: bad\ninput: {flow: []}\nexpect: {}"), @r#"tests/jobs/minutes.yaml: case "bad": input: the job has no source called "flow"; write flows"#);
    assert_snapshot!(refused("name: bad\ninput: {flows: []}\nexpect: {minutes: []}"), @r#"tests/jobs/minutes.yaml: case "bad": expect: the job has no sink called "minutes"; write one of host_minutes"#);
    assert_snapshot!(refused("name: bad\ninput: {}\nexpect: {host_minutes: [{byte: 1}]}"), @r#"tests/jobs/minutes.yaml: case "bad": expect.host_minutes[0]: host_minutes has no column called "byte"; write bytes"#);
    assert_snapshot!(refused("name: bad\nexpect: {}"), @r#"tests/jobs/minutes.yaml: case "bad": input: is missing; write what each source reads, such as input: {flows: [{ts: ..., bytes: 1}]}"#);
    assert_snapshot!(refused("name: bad\ninput: {}"), @r#"tests/jobs/minutes.yaml: case "bad": expect: is missing; write the rows of each sink, such as expect: {findings: []}"#);
    assert_snapshot!(refused("input: {}\nexpect: {}"), @r#"tests/jobs/minutes.yaml: cases[0]: name: is missing; write what the case shows, such as name: a port scan is found"#);
}

#[test]
fn every_case_with_a_mistake_is_named_and_none_is_run() {
    let two = "name: one\ninput: {}\nexpect: {}\n  - name: one\n    input: {}\n    expect: {}\n  \
               - name: two\n    input: {}";
    let folder = example();
    write(folder.path(), CASES, &format!("cases:\n  - {}\n", two.replacen('\n', "\n    ", 2)));
    assert_snapshot!(test(folder.path()).failed(2), @r#"
    tests/jobs/minutes.yaml: case "one": name: is that of another case too; write one of its own
    tests/jobs/minutes.yaml: case "two": expect: is missing; write the rows of each sink, such as expect: {findings: []}
    "#);
    let all = "name: one\ndrian: true\narrival: sorted\ncuts: {flows: [9, x]}\n\
               input: {flows: [{byts: 1}, 2]}\nexpect: {host_minutes: [{byte: 1, flows: one}]}\n\
               nam: two\ninput: {flow: []}\nexpect: {minutes: [{a: 1}]}";
    let all = all.replace('\n', "\n    ").replace("    nam:", "  - nam:");
    write(folder.path(), CASES, &format!("cases:\n  - {all}\n"));
    assert_snapshot!(test(folder.path()).failed(2), @r#"
    tests/jobs/minutes.yaml: case "one": "drian" is not a known key; write drain
    tests/jobs/minutes.yaml: case "one": input.flows[1]: 2 does not belong here; write a row, a mapping of columns to values
    tests/jobs/minutes.yaml: case "one": arrival: "sorted" is not an order; write as_written, by_event_time or shuffled
    tests/jobs/minutes.yaml: case "one": cuts.flows[0]: 9 is past the end: flows has 2 rows; write at most 2
    tests/jobs/minutes.yaml: case "one": cuts.flows[1]: "x" does not belong here; write after how many rows or files of each source an epoch ends, such as {flows: [2, 5]}
    tests/jobs/minutes.yaml: case "one": input.flows[0]: flows has no column called "byts"; write bytes
    tests/jobs/minutes.yaml: case "one": expect.host_minutes[0]: host_minutes has no column called "byte"; write bytes
    tests/jobs/minutes.yaml: case "one": expect.host_minutes[0].flows: "one" is not BIGINT; write a whole number
    tests/jobs/minutes.yaml: cases[1]: "nam" is not a known key; write name
    tests/jobs/minutes.yaml: cases[1]: input: the job has no source called "flow"; write flows
    tests/jobs/minutes.yaml: cases[1]: expect: the job has no sink called "minutes"; write one of host_minutes
    "#);
    write(folder.path(), CASES, "cases: []\n");
    assert_snapshot!(test(folder.path()).failed(2), @r#"tests/jobs/minutes.yaml: cases: is empty; write a list such as cases: [{name: ..., input: ..., expect: ...}]"#);
}

#[test]
fn a_mistake_outside_of_the_cases_hides_none_of_theirs() {
    let folder = example();
    let case = "{name: one, input: {}, expect: {host_minutes: [{byte: 1}]}}";
    write(folder.path(), CASES, &format!("version: 1\ncases:\n  - {case}\n"));
    assert_snapshot!(test(folder.path()).failed(2), @r#"
    tests/jobs/minutes.yaml: "version" is not a known key; the keys here are cases
    tests/jobs/minutes.yaml: case "one": expect.host_minutes[0]: host_minutes has no column called "byte"; write bytes
    "#);
}

#[test]
fn a_number_that_its_column_cannot_hold_is_a_mistake_of_its_case_alone() {
    let input = "{ts: 1, bytes: 18446744073709551616}, {ts: 1, bytes: .nan}";
    let row = "{bytes: 9223372036854775808, flows: 1e30}, {bytes: .nan, byte: 1}";
    let case = format!("name: bad\ninput: {{flows: [{input}]}}\nexpect: {{host_minutes: [{row}]}}");
    assert_snapshot!(refused(&case), @r#"
    tests/jobs/minutes.yaml: case "bad": input.flows[0].bytes: "18446744073709551616" is out of the range of BIGINT
    tests/jobs/minutes.yaml: case "bad": input.flows[1].bytes: "nan" is not BIGINT
    tests/jobs/minutes.yaml: case "bad": expect.host_minutes[0].flows: 1e+30 is not BIGINT; write a whole number from -9223372036854775808 to 9223372036854775807
    tests/jobs/minutes.yaml: case "bad": expect.host_minutes[0].bytes: 9223372036854775808 is not BIGINT; write a whole number from -9223372036854775808 to 9223372036854775807
    tests/jobs/minutes.yaml: case "bad": expect.host_minutes[1]: host_minutes has no column called "byte"; write bytes
    tests/jobs/minutes.yaml: case "bad": expect.host_minutes[1].bytes: nan is not BIGINT; write a whole number
    "#);
}

/// A job whose only query is `sql` over one source with a DOUBLE.
fn ratios(folder: &Path, sql: &str, more: &str) {
    let job = format!(
        "name: ratios\nsources:\n  s:\n    location: ./data/\n    format: json\n    schema: {{ts: \
         TIMESTAMP, k: VARCHAR, d: DOUBLE}}\n    event_time: {{column: ts, delay: 0s}}\nsql: |\n  \
         {sql}\nsinks: {{o: {{location: ./out/}}}}\nstate: {{location: ./state/}}\n{more}"
    );
    write(folder, "jobs/ratios.yaml", &job);
}

#[test]
fn nan_the_infinities_and_null_are_each_its_own_value_in_rows_that_are_read_and_written() {
    let folder = scratch();
    ratios(
        folder.path(),
        "INSERT INTO o SELECT k, sum(d) AS q FROM TABLE(TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL \
         '1' MINUTE)) GROUP BY window_start, window_end, k",
        "",
    );
    let run = |expected: &str| {
        let rows = "[{ts: 1, k: a, d: .inf}, {ts: 1, k: b, d: -.inf}, {ts: 1, k: c, d: .nan}, \
                    {ts: 1, k: d}, {ts: 1, k: e, d: 36893488147419103232}]";
        let text = format!(
            "cases:\n  - name: edges\n    input: {{s: {rows}}}\n    cuts: {{}}\n    expect: {{o: \
             [{expected}]}}\n"
        );
        write(folder.path(), "tests/jobs/ratios.yaml", &text);
        tidegauge(folder.path(), &["test", "jobs/ratios.yaml"], &[])
    };
    let right = "{k: a, q: .inf}, {k: b, q: -.inf}, {k: c, q: .nan}, {k: d, q: null}, \
                 {k: e, q: 36893488147419103232}";
    run(right).done();
    let wrong = right
        .replace("a, q: .inf", "a, q: null")
        .replace("b, q: -.inf", "b, q: .inf")
        .replace("d, q: null", "d, q: .nan");
    let told = run(&wrong).stdout;
    let mut differing: Vec<&str> = told.lines().filter(|line| line.contains('{')).collect();
    differing.sort_unstable();
    assert_snapshot!(differing.join("\n"), @r#"
    + unexpected: {"k":"a","q":inf}
    + unexpected: {"k":"b","q":-inf}
    + unexpected: {"k":"d"}
    - missing:    {"k":"a","q":null}
    - missing:    {"k":"b","q":inf}
    - missing:    {"k":"d","q":nan}
    "#);
}

#[test]
fn a_column_of_a_view_that_the_table_of_late_rows_adds_is_refused() {
    let folder = scratch();
    let sql = "CREATE VIEW m AS SELECT window_time wt, k AS _stage, count(*) n FROM \
               TABLE(TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, \
               window_end, window_time, k;\n  INSERT INTO o SELECT window_start, _stage, sum(n) n \
               FROM TABLE(TUMBLE(TABLE m, DESCRIPTOR(wt), INTERVAL '5' MINUTE)) GROUP BY \
               window_start, window_end, _stage";
    let check = || tidegauge(folder.path(), &["check", "jobs/ratios.yaml"], &[]);
    ratios(folder.path(), sql, "");
    check().done();
    ratios(folder.path(), sql, "late: {location: ./late/}\n");
    assert_snapshot!(check().failed(2), @"jobs/ratios.yaml: sql: line 2: _stage of a view that is put into windows is also a column that the table of late rows adds; rename it in the view, or remove late");
    ratios(folder.path(), &sql.replace("_stage", "stage"), "late: {location: ./late/}\n");
    check().done();
}
