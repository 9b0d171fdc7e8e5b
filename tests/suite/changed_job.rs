//! A job whose state no longer fits is refused with what changed, and starts anew only when told.

use std::fs;

use super::process::{self, Ended};
use super::storm::{Outcome, SINKS, Storm};

const ONCE: &[&str] = &["--once", "--drain"];

/// Runs the job after its file was edited.
fn run_edited(storm: &Storm, outcome: &Outcome, edits: &[(&str, &str)], more: &[&str]) -> Ended {
    let mut text = fs::read_to_string(storm.job()).unwrap();
    for (from, to) in edits {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let path = storm.folder().join("edited.yaml");
    fs::write(&path, text).unwrap();
    process::run(&path, &outcome.env, &[ONCE, more].concat())
}

#[tokio::test]
async fn a_changed_job_is_refused_with_what_changed() {
    let storm = Storm::local(6, 300);
    let outcome = storm.outcome("out");
    storm.run(&outcome).summary();
    let epochs = outcome.epochs().await;
    for (edits, told) in [
        (vec![("max(bytes_out)", "min(bytes_out)")], "query into hopped changed"),
        (vec![("'5 minutes'", "'10 minutes'")], "query into hopped changed"),
        (vec![("dst_port: INT", "dst_port: BIGINT")], "source flows changed"),
        // Windows that have closed are gone, so that late rows could not be added to them.
        (
            vec![("delay: 10s", "delay: 10s, allowed_lateness: 5m")],
            "allowed_lateness of source flows is new",
        ),
        (
            vec![("INTO large", "INTO huge"), ("  large:", "  huge:")],
            "query into large is gone, query into huge is new",
        ),
    ] {
        let ended = run_edited(&storm, &outcome, &edits, &[]);
        assert_eq!(ended.code, Some(2), "{edits:?}: {ended:?}");
        assert!(ended.stderr.contains(told), "{edits:?}: {ended:?}");
        assert!(ended.stderr.contains("--reset-state"), "{ended:?}");
    }
    assert_eq!(outcome.epochs().await, epochs, "a refused job has committed");
}

#[tokio::test]
async fn what_leaves_the_state_as_it_is_may_change() {
    let storm = Storm::local(6, 300);
    let outcome = storm.outcome("out");
    storm.run(&outcome).summary();
    for edit in [
        ("count(*) AS flows", "count(*)   AS flows -- of any length\n   "),
        ("delay: 10s", "delay: 20s"),
        ("files_max: 3", "files_max: 7"),
    ] {
        let ended = run_edited(&storm, &outcome, &[edit], &[]);
        assert_eq!(ended.summary()["files"], 0, "{edit:?}");
    }
}

#[tokio::test]
async fn a_reset_reads_everything_again_and_asks_before_rows_come_twice() {
    let storm = Storm::local(6, 300);
    let outcome = storm.outcome("out");
    let first = storm.run(&outcome).summary();
    let before = outcome.listed_rows().await;
    let edit = [("bytes_out > 10000", "bytes_out > 0")];

    let asked = run_edited(&storm, &outcome, &edit, &["--reset-state"]);
    assert_eq!(asked.code, Some(2), "{asked:?}");
    assert!(asked.stderr.contains("holds files already"), "{asked:?}");
    assert!(asked.stderr.contains("--adopt"), "{asked:?}");

    let again = run_edited(&storm, &outcome, &edit, &["--reset-state", "--adopt"]).summary();
    assert_eq!(again["rows_in"], first["rows_in"]);
    let after = outcome.listed_rows().await;
    for sink in ["hopped", "tumbled"] {
        assert_eq!(after[sink].len(), 2 * before[sink].len(), "old and new rows of {sink}");
    }
    let grown = after["large"].len() - before["large"].len();
    assert_eq!(again["rows_out"]["large"], grown);
    assert!(grown > before["large"].len(), "the changed query did not run");

    let idle = run_edited(&storm, &outcome, &edit, &[]).summary();
    assert_eq!(idle["files"], 0, "what the reset read is not read again");
}

#[tokio::test]
async fn a_reset_job_may_be_without_a_sink_that_it_had() {
    let storm = Storm::local(6, 300);
    let outcome = storm.outcome("out");
    storm.run(&outcome).summary();
    let before = outcome.listed_rows().await;
    let edit = [("INTO large", "INTO huge"), ("  large:", "  huge:"), ("/large/", "/huge/")];
    let again = run_edited(&storm, &outcome, &edit, &["--reset-state", "--adopt"]).summary();
    assert_eq!(again["rows_out"]["huge"], before["large"].len());
    let after = outcome.listed_rows().await;
    assert_eq!(after["large"], before["large"], "the old sink stays as it was");
}

#[tokio::test]
async fn a_fresh_state_over_a_full_sink_is_refused_unless_adopted() {
    let storm = Storm::local(6, 300);
    let outcome = storm.outcome("out");
    storm.run(&outcome).summary();
    let before = outcome.listed_rows().await;
    fs::remove_dir_all(storm.folder().join("out/_state")).unwrap();

    let refused = storm.run(&outcome);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("holds files already"), "{refused:?}");

    process::run(&storm.job(), &outcome.env, &[ONCE, &["--adopt"]].concat()).summary();
    let after = outcome.listed_rows().await;
    for sink in SINKS {
        assert_eq!(after[sink].len(), 2 * before[sink].len(), "{sink}");
    }
    assert_eq!(outcome.committed_rows().await, before, "the log knows its own rows only");
}
