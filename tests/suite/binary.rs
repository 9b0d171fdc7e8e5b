//! What tests share that run the real binary, or Python beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// What a finished process has said.
#[derive(Debug)]
pub struct Finished {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Finished {
    /// Its stdout, where it did what it was asked.
    pub fn done(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }

    /// Its stderr, where it ended with `code` and printed nothing that a pipe would take for a
    /// result.
    pub fn failed(self, code: i32) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{self:?}");
        self.stderr
    }

    /// Its stderr, where a run processed what it could, and says so, but for files that it left out.
    pub fn left_out(self) -> String {
        let summary: serde_json::Value = serde_json::from_str(&self.stdout).unwrap_or_default();
        assert!(self.code == 1 && summary["files_parked"].is_u64(), "{self:?}");
        self.stderr
    }
}

/// Runs the binary in `folder`, with no variables of a job's but `env`.
pub fn tidegauge(folder: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegauge"));
    command.current_dir(folder).args(arguments);
    for name in ["RUST_LOG", "RUST_BACKTRACE", "OUT", "STATE", "CONN", "DNS", "FLOWS"] {
        command.env_remove(name);
    }
    command.envs(env.iter().copied()).output().unwrap().into()
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` with its bytes, by its path from there.
pub fn files_below(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let bytes = std::fs::read(&path).unwrap();
                    files.insert(path.strip_prefix(folder).unwrap().to_owned(), bytes);
                }
            }
        }
    }
    files
}

/// Runs a script of tests/python. `None`, and the reason printed, where no Python has what it
/// needs; a Python that TIDEGAUGE_PYTHON names must have it.
pub fn python(script: &str, arguments: &[&str]) -> Option<Finished> {
    let script = repository().join("tests/python").join(script);
    let output = Command::new(interpreter()?).arg(script).args(arguments).output();
    Some(output.unwrap().into())
}

/// A Python that has what tests need; none, and the reason printed, where there is none.
pub fn interpreter() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND.get_or_init(find_interpreter).as_deref()
}

fn find_interpreter() -> Option<PathBuf> {
    let named = std::env::var_os("TIDEGAUGE_PYTHON").map(PathBuf::from);
    let path = named.clone().unwrap_or_else(|| repository().join(".venv/bin/python"));
    let probe =
        Command::new(&path).args(["-c", "import adbc_driver_flightsql, duckdb, pyarrow"]).output();
    let problem = match probe {
        Ok(output) if output.status.success() => return Some(path),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    assert!(named.is_none(), "TIDEGAUGE_PYTHON={}: {problem}", path.display());
    println!("skipped: {} lacks tests/python/requirements.txt; run make test", path.display());
    None
}
