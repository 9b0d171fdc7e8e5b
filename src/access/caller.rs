//! Who asks, and what they may: a role, and for those who submit jobs, the locations that their
//! jobs may use.
//!
//! ```text
//!  reader     lists jobs, reads metrics, queries
//!  operator   and submits and stops jobs all of whose locations lie below the token's
//!  admin      everything
//! ```

use std::fmt;
use std::sync::Arc;

use tidegauge_spec::{JobSpec, Prefix};

use super::resolved::resolved;

/// What a token lets its holder do; each role may do what the one before it may.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Asks: lists jobs, reads metrics, queries.
    #[default]
    Reader,
    /// Also submits and stops jobs, within its locations.
    Operator,
    /// Does everything.
    Admin,
}

impl Role {
    /// Every role, the weakest first.
    pub const ALL: [Self; 3] = [Self::Reader, Self::Operator, Self::Admin];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role of this name.
    ///
    /// # Errors
    /// Which names there are.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| format!("{text:?} is no role; write one of reader, operator, admin"))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The name of the token; none where no token is asked for.
    name: Option<String>,
    role: Role,
    locations: Arc<[Prefix]>,
}

impl Caller {
    /// Whoever asks where no token is asked for: the one who started the service.
    pub fn owner() -> Self {
        Self { name: None, role: Role::Admin, locations: Arc::default() }
    }

    /// The holder of a token.
    pub fn holder(name: &str, role: Role, locations: &Arc<[Prefix]>) -> Self {
        Self { name: Some(name.to_owned()), role, locations: Arc::clone(locations) }
    }

    /// The name of its token.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether nothing is kept from it but what nobody may.
    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }

    /// Whether it may do what needs `role`; `what` is what it asked for, as in "submit a job".
    ///
    /// # Errors
    /// What it has, and what it needs.
    pub fn check_role(&self, role: Role, what: &str) -> Result<(), String> {
        if self.role >= role {
            return Ok(());
        }
        Err(format!(
            "the token {} has the role {}, which may not {what}: that needs role:{role}{}; ask who \
             keeps the token file",
            self.shown(),
            self.role,
            if role == Role::Operator { " and locations: for all that the job uses" } else { "" }
        ))
    }

    /// Whether its jobs may use all that `spec` names, links on this machine followed.
    ///
    /// # Errors
    /// The first location that is another's, and which are its own.
    pub fn check_locations(&self, spec: &JobSpec) -> Result<(), String> {
        if self.is_admin() {
            return Ok(());
        }
        for used in spec.locations() {
            let real = resolved(&used.location);
            let is_own = |own: &Prefix| own.covers(&real);
            if !self.locations.iter().any(is_own) {
                let own: Vec<&str> = self.locations.iter().map(Prefix::text).collect();
                let own = match own.is_empty() {
                    true => "no locations".to_owned(),
                    false => format!("the locations {}", own.join(", ")),
                };
                return Err(format!(
                    "{}: {:?} is none that the token {} may use: it has {own}; write a location \
                     below one of its own, or ask who keeps the token file for \
                     locations:{}",
                    used.path,
                    used.location,
                    self.shown(),
                    used.location
                ));
            }
        }
        Ok(())
    }

    fn shown(&self) -> &str {
        self.name.as_deref().unwrap_or("of nobody")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn caller(role: Role, locations: &[&str]) -> Caller {
        let locations: Vec<Prefix> = locations.iter().map(|p| Prefix::parse(p).unwrap()).collect();
        Caller::holder("ana", role, &locations.into())
    }

    fn job(input: &str, sink: &str, state: &str) -> JobSpec {
        let text = format!(
            "name: one
sources: {{f: {{location: {input:?}, format: json, schema: {{ts: TIMESTAMP}}, event_time: {{column: ts, delay: 1s}}}}}}
sql: INSERT INTO out SELECT ts FROM f
sinks: {{out: {{location: {sink:?}}}}}
state: {{location: {state:?}}}
"
        );
        JobSpec::parse(&text, Path::new("job.yaml"), &|_| None).unwrap()
    }

    #[test]
    fn a_role_may_do_what_the_one_before_it_may() {
        for (has, needs, may) in [
            (Role::Reader, Role::Reader, true),
            (Role::Reader, Role::Operator, false),
            (Role::Operator, Role::Admin, false),
            (Role::Admin, Role::Operator, true),
        ] {
            assert_eq!(caller(has, &[]).check_role(needs, "do it").is_ok(), may, "{has} {needs}");
        }
        let said = caller(Role::Reader, &[]).check_role(Role::Operator, "submit a job");
        assert!(said.unwrap_err().contains("ana has the role reader, which may not submit a job"));
        assert!(Caller::owner().check_role(Role::Admin, "do it").is_ok());
    }

    #[test]
    fn every_location_of_a_job_has_to_be_an_own_one() {
        let own = caller(Role::Operator, &["s3://acme/a/", "s3://acme/b/"]);
        let good = job("s3://acme/a/in/", "s3://acme/b/out/", "s3://acme/a/state/");
        own.check_locations(&good).unwrap();
        for (input, sink, state, path) in [
            ("s3://acme/c/", "s3://acme/b/out/", "s3://acme/a/s/", "sources.f.location"),
            ("s3://acme/a/in/", "s3://acme/out/", "s3://acme/a/s/", "sinks.out.location"),
            ("s3://acme/a/in/", "s3://acme/b/out/", "s3://else/a/", "state.location"),
            ("s3://acme/a/../c/", "s3://acme/b/out/", "s3://acme/a/s/", "sources.f.location"),
            ("s3://acme/*/in/", "s3://acme/b/out/", "s3://acme/a/s/", "sources.f.location"),
        ] {
            let said = own.check_locations(&job(input, sink, state)).unwrap_err();
            assert!(said.starts_with(path), "{said}");
        }
        assert!(caller(Role::Operator, &[]).check_locations(&good).is_err());
        assert!(caller(Role::Admin, &[]).check_locations(&good).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_out_of_an_own_folder_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("own")).unwrap();
        std::fs::create_dir_all(root.join("secrets/in")).unwrap();
        std::os::unix::fs::symlink(root.join("secrets"), root.join("own/link")).unwrap();
        let own = caller(Role::Operator, &[root.join("own").to_str().unwrap()]);
        let at = |path: &str| root.join(path).display().to_string();
        let good = job(&at("own/in"), &at("own/out"), &at("own/state"));
        own.check_locations(&good).unwrap();
        for link in ["own/link", "own/link/in", "own/link/in/*.json", "own/../secrets"] {
            let said = own.check_locations(&job(&at(link), &at("own/out"), &at("own/state")));
            assert!(said.unwrap_err().starts_with("sources.f.location"), "{link}");
        }
        let back = format!("file://{}/..{}/own/link/", root.display(), root.display());
        assert!(own.check_locations(&job(&back, &at("own/out"), &at("own/s"))).is_err());
    }
}
