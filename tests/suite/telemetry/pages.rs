//! What is written about metrics, held against those that exist: the documentation's table and
//! Grafana's dashboard.

use std::collections::BTreeSet;

use serde_json::Value;
use tidegauge::observe::names;

use super::super::binary::repository;
use super::super::prometheus_text::{Family, parse};
use super::job;
use super::scrape::{prometheus_name, scraped};

/// The rows of the table of metrics in docs/observing.md.
fn documented() -> Vec<[String; 5]> {
    let page = std::fs::read_to_string(repository().join("docs/observing.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `tidegauge."));
    rows.map(|row| {
        let cells = row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', ""));
        let cells: Vec<String> = cells.collect();
        <[String; 5]>::try_from(cells).unwrap_or_else(|cells| panic!("{cells:?}"))
    })
    .collect()
}

#[tokio::test]
async fn the_documented_metrics_are_those_that_exist() {
    let (_folder, job) = job();
    let (_, _, after) = scraped(&job).await;
    let families = parse(&after);
    let mut listed = BTreeSet::new();
    for [name, shown, kind, unit, labels] in documented() {
        assert!(names::ALL.iter().any(|metric| metric.name == name), "{name} does not exist");
        assert_eq!((shown.as_str(), kind.as_str()), {
            let (shown, kind) = prometheus_name(&name);
            (&*shown.leak(), kind)
        });
        let metric = names::ALL.iter().find(|metric| metric.name == name).unwrap();
        let known = match metric.unit {
            "s" => "seconds".to_owned(),
            "By" => "bytes".to_owned(),
            counted => format!("{}s", counted.trim_matches(['{', '}'])),
        };
        assert_eq!(unit, known.replace("retrys", "retries"), "{name}");
        let family: &Family = families.get(&shown).unwrap_or_else(|| panic!("no {shown}"));
        assert_eq!(family.help, metric.description);
        let labels: BTreeSet<&str> = labels.split(", ").collect();
        for (_, found) in family.samples.keys() {
            let found: BTreeSet<&str> =
                found.keys().map(String::as_str).filter(|label| *label != "le").collect();
            assert_eq!(found, labels, "{name}");
        }
        listed.insert(shown);
    }
    let shown = families.keys().filter(|name| *name != "target_info").cloned();
    assert_eq!(listed, shown.collect::<BTreeSet<String>>());
    assert_eq!(listed.len(), names::ALL.len());
}

#[test]
fn every_query_of_the_dashboard_is_of_metrics_that_exist() {
    let path = repository().join("deploy/grafana/dashboard.json");
    let dashboard: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let variables: Vec<&str> = dashboard["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| variable["name"].as_str().unwrap())
        .collect();
    assert_eq!(variables, ["datasource", "job"]);
    let known: BTreeSet<String> = names::ALL
        .iter()
        .flat_map(|metric| match prometheus_name(metric.name) {
            (name, "histogram") => vec![format!("{name}_bucket"), format!("{name}_count")],
            (name, _) => vec![name],
        })
        .collect();
    let mut asked = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{}", panel["title"]);
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "{}", panel["title"]);
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            assert!(query.contains("job_name=~\"$job\""), "{query}");
            let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            for word in words.filter(|word| word.starts_with("tidegauge_")) {
                assert!(known.contains(word), "{word} in {query}");
                asked.insert(word.to_owned());
            }
        }
    }
    assert!(asked.len() > 12, "{asked:?}");
}

#[test]
fn grafana_is_provisioned_with_the_dashboard() {
    let read = |path: &str| -> Value {
        let path = repository().join("deploy/compose").join(path);
        serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    let sources = read("grafana-datasource.yml");
    assert_eq!(sources["datasources"][0]["type"], "prometheus");
    let boards = read("grafana-dashboards.yml");
    assert_eq!(boards["providers"][0]["type"], "file");
    assert!(boards["providers"][0]["options"]["path"].is_string());
    assert_eq!((&sources["apiVersion"], &boards["apiVersion"]), (&1.into(), &1.into()));
}
