//! Who sends the normal rows: hosts, each of one tenant, a few of them far busier than most.

use rand::Rng;
use rand::rngs::SmallRng;

use crate::random::{Alias, Purpose, choose, mix, stream, zipf_weight};
use crate::settings::Settings;

const ZIPF_EXPONENT: f64 = 0.9;
const ACTIVITY_PERIOD_MS: i64 = 60_000;
const SERVER_PERCENT: u64 = 15;

/// A host with an address in its tenant's network.
#[derive(Debug)]
pub(crate) struct Host {
    /// Index of its tenant.
    pub(crate) tenant: u32,
    /// Private address, 10.<tenant + 1>.0.0/17.
    pub(crate) ip: u32,
    /// What the host's habits are told by.
    pub(crate) habit: u64,
    /// Whether it serves others, rather than being somebody's workstation.
    pub(crate) is_server: bool,
}

/// All hosts, busiest first.
#[derive(Debug)]
pub(crate) struct Population {
    pub(crate) hosts: Vec<Host>,
    /// Names by index: `tenant-01`.
    pub(crate) tenants: Vec<String>,
    busyness: Alias,
    weights: Vec<f64>,
    weight_total: f64,
}

impl Population {
    pub(crate) fn new(settings: &Settings) -> Self {
        let count = settings.hosts as usize;
        let mut rng = stream(settings.seed, Purpose::Population, 0);
        // The first hosts give each tenant one; the others prefer the larger tenants.
        let sizes = Alias::zipf(settings.tenants as usize, 0.4, 1.0);
        let mut hosts: Vec<Host> = Vec::with_capacity(count);
        let mut members = vec![0u32; settings.tenants as usize];
        for index in 0..settings.hosts {
            let tenant =
                if index < settings.tenants { index } else { sizes.sample(&mut rng) as u32 };
            let member = &mut members[tenant as usize];
            *member += 1;
            hosts.push(Host::new(tenant, *member, rng.random()));
        }
        // Without the shift, the first host alone would send a tenth of everything.
        let shift = 2.0 + f64::from(settings.hosts) / 50.0;
        let weights: Vec<f64> =
            (0..count).map(|rank| zipf_weight(rank, ZIPF_EXPONENT, shift)).collect();
        Self {
            hosts,
            tenants: (1..=settings.tenants).map(|n| format!("tenant-{n:02}")).collect(),
            busyness: Alias::new(&weights),
            weight_total: weights.iter().sum(),
            weights,
        }
    }

    /// The host of a normal row at `event_ms`: a busy one more often than a quiet one, and each
    /// more often in its active minutes than in its idle ones.
    pub(crate) fn active(&self, event_ms: i64, rng: &mut SmallRng) -> &Host {
        let mut host = &self.hosts[self.busyness.sample(rng)];
        // A bounded number of tries: the last is taken as it is.
        for _ in 0..3 {
            if u64::from(rng.random::<u8>()) < host.activity(event_ms) {
                break;
            }
            host = &self.hosts[self.busyness.sample(rng)];
        }
        host
    }

    /// The share of the normal rows that the host of `rank` sends, 0 to 1.
    pub(crate) fn share(&self, rank: usize) -> f64 {
        self.weights[rank] / self.weight_total
    }

    /// The ranks of a tenant's hosts, busiest first.
    pub(crate) fn ranks_of(&self, tenant: u32) -> Vec<usize> {
        let is_member = |rank: &usize| self.hosts[*rank].tenant == tenant;
        (0..self.hosts.len()).filter(is_member).collect()
    }

    /// The name of a host's tenant.
    pub(crate) fn tenant_of(&self, host: &Host) -> &str {
        &self.tenants[host.tenant as usize]
    }
}

impl Host {
    fn new(tenant: u32, member: u32, habit: u64) -> Self {
        // Steps by a number coprime to 2^15 - 1 scatter the members over 10.t.0.1 to 10.t.127.255.
        let place = 1 + (member * 7919 + tenant * 3571) % 32_767;
        Self {
            tenant,
            ip: (10 << 24) | ((tenant + 1) << 16) | place,
            habit,
            is_server: choose(mix(habit), 100) < SERVER_PERCENT,
        }
    }

    /// How active the host is in the minute of `event_ms`, 80 to 255.
    fn activity(&self, event_ms: i64) -> u64 {
        let minute = event_ms.div_euclid(ACTIVITY_PERIOD_MS) as u64;
        80 + choose(mix(self.habit ^ mix(minute)), 176)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::settings::Kind;

    #[test]
    fn hosts_have_addresses_of_their_own_and_every_tenant_has_hosts() {
        let settings =
            Settings { hosts: 20_000, tenants: 3, ..Settings::new(Kind::Flows, "out", 1) };
        let population = Population::new(&settings);
        let addresses: HashSet<u32> = population.hosts.iter().map(|host| host.ip).collect();
        assert_eq!(addresses.len(), 20_000);
        for tenant in 0..3 {
            assert!(population.ranks_of(tenant).len() > 3000);
        }
        let shares: f64 = (0..20_000).map(|rank| population.share(rank)).sum();
        assert!((shares - 1.0).abs() < 1e-9);
    }
}
