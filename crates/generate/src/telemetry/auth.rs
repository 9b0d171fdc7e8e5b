//! Logins, and one password tried on many users.

use rand::Rng;
use rand::rngs::SmallRng;

use super::address::dotted;
use super::{Fields, Record, Telemetry, names};
use crate::anomaly::Anomaly;
use crate::population::{Host, Population};
use crate::random::{Alias, choose, mix};

/// Users are of no tenant in particular: two tenants may both have a `lena.park`.
const USERS: u64 = 4000;
const USERS_OF_TENANT: u64 = 600;
const SERVERS_OF_TENANT: u64 = 12;
/// Out of 256 logins, how many are of a guest of the host, and how many fail.
const GUEST_LUCK: u8 = 10;
const FAILURE_LUCK: u8 = 10;

/// Logins.
pub(crate) struct Auth<'p> {
    population: &'p Population,
    users: Vec<String>,
    /// By tenant, then by number.
    servers: Vec<Vec<String>>,
    favourites: Alias,
}

/// An attempt to log in.
pub(crate) struct Login<'a> {
    event_ms: i64,
    tenant: &'a str,
    user: &'a str,
    src_ip: u32,
    host: &'a str,
    method: &'static str,
    is_success: bool,
}

impl Record for Login<'_> {
    fn describe(&self, fields: &mut impl Fields) {
        fields.time("ts", self.event_ms);
        fields.text("tenant", self.tenant);
        fields.text("user", self.user);
        fields.address("src_ip", self.src_ip);
        fields.text("host", self.host);
        fields.text("method", self.method);
        fields.text("outcome", if self.is_success { "success" } else { "failure" });
    }
}

impl<'p> Auth<'p> {
    pub(crate) fn new(population: &'p Population) -> Self {
        let servers_of = |tenant: &String| {
            let name = |number| match number {
                0 => format!("vpn.{tenant}.example"),
                1 => format!("mail.{tenant}.example"),
                _ => format!("srv-{number:02}.{tenant}.example"),
            };
            (0..SERVERS_OF_TENANT).map(name).collect()
        };
        Self {
            population,
            users: (0..USERS).map(names::user).collect(),
            servers: population.tenants.iter().map(servers_of).collect(),
            favourites: Alias::zipf(SERVERS_OF_TENANT as usize, 1.0, 1.0),
        }
    }

    /// User `number` of a tenant: each tenant has a stretch of the users.
    fn user(&self, tenant: u32, number: u64) -> &str {
        let first = u64::from(tenant) * 611;
        let within = number % USERS_OF_TENANT;
        &self.users[((first + within) % USERS) as usize]
    }

    fn server(&self, tenant: u32, number: u64) -> &str {
        &self.servers[tenant as usize][(number % SERVERS_OF_TENANT) as usize]
    }
}

impl Telemetry for Auth<'_> {
    type Row<'a>
        = Login<'a>
    where
        Self: 'a;

    fn normal<'a>(&'a self, host: &'a Host, event_ms: i64, rng: &mut SmallRng) -> Login<'a> {
        // A workstation has one owner, a server three accounts; both see a guest now and then.
        let owner = choose(mix(host.habit), USERS_OF_TENANT);
        let number = match (rng.random::<u8>(), host.is_server) {
            (0..GUEST_LUCK, _) => rng.random_range(0..USERS_OF_TENANT),
            (luck, true) => owner + u64::from(luck % 3),
            (_, false) => owner,
        };
        let favourite = self.favourites.sample(rng) as u64;
        let method = match rng.random::<u8>() {
            0..=140 => "kerberos",
            141..=190 => "password",
            191..=225 => "ssh_key",
            226..=245 => "mfa",
            _ => "ntlm",
        };
        let failure_luck = FAILURE_LUCK * if method == "password" { 2 } else { 1 };
        Login {
            event_ms,
            tenant: self.population.tenant_of(host),
            user: self.user(host.tenant, number),
            src_ip: host.ip,
            host: self.server(host.tenant, favourite + host.habit % 3),
            method,
            is_success: rng.random::<u8>() >= failure_luck,
        }
    }

    fn anomalous<'a>(
        &'a self,
        anomaly: &Anomaly,
        host: &'a Host,
        index: u64,
        event_ms: i64,
        rng: &mut SmallRng,
    ) -> Login<'a> {
        Login {
            event_ms,
            tenant: self.population.tenant_of(host),
            // User after user, each once, from somewhere in the tenant's list on.
            user: self.user(host.tenant, anomaly.habit % USERS_OF_TENANT + index),
            src_ip: host.ip,
            host: self.server(host.tenant, anomaly.habit % 2),
            method: "password",
            is_success: rng.random::<u8>() < 3,
        }
    }

    fn sentence(&self, anomaly: &Anomaly, host: &Host) -> String {
        let (rows, source) = (anomaly.rows, dotted(host.ip));
        let server = self.server(host.tenant, anomaly.habit % 2);
        format!("{source} tries {rows} logins at {server}, each as another user")
    }
}
