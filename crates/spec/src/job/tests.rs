//! Whole job files: one that is right, and every way of being wrong, with its line.

mod parsing;
mod problems;
mod yaml;

use std::path::Path;

use crate::{BadJob, JobSpec};

/// A job of which each test changes a little.
const JOB: &str = "\
name: dns
sources:
  queries:
    location: ./data/
    format: json
    schema: {ts: TIMESTAMP, host: VARCHAR}
    event_time: {column: ts, delay: 10s}
sql: INSERT INTO found SELECT * FROM queries;
sinks:
  found: {location: ./out/found/}
state: {location: ./out/_state/}
";

fn no_env(_: &str) -> Option<String> {
    None
}

fn parse(text: &str) -> Result<JobSpec, BadJob> {
    JobSpec::parse(text, Path::new("jobs/dns.yaml"), &no_env)
}

/// The job with one piece of its text replaced.
fn changed(from: &str, to: &str) -> String {
    assert!(JOB.contains(from), "{from}");
    JOB.replacen(from, to, 1)
}

/// What is displayed for a text that is wrong.
fn wrong(text: &str) -> String {
    match parse(text) {
        Ok(job) => panic!("no problem found: {job:?}"),
        Err(bad) => bad.to_string().replace("jobs/dns.yaml:", ""),
    }
}
