//! Submitted jobs, kept where the next process finds them: one object a job, `<name>.json`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidegauge_commitlog::Storage;
use tidegauge_spec::JobText;
use tokio::sync::Mutex;

use crate::error::{Error, Result};

const FORMAT_VERSION: u32 = 1;
const ENDING: &str = ".json";
/// A text of 1 MiB, escaped.
const BYTES_MAX: u64 = 8 << 20;

/// A submitted job as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Submission {
    format_version: u32,
    /// It was stopped, and is not started again.
    pub(super) is_stopped: bool,
    /// The job.
    pub(super) text: JobText,
}

impl Submission {
    pub(super) fn new(text: JobText) -> Self {
        Self { format_version: FORMAT_VERSION, is_stopped: false, text }
    }
}

/// Where they are kept; nowhere, if no place was given.
#[derive(Debug, Clone, Default)]
pub struct Submissions {
    place: Option<Arc<Place>>,
}

#[derive(Debug)]
struct Place {
    storage: Storage,
    /// Objects are replaced whole, so only one may be on its way.
    writing: Mutex<()>,
}

impl Submissions {
    /// Keeps them at a location.
    ///
    /// # Errors
    /// When it is none that can be opened.
    pub fn at(location: &str) -> Result<Self> {
        let storage = Storage::open(location)?;
        if let Some(folder) = storage.local_path("") {
            // A mounted folder may belong to another; then the files alone keep others out.
            let kept =
                std::fs::create_dir_all(&folder).and_then(|()| keep_to_owner(&folder, 0o700));
            if let Err(error) = kept {
                tracing::warn!(folder = %folder.display(), %error, "others may list submitted jobs");
            }
        }
        Ok(Self { place: Some(Arc::new(Place { storage, writing: Mutex::default() })) })
    }

    /// Whether they outlive the process.
    pub fn are_kept(&self) -> bool {
        self.place.is_some()
    }

    /// Keeps a job under its name, in place of the one that was there.
    pub(super) async fn keep(&self, name: &str, submission: &Submission) -> Result<()> {
        let Some(place) = &self.place else { return Ok(()) };
        let _one = place.writing.lock().await;
        place.put(name, submission).await
    }

    /// Marks a job as stopped.
    pub(super) async fn mark_stopped(&self, name: &str) -> Result<()> {
        let Some(place) = &self.place else { return Ok(()) };
        let _one = place.writing.lock().await;
        match place.get(&format!("{name}{ENDING}")).await? {
            Some(submission) => {
                place.put(name, &Submission { is_stopped: true, ..submission }).await
            }
            None => Ok(()),
        }
    }

    /// Keeps a job no more.
    pub(super) async fn forget(&self, name: &str) -> Result<()> {
        let Some(place) = &self.place else { return Ok(()) };
        let _one = place.writing.lock().await;
        place.storage.delete(&[format!("{name}{ENDING}")]).await
    }

    /// Every job that is kept, by name; one that cannot be read is an error by itself.
    pub(super) async fn all(&self) -> Result<Vec<(String, Result<Submission>)>> {
        let Some(place) = &self.place else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for object in place.storage.list("").await? {
            let Some(relative) = place.storage.relative(&object.location) else { continue };
            let Some(name) = relative.strip_suffix(ENDING).filter(|name| !name.contains('/'))
            else {
                continue;
            };
            let submission = match object.size > BYTES_MAX {
                true => Err(place.unreadable(&relative, format!("it has {} bytes", object.size))),
                false => match place.get(&relative).await {
                    Ok(Some(submission)) => Ok(submission),
                    // Somebody has taken it away since it was listed.
                    Ok(None) => continue,
                    Err(error) => Err(error),
                },
            };
            found.push((name.to_owned(), submission));
        }
        Ok(found)
    }
}

impl Place {
    async fn put(&self, name: &str, submission: &Submission) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(submission).map_err(|error| {
            Error::bug("a submitted job cannot be written down").with_source(error)
        })?;
        let path = format!("{name}{ENDING}");
        self.storage.write(&path, bytes.into()).await?;
        if let Some(file) = self.storage.local_path(&path) {
            // The folder keeps others out from the beginning; this also does when it is moved.
            keep_to_owner(&file, 0o600).map_err(|error| {
                let shown = file.display();
                Error::unavailable(format!("{shown} cannot be made one's own: {error}"))
                    .with_source(error)
            })?;
        }
        self.storage.sync(&[path]).await
    }

    async fn get(&self, path: &str) -> Result<Option<Submission>> {
        let Some(bytes) = self.storage.get(path).await? else { return Ok(None) };
        let submission: Submission = serde_json::from_slice(&bytes)
            .map_err(|error| self.unreadable(path, error.to_string()))?;
        match submission.format_version {
            FORMAT_VERSION => Ok(Some(submission)),
            newer => Err(self.unreadable(path, format!("it has the format {newer}"))),
        }
    }

    fn unreadable(&self, path: &str, why: String) -> Error {
        Error::corrupt(format!(
            "{}/{path} is no submitted job of this version: {why}; submit the job again",
            self.storage.location()
        ))
    }
}

/// Jobs hold the variables that they were submitted with, which may be secrets.
#[cfg(unix)]
fn keep_to_owner(path: &std::path::Path, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn keep_to_owner(_: &std::path::Path, _: u32) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(job: &str) -> JobText {
        JobText { file: "a.yaml".into(), job: job.into(), sql: None, variables: [].into() }
    }

    #[tokio::test]
    async fn a_submitted_job_is_found_again_and_stays_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let location = folder.path().join("jobs").display().to_string();
        let kept = Submissions::at(&location).unwrap();
        assert!(kept.all().await.unwrap().is_empty());
        kept.keep("a", &Submission::new(text("name: a"))).await.unwrap();
        kept.keep("b", &Submission::new(text("name: b"))).await.unwrap();
        kept.mark_stopped("b").await.unwrap();
        #[cfg(unix)]
        for (path, mode) in [("jobs", 0o700), ("jobs/a.json", 0o600), ("jobs/b.json", 0o600)] {
            use std::os::unix::fs::PermissionsExt as _;
            let found = std::fs::metadata(folder.path().join(path)).unwrap().permissions().mode();
            assert_eq!(found & 0o777, mode, "{path}");
        }
        kept.mark_stopped("nowhere").await.unwrap();
        kept.keep("d", &Submission::new(text("name: d"))).await.unwrap();
        kept.forget("d").await.unwrap();
        std::fs::write(folder.path().join("jobs/c.json"), "{}").unwrap();

        let all = Submissions::at(&location).unwrap().all().await.unwrap();
        let shown: Vec<(&str, Option<bool>)> = all
            .iter()
            .map(|(name, found)| (name.as_str(), found.as_ref().ok().map(|one| one.is_stopped)))
            .collect();
        assert_eq!(shown, [("a", Some(false)), ("b", Some(true)), ("c", None)]);
        let error = all[2].1.as_ref().unwrap_err().to_string();
        assert!(error.contains("jobs/c.json is no submitted job of this version"), "{error}");
    }
}
