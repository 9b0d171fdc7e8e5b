//! DNS queries, and a tunnel through them.

use std::borrow::Cow;

use rand::Rng;
use rand::rngs::SmallRng;

use super::address::dotted;
use super::{Fields, Record, Telemetry, names};
use crate::anomaly::Anomaly;
use crate::population::{Host, Population};
use crate::random::{Alias, choose, mix};

const DOMAINS: u64 = 3000;
const FAVOURITES: usize = 40;
const QUERY_TYPES: [(&str, f64); 8] = [
    ("A", 62.0),
    ("AAAA", 24.0),
    ("HTTPS", 8.0),
    ("TXT", 2.0),
    ("SRV", 1.5),
    ("CNAME", 1.0),
    ("MX", 1.0),
    ("NS", 0.5),
];
const TUNNEL_TYPES: [&str; 3] = ["TXT", "CNAME", "NULL"];

/// DNS queries with their answers.
pub(crate) struct Dns<'p> {
    population: &'p Population,
    domains: Vec<String>,
    popularity: Alias,
    favourites: Alias,
    query_types: Alias,
}

/// A query and what was answered.
pub(crate) struct Query<'a> {
    event_ms: i64,
    tenant: &'a str,
    client_ip: u32,
    query: Cow<'a, str>,
    qtype: &'static str,
    rcode: &'static str,
    answers: u64,
    bytes: u64,
}

impl Record for Query<'_> {
    fn describe(&self, fields: &mut impl Fields) {
        fields.time("ts", self.event_ms);
        fields.text("tenant", self.tenant);
        fields.address("client_ip", self.client_ip);
        fields.text("query", &self.query);
        fields.text("qtype", self.qtype);
        fields.text("rcode", self.rcode);
        fields.int("answers", self.answers as i32);
        fields.bigint("bytes", self.bytes as i64);
    }
}

impl<'p> Dns<'p> {
    pub(crate) fn new(population: &'p Population) -> Self {
        let weights = QUERY_TYPES.map(|(_, weight)| weight);
        Self {
            population,
            domains: (0..DOMAINS).map(names::domain).collect(),
            popularity: Alias::zipf(DOMAINS as usize, 1.0, 3.0),
            favourites: Alias::zipf(FAVOURITES, 0.9, 1.5),
            query_types: Alias::new(&weights),
        }
    }

    /// A name that `host` asks for: half of the time one of its own favourites.
    fn known_domain(&self, host: &Host, rng: &mut SmallRng) -> &str {
        let index = if rng.random() {
            let favourite = self.favourites.sample(rng) as u64;
            choose(mix(host.habit ^ favourite), DOMAINS) as usize
        } else {
            self.popularity.sample(rng)
        };
        &self.domains[index]
    }
}

impl Telemetry for Dns<'_> {
    type Row<'a>
        = Query<'a>
    where
        Self: 'a;

    fn normal<'a>(&'a self, host: &'a Host, event_ms: i64, rng: &mut SmallRng) -> Query<'a> {
        let rcode = match rng.random::<u8>() {
            0..=11 => "NXDOMAIN",
            12..=14 => "SERVFAIL",
            15 => "REFUSED",
            _ => "NOERROR",
        };
        let query = if rcode == "NXDOMAIN" {
            Cow::Owned(names::missing_domain(rng.random()))
        } else {
            Cow::Borrowed(self.known_domain(host, rng))
        };
        let (qtype, _) = QUERY_TYPES[self.query_types.sample(rng)];
        let answers = if rcode == "NOERROR" { rng.random_range(0..5) } else { 0 };
        let answer_bytes = if qtype == "TXT" { 90 } else { 20 };
        Query {
            event_ms,
            tenant: self.population.tenant_of(host),
            client_ip: host.ip,
            bytes: 34 + 2 * query.len() as u64 + answers * answer_bytes,
            query,
            qtype,
            rcode,
            answers,
        }
    }

    fn anomalous<'a>(
        &'a self,
        anomaly: &Anomaly,
        host: &'a Host,
        index: u64,
        event_ms: i64,
        rng: &mut SmallRng,
    ) -> Query<'a> {
        let length = rng.random_range(28..52);
        let payload = names::base32(rng.random(), length);
        let query = format!("{payload}.{}.{}", index % 256, tunnel_domain(anomaly));
        let own_type = choose(mix(anomaly.habit), TUNNEL_TYPES.len() as u64);
        Query {
            event_ms,
            tenant: self.population.tenant_of(host),
            client_ip: host.ip,
            bytes: 34 + 2 * query.len() as u64 + rng.random_range(60..180),
            query: Cow::Owned(query),
            qtype: TUNNEL_TYPES[own_type as usize],
            rcode: "NOERROR",
            answers: 1,
        }
    }

    fn sentence(&self, anomaly: &Anomaly, host: &Host) -> String {
        let (rows, client) = (anomaly.rows, dotted(host.ip));
        let domain = tunnel_domain(anomaly);
        format!("{client} hides data in {rows} queries for names under {domain}")
    }
}

fn tunnel_domain(anomaly: &Anomaly) -> String {
    format!("{}.example", names::base32(anomaly.habit, 7))
}
