//! The kinds of telemetry: what a row holds, when all is well and when it is not.
//!
//! A kind is a [`Telemetry`]: it makes rows out of hosts, times and random numbers, and is the
//! only place that knows its columns. A row is a [`Record`]: it names its fields once, in order,
//! and every output format writes what it is told, so that the formats agree.

mod address;
mod auth;
mod dns;
mod flows;
mod names;
mod services;

use rand::rngs::SmallRng;

pub(crate) use address::{dotted, write_address};
pub(crate) use auth::Auth;
pub(crate) use dns::Dns;
pub(crate) use flows::Flows;

use crate::anomaly::Anomaly;
use crate::population::Host;

/// Takes the fields of a row, in the order of its columns; names and texts need no escaping in
/// JSON (printable ASCII without quotes and backslashes).
pub(crate) trait Fields {
    /// A TIMESTAMP, in milliseconds since 1970.
    fn time(&mut self, name: &'static str, ms: i64);
    /// A VARCHAR.
    fn text(&mut self, name: &'static str, value: &str);
    /// A VARCHAR that holds an IPv4 address.
    fn address(&mut self, name: &'static str, value: u32);
    /// An INT.
    fn int(&mut self, name: &'static str, value: i32);
    /// A BIGINT.
    fn bigint(&mut self, name: &'static str, value: i64);
}

/// A row.
pub(crate) trait Record {
    /// Tells `fields` every field, in the order of the columns.
    fn describe(&self, fields: &mut impl Fields);
}

/// A kind of telemetry.
pub(crate) trait Telemetry: Sync {
    /// Its rows, which borrow names from it.
    type Row<'a>: Record
    where
        Self: 'a;

    /// A row as `host` sends it on any day.
    fn normal<'a>(&'a self, host: &'a Host, event_ms: i64, rng: &mut SmallRng) -> Self::Row<'a>;

    /// Row `index` of `anomaly`, sent by `host`.
    fn anomalous<'a>(
        &'a self,
        anomaly: &Anomaly,
        host: &'a Host,
        index: u64,
        event_ms: i64,
        rng: &mut SmallRng,
    ) -> Self::Row<'a>;

    /// What `anomaly` on `host` is, in a sentence, for its label.
    fn sentence(&self, anomaly: &Anomaly, host: &Host) -> String;
}
