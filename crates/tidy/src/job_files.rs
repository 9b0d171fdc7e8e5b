//! A job has its SQL and its cases under the same name, and none of the three stands alone:
//! `jobs/x.yaml`, `sql/x.sql`, `tests/jobs/x.yaml`.

use std::collections::BTreeSet;

use crate::{Tree, Violation};

const PLACES: [(&str, &str); 3] = [("jobs", "yaml"), ("sql", "sql"), ("tests/jobs", "yaml")];

pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let names: BTreeSet<&str> =
        PLACES.iter().flat_map(|(folder, ending)| tree.stems(folder, ending)).collect();
    let mut violations: Vec<Violation> = names
        .iter()
        .flat_map(|name| PLACES.map(|(folder, ending)| format!("{folder}/{name}.{ending}")))
        .filter(|path| tree.text(path).is_none())
        .map(|path| Violation::new(&path, "is missing: a job has its SQL and its cases"))
        .collect();
    for name in tree.stems("jobs", "yaml") {
        let path = format!("jobs/{name}.yaml");
        let line = format!("sql: ../sql/{name}.sql");
        let text = tree.text(&path).unwrap_or_default();
        if !text.lines().any(|known| known.trim_end() == line) {
            violations.push(Violation::new(&path, format!("a job names its SQL: {line}")));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Tree {
        Tree::default()
            .with("jobs/a.yaml", "name: a\nsql: ../sql/a.sql\n")
            .with("sql/a.sql", "")
            .with("tests/jobs/a.yaml", "")
    }

    fn paths(tree: &Tree) -> Vec<String> {
        check(tree).into_iter().map(|found| found.path).collect()
    }

    #[test]
    fn a_whole_job_breaks_nothing() {
        assert_eq!(paths(&whole()), [""; 0]);
    }

    #[test]
    fn a_job_without_sql_and_cases_is_found() {
        let tree = whole().with("jobs/b.yaml", "sql: ../sql/b.sql");
        assert_eq!(paths(&tree), ["sql/b.sql", "tests/jobs/b.yaml"]);
    }

    #[test]
    fn sql_and_cases_without_a_job_are_found() {
        let tree = whole().with("sql/b.sql", "").with("tests/jobs/c.yaml", "");
        let expected =
            ["jobs/b.yaml", "tests/jobs/b.yaml", "jobs/c.yaml", "sql/c.sql"].map(str::to_owned);
        assert_eq!(paths(&tree), expected);
    }

    #[test]
    fn a_job_that_runs_other_sql_is_found() {
        assert_eq!(paths(&whole().with("jobs/a.yaml", "sql: SELECT 1")), ["jobs/a.yaml"]);
        assert_eq!(paths(&whole().with("jobs/a.yaml", "sql: ../sql/b.sql")), ["jobs/a.yaml"]);
    }
}
