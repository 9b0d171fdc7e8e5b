//! Network flows: a host's habits, and its surges, scans, beacons and leaks.

use rand::Rng;
use rand::rngs::SmallRng;

use super::address::{dotted, external, internal_server};
use super::services::{SERVICES, Service};
use super::{Fields, Record, Telemetry};
use crate::anomaly::{Anomaly, AnomalyType};
use crate::population::{Host, Population};
use crate::random::{Alias, about, choose, mix};

/// How many addresses there are outside.
const WORLD: u64 = 4096;
/// How many of them, and of the tenant's servers for a service, a host keeps coming back to.
const FAVOURITES: usize = 24;
const INTERNAL_SERVERS: u64 = 6;
const MEGABYTE: f64 = 1e6;

/// Network flows.
pub(crate) struct Flows<'p> {
    population: &'p Population,
    /// By role: workstation, server.
    services: [Alias; 2],
    favourites: Alias,
    world: Alias,
}

/// A flow, seen from the host that opened it.
pub(crate) struct Flow<'a> {
    event_ms: i64,
    tenant: &'a str,
    src_ip: u32,
    dst_ip: u32,
    dst_port: i32,
    proto: &'static str,
    bytes_out: u64,
    bytes_in: u64,
    is_denied: bool,
}

impl Record for Flow<'_> {
    fn describe(&self, fields: &mut impl Fields) {
        let bytes = self.bytes_out + self.bytes_in;
        let packets = 1 + bytes / 1000 + u64::from(self.proto == "tcp") * 5;
        fields.time("ts", self.event_ms);
        fields.text("tenant", self.tenant);
        fields.address("src_ip", self.src_ip);
        fields.address("dst_ip", self.dst_ip);
        fields.int("dst_port", self.dst_port);
        fields.text("proto", self.proto);
        fields.bigint("bytes_out", self.bytes_out as i64);
        fields.bigint("bytes_in", self.bytes_in as i64);
        fields.int("packets", packets as i32);
        fields.text("action", if self.is_denied { "deny" } else { "allow" });
    }
}

impl<'p> Flows<'p> {
    pub(crate) fn new(population: &'p Population) -> Self {
        let by_role = |role: usize| {
            let weights: Vec<f64> = SERVICES.iter().map(|service| service.weights[role]).collect();
            Alias::new(&weights)
        };
        Self {
            population,
            services: [by_role(0), by_role(1)],
            favourites: Alias::zipf(FAVOURITES, 1.0, 1.5),
            world: Alias::zipf(WORLD as usize, 1.0, 5.0),
        }
    }

    fn flow<'a>(&'a self, host: &Host, event_ms: i64, (dst_ip, dst_port): (u32, i32)) -> Flow<'a> {
        Flow {
            event_ms,
            tenant: self.population.tenant_of(host),
            src_ip: host.ip,
            dst_ip,
            dst_port,
            proto: "tcp",
            bytes_out: 0,
            bytes_in: 0,
            is_denied: false,
        }
    }

    /// Where `host` reaches `service`: mostly where it has been before.
    fn destination(&self, host: &Host, service: &Service, rng: &mut SmallRng) -> u32 {
        let favourite = self.favourites.sample(rng) as u64;
        if !service.is_external {
            let first = mix(host.habit ^ service.port as u64) % 2;
            let number = (first + favourite / 8) % INTERNAL_SERVERS;
            // Each service has servers of its own.
            return internal_server(host.tenant, service.port as u64 % 40 * 6 + number);
        }
        let known = choose(mix(host.habit ^ favourite), WORLD);
        let index = if rng.random::<u8>() < 200 { known } else { self.world.sample(rng) as u64 };
        external(index)
    }

    /// What every network has: a few flows to nowhere in particular, half of them denied.
    fn noise<'a>(&'a self, host: &Host, event_ms: i64, rng: &mut SmallRng) -> Flow<'a> {
        let port = rng.random_range(1024..65_536);
        let target = external(self.world.sample(rng) as u64);
        Flow {
            proto: if rng.random() { "tcp" } else { "udp" },
            bytes_out: about(rng, 120.0, 0.5),
            bytes_in: about(rng, 90.0, 0.8),
            is_denied: rng.random(),
            ..self.flow(host, event_ms, (target, port))
        }
    }

    fn surge<'a>(&'a self, host: &'a Host, event_ms: i64, rng: &mut SmallRng) -> Flow<'a> {
        let flow = self.normal(host, event_ms, rng);
        Flow { bytes_out: flow.bytes_out * 2, bytes_in: flow.bytes_in * 2, ..flow }
    }

    fn scan<'a>(
        &'a self,
        anomaly: &Anomaly,
        host: &Host,
        (index, event_ms): (u64, i64),
        rng: &mut SmallRng,
    ) -> Flow<'a> {
        // A step coprime to the number of ports visits each before any comes again.
        let port = 1 + (anomaly.habit + index * 10_007) % 65_535;
        let target = scan_target(anomaly, host);
        let is_denied = rng.random::<u8>() < 225;
        Flow {
            bytes_out: 44 + 20 * rng.random_range(0..3),
            bytes_in: if is_denied { 0 } else { 40 },
            is_denied,
            ..self.flow(host, event_ms, (target, port as i32))
        }
    }

    fn beacon<'a>(
        &'a self,
        anomaly: &Anomaly,
        host: &Host,
        event_ms: i64,
        rng: &mut SmallRng,
    ) -> Flow<'a> {
        let size = 280 + choose(mix(anomaly.habit), 400);
        Flow {
            bytes_out: size + rng.random_range(0..9),
            bytes_in: size / 2 + rng.random_range(0..5),
            ..self.flow(host, event_ms, outside_target(anomaly))
        }
    }

    fn leak<'a>(
        &'a self,
        anomaly: &Anomaly,
        host: &Host,
        event_ms: i64,
        rng: &mut SmallRng,
    ) -> Flow<'a> {
        let bytes_out = about(rng, leak_bytes(anomaly) / anomaly.rows as f64, 0.3);
        Flow {
            bytes_out,
            bytes_in: bytes_out / 180 + 600,
            ..self.flow(host, event_ms, outside_target(anomaly))
        }
    }
}

