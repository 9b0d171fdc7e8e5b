//! Chooses the anomalies: spread over time and tenants, each on a host of ordinary traffic.

use std::collections::HashSet;

use rand::Rng;
use rand::rngs::SmallRng;

use super::{Anomaly, AnomalyType, Times};
use crate::population::Population;
use crate::random::{Purpose, stream};
use crate::settings::Settings;

const SECOND_US: f64 = 1e6;
const MINUTE_US: f64 = 60e6;
/// All anomalies together take at most one in this many rows.
const SHARE_OF_ROWS: u64 = 5;
/// One in this many anomalies of a type is a subtle one.
const SUBTLE_EVERY: u32 = 3;

/// How long an anomaly lasts, how many rows it has, and how irregular they are.
struct Shape {
    span_us: f64,
    rows: f64,
    jitter: f64,
}

/// The anomalies that `settings` ask for.
///
/// The types take turns, and so do the tenants; the starts are spread over the middle of the
/// duration, so that there is normal traffic before each.
pub(crate) fn plan(settings: &Settings, population: &Population) -> Vec<Anomaly> {
    let types = AnomalyType::of(settings.kind);
    let rows_max = settings.rows / SHARE_OF_ROWS / u64::from(settings.anomalies.max(1));
    let mut used_hosts = HashSet::new();
    (0..settings.anomalies)
        .map(|number| {
            let mut rng = stream(settings.seed, Purpose::Anomalies, u64::from(number));
            let round = number / types.len() as u32;
            let kind = types[number as usize % types.len()];
            // A round more shifts the tenants by one, so that a tenant meets every type.
            let tenant = (number + round) % settings.tenants;
            let host = choose_host(population, tenant, &mut used_hosts, &mut rng);
            let host_rows_per_us =
                population.share(host) * settings.rows as f64 / settings.duration_us() as f64;
            let is_subtle = round % SUBTLE_EVERY == SUBTLE_EVERY - 1;
            let shape = shape(kind, is_subtle, host_rows_per_us, &mut rng);
            place(settings, number, shape, &mut rng).into_anomaly(kind, host, rows_max, &mut rng)
        })
        .collect()
}

/// A host neither among the busiest tenth of its tenant nor among the quieter half, and, as long
/// as there is one, not used before.
fn choose_host(
    population: &Population,
    tenant: u32,
    used_hosts: &mut HashSet<usize>,
    rng: &mut SmallRng,
) -> usize {
    let ranks = population.ranks_of(tenant);
    let from = ranks.len() / 10;
    let to = (ranks.len() / 2).max(from + 1);
    let middle = ranks.get(from..to).unwrap_or(&ranks);
    let offset = rng.random_range(0..middle.len());
    let in_turn = middle[offset..].iter().chain(&middle[..offset]).copied();
    let fresh = in_turn.clone().find(|rank| !used_hosts.contains(rank));
    let host = fresh.unwrap_or(middle[offset]);
    used_hosts.insert(host);
    host
}

fn shape(kind: AnomalyType, is_subtle: bool, host_rows_per_us: f64, rng: &mut SmallRng) -> Shape {
    let mut from = |least: f64, most: f64| rng.random_range(least..most);
    let (span_us, rows, jitter) = match (kind, is_subtle) {
        (AnomalyType::VolumeSurge, false) => {
            let span_us = from(4.0, 10.0) * MINUTE_US;
            (span_us, (host_rows_per_us * span_us * from(3.0, 6.0)).max(80.0), 1.0)
        }
        (AnomalyType::VolumeSurge, true) => {
            let span_us = from(6.0, 12.0) * MINUTE_US;
            (span_us, (host_rows_per_us * span_us * from(1.5, 2.5)).max(60.0), 1.0)
        }
        (AnomalyType::PortScan, false) => (from(1.0, 3.0) * MINUTE_US, from(200.0, 900.0), 1.0),
        (AnomalyType::PortScan, true) => (from(10.0, 20.0) * MINUTE_US, from(80.0, 160.0), 1.0),
        (AnomalyType::Beacon, _) => {
            let span_us = from(30.0, 45.0) * MINUTE_US;
            let period_us = from(20.0, 60.0) * SECOND_US;
            (span_us, span_us / period_us, if is_subtle { 0.4 } else { 0.1 })
        }
        (AnomalyType::Exfiltration, false) => (from(4.0, 10.0) * MINUTE_US, from(12.0, 40.0), 1.0),
        (AnomalyType::Exfiltration, true) => (from(20.0, 35.0) * MINUTE_US, from(20.0, 60.0), 1.0),
        (AnomalyType::PasswordSpraying, false) => {
            (from(2.0, 8.0) * MINUTE_US, from(80.0, 400.0), 1.0)
        }
        (AnomalyType::PasswordSpraying, true) => {
            (from(20.0, 35.0) * MINUTE_US, from(60.0, 120.0), 1.0)
        }
        (AnomalyType::DnsTunnel, false) => (from(4.0, 12.0) * MINUTE_US, from(300.0, 1200.0), 1.0),
        (AnomalyType::DnsTunnel, true) => (from(15.0, 30.0) * MINUTE_US, from(80.0, 200.0), 1.0),
    };
    Shape { span_us, rows, jitter }
}

/// An anomaly whose time is settled.
struct Placed {
    number: u32,
    rows: f64,
    times: Times,
}

/// Puts a shape into the time that there is: cut to seven tenths of the duration where it is
/// longer, then started anywhere in its own part of what is left.
fn place(settings: &Settings, number: u32, shape: Shape, rng: &mut SmallRng) -> Placed {
    let duration_us = settings.duration_us() as f64;
    let span_us = shape.span_us.min(duration_us * 0.7);
    // A beacon keeps its period, a scan its rate: fewer rows in less time.
    let rows = shape.rows * (span_us / shape.span_us);
    let lead_us = duration_us * 0.1;
    let slack_us = duration_us - lead_us - span_us;
    let turn = (f64::from(number) + rng.random::<f64>()) / f64::from(settings.anomalies);
    let times = Times {
        start_us: settings.start_us + (lead_us + slack_us * turn) as i64,
        span_us: (span_us as i64).max(1),
        jitter: shape.jitter,
        end_us: settings.start_us + settings.duration_us(),
    };
    Placed { number, rows, times }
}

impl Placed {
    fn into_anomaly(
        self,
        kind: AnomalyType,
        host: usize,
        rows_max: u64,
        rng: &mut SmallRng,
    ) -> Anomaly {
        Anomaly {
            number: self.number,
            kind,
            host,
            rows: (self.rows as u64).max(10).min(rows_max),
            habit: rng.random(),
            times: self.times,
        }
    }
}
