//! Labels: the truth that a detection is scored against.

use serde::{Deserialize, Serialize};

use super::Anomaly;
use crate::time::rfc3339;

/// One anomaly as it stands in the labels file, which is a JSON array of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// `<kind>-<number>`, unique in the file.
    pub id: String,
    /// `volume_surge`, `port_scan`, `beacon`, `exfiltration`, `password_spraying` or
    /// `dns_tunnel`.
    #[serde(rename = "type")]
    pub anomaly_type: String,
    /// The tenant of the host.
    pub tenant: String,
    /// Address of the host that misbehaves: `src_ip` of flows and logins, `client_ip` of queries.
    pub host: String,
    /// Event time of its first row, RFC 3339 with milliseconds, UTC.
    pub start: String,
    /// Event time of its last row; the row is included.
    pub end: String,
    /// How many rows belong to it.
    pub rows: u64,
    /// What happens, in a sentence.
    pub description: String,
}

impl Label {
    /// The label of `anomaly`, whose host has address `host` and belongs to `tenant`.
    pub(crate) fn new(
        kind: &str,
        anomaly: &Anomaly,
        tenant: &str,
        host: String,
        description: String,
    ) -> Self {
        // Rows are numbered in order of event time.
        let first_ms = anomaly.occurrence(0).event_ms;
        let last_ms = anomaly.occurrence(anomaly.rows.saturating_sub(1)).event_ms;
        Self {
            id: format!("{kind}-{:04}", anomaly.number + 1),
            anomaly_type: anomaly.kind.name().to_owned(),
            tenant: tenant.to_owned(),
            host,
            start: rfc3339(first_ms),
            end: rfc3339(last_ms),
            rows: anomaly.rows,
            description,
        }
    }
}
