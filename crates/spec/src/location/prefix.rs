//! Places that somebody may use, or must keep off, told from what lies beside them.
//!
//! `s3://acme/team/` covers `s3://acme/team/in/` and `s3://acme/team`, not `s3://acme/teams/`.

use super::overlap::{nested, reads_into};
use super::{Place, Purpose, place};

/// One folder and all that is below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    text: String,
    place: Place,
}

impl Prefix {
    /// The folder at a location.
    ///
    /// # Errors
    /// Says what is wrong with the text and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let place = place(text, Purpose::Write)?;
        match is_plain(text) {
            true => Ok(Self { text: text.to_owned(), place }),
            false => Err(format!("{text:?} has a part . or ..; write the folder that it leads to")),
        }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether all that `location` can lead to lies below this folder. A location with `..` in it
    /// is below nothing, and neither is one whose first parts are wildcards.
    pub fn covers(&self, location: &str) -> bool {
        let Ok(used) = place(location, Purpose::Read) else { return false };
        is_plain(location)
            && used.bucket == self.place.bucket
            && used.parts.len() >= self.place.parts.len()
            && nested(&used, &self.place)
    }

    /// Whether a job that reads `location` could read something of this folder.
    pub fn is_read_by(&self, location: &str) -> bool {
        place(location, Purpose::Read).is_ok_and(|read| reads_into(&read, &self.place))
    }

    /// Whether a job that writes to `location` would write into this folder or around it.
    pub fn is_written_by(&self, location: &str) -> bool {
        place(location, Purpose::Write).is_ok_and(|written| nested(&written, &self.place))
    }
}

/// Whether no part of a location leads back up.
fn is_plain(location: &str) -> bool {
    let is_local = !location.contains("://") || location.starts_with("file://");
    let path = location.split_once("://").map_or(location, |(_, rest)| rest);
    !path.split('/').any(|part| part == ".." || (part == "." && !is_local))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_below_is_covered_and_what_lies_beside_is_not() {
        let team = Prefix::parse("s3://acme/team/").unwrap();
        for inside in ["s3://acme/team", "s3://acme/team/in/", "s3://acme/team/*/x.json"] {
            assert!(team.covers(inside), "{inside}");
        }
        for outside in [
            "s3://acme/teams/",
            "s3://acme/",
            "s3://acme",
            "s3://acme/te*/in/",
            "s3://acme/**",
            "s3://other/team/",
            "s3://acme/team/../secrets/",
            "s3://acme/secrets/../team/",
            "/team/",
            "file:///acme/team/",
            "s3://acme/{team,secrets}/",
        ] {
            assert!(!team.covers(outside), "{outside}");
        }
        let bucket = Prefix::parse("s3://acme").unwrap();
        assert!(bucket.covers("s3://acme/anything/") && !bucket.covers("s3://acme2/"));
        let local = Prefix::parse("/data/team").unwrap();
        assert!(local.covers("/data/team/./in") && local.covers("file:///data/team/in/"));
        assert!(!local.covers("/data/team/../other/") && !local.covers("/data/teams"));
        for wrong in ["", "s3://", "ftp://x/", "/data/*/", "/data/../etc/"] {
            assert!(Prefix::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_folder_is_met_from_above_and_from_below() {
        let state = Prefix::parse("/data/state/job").unwrap();
        for reading in ["/data/", "/data/state/job/log/*.json", "/data/**", "/data/*/job/", "/"] {
            assert!(state.is_read_by(reading), "{reading}");
        }
        for not in ["/data/other/", "/data/state/jobs/", "/data/*.json", "s3://data/state/job/"] {
            assert!(!state.is_read_by(not), "{not}");
        }
        assert!(state.is_written_by("/data/state/") && state.is_written_by("/data/state/job/x/"));
        assert!(!state.is_written_by("/data/state/jobs/"));
        let hidden = Prefix::parse("/out/_state/job").unwrap();
        assert!(!hidden.is_read_by("/out/") && hidden.is_read_by("/out/_state/"));
    }
}
