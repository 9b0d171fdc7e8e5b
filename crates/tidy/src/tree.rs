//! The files of the repository that rules look at, in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Folders at the root that hold what the repository does not own.
const FOREIGN: [&str; 4] = ["target", "out", "data", "node_modules"];
const ENDINGS: [&str; 5] = ["rs", "sql", "yaml", "lock", "toml"];

/// Texts by their path from the root, with `/` between its parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    files: BTreeMap<String, String>,
}

/// A file or folder that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct TreeError {
    path: PathBuf,
    source: std::io::Error,
}

impl Tree {
    /// Reads the repository at `root`.
    ///
    /// # Errors
    /// The first file or folder that cannot be read.
    pub fn load(root: &Path) -> Result<Self, TreeError> {
        let mut tree = Self::default();
        tree.add_folder(root, "")?;
        Ok(tree)
    }

    /// Adds or replaces a file.
    pub fn with(mut self, path: &str, text: &str) -> Self {
        self.files.insert(path.to_owned(), text.to_owned());
        self
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    pub(crate) fn rust_files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .filter(|(path, _)| path.ends_with(".rs"))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The names without ending of the files right in `folder` that end in `.ending`.
    pub(crate) fn stems(&self, folder: &str, ending: &str) -> Vec<&str> {
        self.files
            .keys()
            .filter_map(|path| {
                let name = path.strip_prefix(folder)?.strip_prefix('/')?;
                name.strip_suffix(ending)?.strip_suffix('.')
            })
            .filter(|stem| !stem.contains('/'))
            .collect()
    }

    fn add_folder(&mut self, folder: &Path, prefix: &str) -> Result<(), TreeError> {
        let failed = |source| TreeError { path: folder.to_owned(), source };
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_foreign = prefix.is_empty() && FOREIGN.contains(&name.as_str());
            if name.starts_with('.') || is_foreign {
                continue;
            }
            let path = entry.path();
            if entry.file_type().map_err(failed)?.is_dir() {
                self.add_folder(&path, &format!("{prefix}{name}/"))?;
            } else if ENDINGS.iter().any(|ending| name.ends_with(&format!(".{ending}"))) {
                let text = std::fs::read_to_string(&path)
                    .map_err(|source| TreeError { path: path.clone(), source })?;
                self.files.insert(format!("{prefix}{name}"), text);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stems_are_those_of_the_folder_alone() {
        let tree = Tree::default()
            .with("jobs/a.yaml", "")
            .with("jobs/a.sql", "")
            .with("jobs/deep/b.yaml", "")
            .with("tests/jobs/c.yaml", "");
        assert_eq!(tree.stems("jobs", "yaml"), ["a"]);
    }
}
