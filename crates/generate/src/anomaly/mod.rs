//! The anomalies among the rows: who, what, when, and the labels that say so.
//!
//! ```text
//! plan      settings, population --> anomalies, spread over time and tenants
//! Anomaly   one of them: its rows' times, each row reproducible by its number alone
//! Label     what is told to whoever scores a detection
//! ```
//!
//! What an anomaly's rows hold is decided where the rows are made, in `telemetry`.

mod label;
mod plan;

use std::ops::Range;

use rand::Rng;
use rand::rngs::SmallRng;

pub use label::Label;
pub(crate) use plan::plan;

use crate::random::{Purpose, stream};
use crate::schedule::delay_us;
use crate::settings::Kind;

const DELAY_US_BOUND: i64 = 10_000_000;

/// What goes on; the names in labels are [`AnomalyType::name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnomalyType {
    VolumeSurge,
    PortScan,
    Beacon,
    Exfiltration,
    PasswordSpraying,
    DnsTunnel,
}

impl AnomalyType {
    /// The types that a kind of telemetry can show.
    pub(crate) fn of(kind: Kind) -> &'static [Self] {
        match kind {
            Kind::Flows => &[Self::VolumeSurge, Self::PortScan, Self::Beacon, Self::Exfiltration],
            Kind::Dns => &[Self::DnsTunnel],
            Kind::Auth => &[Self::PasswordSpraying],
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::VolumeSurge => "volume_surge",
            Self::PortScan => "port_scan",
            Self::Beacon => "beacon",
            Self::Exfiltration => "exfiltration",
            Self::PasswordSpraying => "password_spraying",
            Self::DnsTunnel => "dns_tunnel",
        }
    }
}

/// One anomaly. Its rows are numbered from 0 in order of event time.
#[derive(Debug, Clone)]
pub(crate) struct Anomaly {
    pub(crate) number: u32,
    pub(crate) kind: AnomalyType,
    /// Rank of the host that misbehaves, an index of the population's hosts.
    pub(crate) host: usize,
    pub(crate) rows: u64,
    /// What its choices (target, domain, sizes) are told by.
    pub(crate) habit: u64,
    times: Times,
}

/// When the rows of an anomaly happen: evenly from `start_us` over `span_us`, each moved within
/// its share of the span by up to `jitter` of it (0 to 1).
#[derive(Debug, Clone)]
struct Times {
    start_us: i64,
    span_us: i64,
    jitter: f64,
    /// No row arrives at or after this.
    end_us: i64,
}

/// When one row of an anomaly happens and arrives, and the rest of its random numbers.
pub(crate) struct Occurrence {
    pub(crate) event_ms: i64,
    pub(crate) arrival_us: i64,
    pub(crate) rng: SmallRng,
}

impl Anomaly {
    /// When row `index` happens and arrives.
    pub(crate) fn occurrence(&self, index: u64) -> Occurrence {
        let mut rng = stream(self.habit, Purpose::AnomalyRow, index);
        let times = &self.times;
        let within = 0.5 + (rng.random::<f64>() - 0.5) * times.jitter;
        let place = (index as f64 + within) / self.rows as f64;
        let event_us = times.start_us + (times.span_us as f64 * place) as i64;
        let arrival_us = event_us + delay_us(&mut rng) as i64;
        Occurrence {
            event_ms: event_us.div_euclid(1000),
            arrival_us: arrival_us.min(times.end_us - 1),
            rng,
        }
    }

    /// The rows that may arrive within `arrivals_us`: all that do, and some that do not.
    pub(crate) fn candidates(&self, arrivals_us: &Range<i64>) -> Range<u64> {
        let row_at = |us: i64| {
            let place = (us - self.times.start_us) as f64 / self.times.span_us as f64;
            place * self.rows as f64
        };
        // A float that is negative or too large is brought to the nearest integer.
        let first = (row_at(arrivals_us.start - DELAY_US_BOUND) - 1.0) as u64;
        let end = (row_at(arrivals_us.end) + 2.0) as u64;
        first.min(self.rows)..end.min(self.rows)
    }
}
