//! A job file as text, together with what it refers to: it can be sent to another process and be
//! read there without any file or variable of that process.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::job::{JobSpec, read_job};
use crate::problem::{BadJob, Problem};
use crate::sql::read_sql;
use crate::yaml::Env;

/// A job file, the text of its SQL file, and the variables that it names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobText {
    /// What problems call the file; it is never opened.
    #[serde(default = "unnamed")]
    pub file: PathBuf,
    /// The text of the job file.
    pub job: String,
    /// The text of its SQL file, where it names one.
    #[serde(default)]
    pub sql: Option<String>,
    /// Values for `${NAME}` in the job file.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
}

fn unnamed() -> PathBuf {
    PathBuf::from("job.yaml")
}

impl JobText {
    /// Reads a job file and its SQL file, with the variables of `env` that it names and no others.
    /// Mistakes of the job are left for [`JobText::parse`] to find.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, with all other problems of the job.
    pub fn read(path: &Path, env: Env<'_>) -> Result<JobText, BadJob> {
        let job = read_job(path)?;
        let sql = RefCell::new(None);
        let unread = Cell::new(false);
        let variables = RefCell::new(BTreeMap::new());
        let named = |name: &str| {
            let value = env(name);
            if let Some(value) = &value {
                variables.borrow_mut().insert(name.to_owned(), value.clone());
            }
            value
        };
        let files = |path: &Path| {
            let text = read_sql(path);
            unread.set(text.is_err());
            *sql.borrow_mut() = text.as_ref().ok().cloned();
            text
        };
        let parsed = JobSpec::parse_with(&job, path, &named, &files);
        match parsed {
            Err(bad) if unread.get() => Err(bad),
            _ => Ok(JobText {
                file: path.to_owned(),
                job,
                sql: sql.into_inner(),
                variables: variables.into_inner(),
            }),
        }
    }

    /// The job of this text. No file and no variable of this process is read.
    ///
    /// # Errors
    ///
    /// The problems that [`JobSpec::load`] finds in the files.
    pub fn parse(&self) -> Result<JobSpec, BadJob> {
        let used = Cell::new(false);
        let files = |_: &Path| {
            used.set(true);
            self.sql.clone().ok_or_else(|| std::io::Error::other("its text was not sent along"))
        };
        let env = |name: &str| self.variables.get(name).cloned();
        let spec = JobSpec::parse_with(&self.job, &self.file, &env, &files)?;
        match self.sql.is_some() && !used.get() {
            false => Ok(spec),
            true => Err(BadJob {
                problems: vec![Problem {
                    file: self.file.clone(),
                    line: None,
                    path: "sql".to_owned(),
                    message: "the job holds its SQL itself, and SQL was sent along; send one"
                        .to_owned(),
                }],
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: &str = "name: errors
sources:
  logs:
    location: ${IN}
    format: json
    schema: {ts: TIMESTAMP, level: VARCHAR}
    event_time: {column: ts, delay: 10s}
sql: ../sql/errors.sql
sinks:
  found: {location: ./out/found/}
state: {location: ./out/_state/}
";
    const SQL: &str = "INSERT INTO found SELECT * FROM logs";

    fn env(name: &str) -> Option<String> {
        (name == "IN" || name == "SECRET").then(|| "./logs/".to_owned())
    }

    #[test]
    fn a_job_that_is_sent_is_the_job_that_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs/errors.yaml");
        for (file, text) in [("jobs/errors.yaml", JOB), ("sql/errors.sql", SQL)] {
            let file = folder.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let text = JobText::read(&path, &env).unwrap();
        let named: Vec<&String> = text.variables.keys().collect();
        assert_eq!(named, ["IN"], "only what the job names is sent");
        let spec = text.parse().unwrap();
        assert_eq!(spec, JobSpec::load(&path, &env).unwrap());

        std::fs::remove_file(folder.path().join("sql/errors.sql")).unwrap();
        let bad = JobText::read(&path, &env).unwrap_err();
        assert_eq!(bad, JobSpec::load(&path, &env).unwrap_err());
    }

    #[test]
    fn nothing_of_the_reading_process_is_read() {
        let alone =
            JobText { file: "e.yaml".into(), job: JOB.into(), sql: None, variables: [].into() };
        assert_eq!(
            alone.parse().unwrap_err().to_string(),
            "e.yaml:4: sources.logs.location: the environment variable IN is not set; set it, or \
             write ${IN:-default}\n\
             e.yaml:8: sql: \"../sql/errors.sql\" cannot be read: ../sql/errors.sql: its text was \
             not sent along; write the path from the job file"
        );
    }

    #[test]
    fn sql_that_no_one_asks_for_is_a_mistake() {
        let job = JOB.replace("../sql/errors.sql", SQL).replace("${IN}", "./logs/");
        let text = JobText {
            file: "e.yaml".into(),
            job,
            sql: Some("INSERT INTO found SELECT 1".into()),
            variables: [].into(),
        };
        let bad = text.parse().unwrap_err().to_string();
        assert_eq!(
            bad,
            "e.yaml: sql: the job holds its SQL itself, and SQL was sent along; send one"
        );
    }
}
