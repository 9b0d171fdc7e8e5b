//! Where a job reads and writes, for whoever runs several: no two jobs write to one place, and a
//! job from elsewhere may have to keep off the local disk.

use super::JobSpec;
use crate::location::{Place, Purpose, nested, place};

/// A folder that a job writes to.
struct Written<'a> {
    what: String,
    text: &'a str,
    place: Place,
}

/// A location of a job file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedLocation {
    /// Its place in the job file, such as `sinks.findings.location`.
    pub path: String,
    /// As it is written there; that of the state is followed by the job's name.
    pub location: String,
    /// Whether it is read alone; others are written to.
    pub is_read: bool,
}

impl JobSpec {
    /// Every location of the job.
    pub fn locations(&self) -> Vec<UsedLocation> {
        let used = |path: String, location: &str, is_read| UsedLocation {
            path,
            location: location.to_owned(),
            is_read,
        };
        let sources = self.sources.iter().map(|source| {
            used(format!("sources.{}.location", source.name), &source.location, true)
        });
        let sinks = self
            .sinks
            .iter()
            .map(|sink| used(format!("sinks.{}.location", sink.name), &sink.location, false));
        let late =
            self.late.iter().map(|late| used("late.location".to_owned(), &late.location, false));
        let state = format!("{}/{}", self.state.location.trim_end_matches('/'), self.name);
        let state = used("state.location".to_owned(), &state, false);
        sources.chain(sinks).chain(late).chain([state]).collect()
    }

    /// How this job would write to a place of `other`'s: a sentence that names both, or nothing.
    /// Jobs of different names may share the location of their state, where each has a folder.
    pub fn clash(&self, other: &JobSpec) -> Option<String> {
        let theirs = other.written();
        self.written().iter().find_map(|mine| {
            let taken = theirs.iter().find(|taken| nested(&taken.place, &mine.place))?;
            Some(format!(
                "{} at {} overlaps with {} of the job {} at {}; write another location",
                mine.what, mine.text, taken.what, other.name, taken.text
            ))
        })
    }

    /// The locations on the local disk, each with its place in the job file.
    pub fn local_locations(&self) -> Vec<(String, &str)> {
        let sources = self.sources.iter().map(|source| ("sources", &source.name, &source.location));
        let sinks = self.sinks.iter().map(|sink| ("sinks", &sink.name, &sink.location));
        let named = sources.chain(sinks).map(|(section, name, location)| {
            (format!("{section}.{name}.location"), location.as_str())
        });
        let late =
            self.late.iter().map(|late| ("late.location".to_owned(), late.location.as_str()));
        named
            .chain(late)
            .chain([("state.location".to_owned(), self.state.location.as_str())])
            .filter(|(_, location)| !location.starts_with("s3://"))
            .collect()
    }

    fn written(&self) -> Vec<Written<'_>> {
        let state = format!("{}/{}", self.state.location.trim_end_matches('/'), self.name);
        let state = ("the state".to_owned(), self.state.location.as_str(), state);
        let late = self.late.iter().map(|late| {
            ("the table of late rows".to_owned(), late.location.as_str(), late.location.clone())
        });
        self.sinks
            .iter()
            .map(|sink| {
                let what = format!("the sink {}", sink.name);
                (what, sink.location.as_str(), sink.location.clone())
            })
            .chain(late)
            .chain([state])
            .filter_map(|(what, text, folder)| {
                let place = place(&folder, Purpose::Write).ok()?;
                Some(Written { what, text, place })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::JobSpec;

    fn job(name: &str, input: &str, sink: &str, state: &str) -> JobSpec {
        let text = format!(
            "name: {name}
sources:
  flows:
    location: {input}
    format: json
    schema: {{ts: TIMESTAMP}}
    event_time: {{column: ts, delay: 1s}}
sql: INSERT INTO out SELECT ts FROM flows
sinks:
  out: {{location: {sink}}}
state: {{location: {state}}}
"
        );
        JobSpec::parse(&text, Path::new("job.yaml"), &|_| None).unwrap()
    }

    #[test]
    fn two_jobs_that_write_to_one_place_clash() {
        let one = job("one", "in/", "out/", "state/");
        assert_eq!(one.clash(&job("two", "in/", "out2/", "state/")), None);
        let clash = one.clash(&job("two", "in/", "./out/x/", "state/")).unwrap();
        assert_eq!(
            clash,
            "the sink out at out/ overlaps with the sink out of the job two at ./out/x/; write \
             another location"
        );
        let clash = one.clash(&job("two", "in/", "state/one/y/", "elsewhere/")).unwrap();
        assert!(clash.starts_with("the state at state/ overlaps with the sink out of"), "{clash}");
        assert_eq!(one.clash(&job("two", "out/", "out2/", "s3://state/")), None, "jobs may chain");
    }

    #[test]
    fn tables_of_late_rows_are_places_too() {
        let late = |name: &str, location: &str| {
            let mut job = job(name, "in/", &format!("out_{name}/"), "s3://b/state/");
            job.late = Some(crate::LateSpec { location: location.to_owned() });
            job
        };
        let one = late("one", "late/");
        assert_eq!(one.clash(&late("two", "late_two/")), None);
        assert_eq!(
            one.clash(&late("two", "./late/two/")).unwrap(),
            "the table of late rows at late/ overlaps with the table of late rows of the job two \
             at ./late/two/; write another location"
        );
        assert!(one.local_locations().contains(&("late.location".to_owned(), "late/")));
    }

    #[test]
    fn local_locations_are_named_by_their_place_in_the_file() {
        let mixed = job("one", "s3://b/in/", "file:///out/", "state/");
        assert_eq!(
            mixed.local_locations(),
            [
                ("sinks.out.location".to_owned(), "file:///out/"),
                ("state.location".to_owned(), "state/")
            ]
        );
        assert!(job("one", "s3://b/in/", "s3://b/out/", "s3://b/st/").local_locations().is_empty());
    }
}
