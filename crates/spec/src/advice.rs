//! What is allowed in a job file and seldom meant: `check` says it, and the job runs all the same.

use std::time::Duration;

use crate::duration::format_duration;
use crate::event_time::EventTimeSpec;
use crate::job::JobSpec;
use crate::problem::Problem;

impl JobSpec {
    /// What to think about, in the order of the job file; usually nothing.
    #[must_use]
    pub fn advice(&self) -> Vec<Problem> {
        let mut all = Vec::new();
        for source in &self.sources {
            for (key, message) in of_delivery(&source.event_time, self.sources.len() > 1) {
                let path = format!("sources.{}.event_time.{key}", source.name);
                all.push(Problem { file: self.path.clone(), line: None, path, message });
            }
        }
        all
    }
}

/// A source whose files come every so often is silent for that long without being over.
fn of_delivery(
    time: &EventTimeSpec,
    has_others: bool,
) -> impl Iterator<Item = (&'static str, String)> {
    let idle_after = has_others.then_some(time.idle_after);
    let allowed = time.delay.saturating_add(time.allowed_lateness);
    let waits = [
        ("idle_after", idle_after, "other sources go on without it between two of its files"),
        ("close_when_idle", time.close_when_idle, "windows close between two of its files"),
        ("delay", Some(allowed), "a file that comes one delivery later than others is late"),
    ];
    let delivery = time.delivery;
    waits.into_iter().filter_map(move |(key, wait, what)| {
        let (delivery, wait) = (delivery?, wait?);
        (wait < delivery).then(|| (key, shorter(wait, delivery, what)))
    })
}

fn shorter(wait: Duration, delivery: Duration, what: &str) -> String {
    let (wait, delivery) = (format_duration(wait), format_duration(delivery));
    format!(
        "{wait} is shorter than delivery ({delivery}), so that {what}; write {delivery} or more"
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn advice(event_time: &str, more: &str) -> Vec<String> {
        let text = format!(
            "name: a\nsources:\n  s:\n    location: ./in/\n    format: json\n    schema: {{ts: \
             TIMESTAMP}}\n    event_time: {{column: ts, {event_time}}}\n{more}sql: INSERT INTO o \
             SELECT * FROM s\nsinks: {{o: {{location: ./out/}}}}\nstate: {{location: ./state/}}\n"
        );
        let job = JobSpec::parse(&text, Path::new("a.yaml"), &|_| None).unwrap();
        job.advice().iter().map(ToString::to_string).collect()
    }

    const OTHER: &str = "  t:\n    location: ./other/\n    format: json\n    schema: {ts: \
                         TIMESTAMP}\n    event_time: {column: ts, delay: 1s}\n";

    #[test]
    fn what_is_shorter_than_a_stated_delivery_is_named_with_what_would_be_right() {
        let all = advice("delay: 10s, close_when_idle: 2m, delivery: 5m", "");
        assert_eq!(all.len(), 2, "{all:?}");
        assert_eq!(
            all[0],
            "a.yaml: sources.s.event_time.close_when_idle: 2m is shorter than delivery (5m), so \
             that windows close between two of its files; write 5m or more"
        );
        assert!(all[1].contains("event_time.delay: 10s is shorter"), "{all:?}");
        // Idleness holds other sources, of which there are none.
        let all = advice("delay: 5m, delivery: 5m", "");
        assert!(all.is_empty(), "{all:?}");
        let all = advice("delay: 5m, delivery: 5m", OTHER);
        assert!(all.len() == 1 && all[0].contains("idle_after: 1m is shorter"), "{all:?}");
    }

    #[test]
    fn without_a_stated_delivery_nothing_is_said() {
        assert!(advice("delay: 0s, close_when_idle: 1s", OTHER).is_empty());
    }
}