impl Telemetry for Flows<'_> {
    type Row<'a>
        = Flow<'a>
    where
        Self: 'a;

    fn normal<'a>(&'a self, host: &'a Host, event_ms: i64, rng: &mut SmallRng) -> Flow<'a> {
        let luck: u8 = rng.random();
        if luck == 0 {
            return self.noise(host, event_ms, rng);
        }
        let role = usize::from(host.is_server);
        let service = &SERVICES[self.services[role].sample(rng)];
        let target = (self.destination(host, service, rng), service.port);
        let is_denied = luck < 3;
        Flow {
            proto: service.proto,
            bytes_out: about(rng, service.bytes_out, service.sigma),
            bytes_in: if is_denied { 0 } else { about(rng, service.bytes_in, service.sigma) },
            is_denied,
            ..self.flow(host, event_ms, target)
        }
    }

    fn anomalous<'a>(
        &'a self,
        anomaly: &Anomaly,
        host: &'a Host,
        index: u64,
        event_ms: i64,
        rng: &mut SmallRng,
    ) -> Flow<'a> {
        match anomaly.kind {
            AnomalyType::PortScan => self.scan(anomaly, host, (index, event_ms), rng),
            AnomalyType::Beacon => self.beacon(anomaly, host, event_ms, rng),
            AnomalyType::Exfiltration => self.leak(anomaly, host, event_ms, rng),
            _ => self.surge(host, event_ms, rng),
        }
    }

    fn sentence(&self, anomaly: &Anomaly, host: &Host) -> String {
        let (rows, outside) = (anomaly.rows, outside_target(anomaly));
        let (source, target) = (dotted(host.ip), dotted(outside.0));
        match anomaly.kind {
            AnomalyType::PortScan => {
                let target = dotted(scan_target(anomaly, host));
                format!("{source} tries {rows} ports of {target}")
            }
            AnomalyType::Beacon => {
                format!("{source} calls {target} {rows} times at even intervals")
            }
            AnomalyType::Exfiltration => {
                let megabytes = (leak_bytes(anomaly) / MEGABYTE).round();
                format!("{source} sends about {megabytes} MB to {target} in {rows} flows")
            }
            _ => format!("{source} opens {rows} flows more than usual, each twice the size"),
        }
    }
}

fn scan_target(anomaly: &Anomaly, host: &Host) -> u32 {
    internal_server(host.tenant, choose(mix(anomaly.habit), 240))
}

/// An address outside that hosts seldom call, and its port.
fn outside_target(anomaly: &Anomaly) -> (u32, i32) {
    let port = if anomaly.habit.is_multiple_of(4) { 8443 } else { 443 };
    (external(WORLD + choose(anomaly.habit, WORLD)), port)
}

/// What leaves in all: 20 to 200 MB.
fn leak_bytes(anomaly: &Anomaly) -> f64 {
    (20 + choose(mix(anomaly.habit), 180)) as f64 * MEGABYTE
}
