//! The bounds of a query, and who may ask.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tonic::transport::ServerTlsConfig;

use super::apart::QueryProcesses;
use crate::access::TokenCheck;

/// How the door is kept.
#[derive(Clone, Default)]
pub struct FlightSettings {
    /// The bounds of each query, and of their number.
    pub limits: QueryLimits,
    /// Certificate and key; plain text where there is none.
    pub tls: Option<ServerTlsConfig>,
    /// Who may ask.
    pub tokens: TokenCheck,
    /// What runs queries in processes of their own; in threads of this process where there is
    /// none, which can be neither ended nor held to their memory in all cases.
    pub process: Option<QueryProgram>,
}

/// The command of a process that answers queries, see [`super::answer_queries`].
#[derive(Debug, Clone)]
pub struct QueryProgram {
    /// The program, as a path.
    pub program: PathBuf,
    /// What makes it answer queries.
    pub arguments: Vec<OsString>,
    /// The processes that run it.
    pub processes: QueryProcesses,
}

impl fmt::Debug for FlightSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlightSettings")
            .field("limits", &self.limits)
            .field("tls", &self.tls.is_some())
            .field("tokens", &self.tokens.is_needed())
            .field("process", &self.process)
            .finish()
    }
}

/// The bounds of queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryLimits {
    /// What the operators of one query may hold; nothing is spilled to disk.
    pub memory_bytes_max: usize,
    /// From the call to the last row, waiting for a slow client included.
    pub time_max: Duration,
    /// Queries at once; one more is refused.
    pub running_max: usize,
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self {
            memory_bytes_max: 256 * 1024 * 1024,
            time_max: Duration::from_secs(60),
            running_max: 16,
        }
    }
}
