//! Random numbers that depend on nothing but the seed and what they are for.
//!
//! Each file, anomaly and row of an anomaly draws from a stream of its own, so that it can be made
//! alone. The streams are rand's small generator, the same on every 64-bit machine; functions that
//! round differently from platform to platform are taken from libm.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// What a stream of random numbers is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Population = 1,
    File = 2,
    Anomalies = 3,
    AnomalyRow = 4,
}

/// The stream of number `index` for `purpose`.
pub(crate) fn stream(seed: u64, purpose: Purpose, index: u64) -> SmallRng {
    let purpose = mix(purpose as u64);
    SmallRng::seed_from_u64(mix(mix(seed ^ purpose).wrapping_add(index)))
}

/// A hash of 64 bits: SplitMix64's finalizer (Steele, Lea and Flood 2014).
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A number from 0 up to, not including, `below`, which must be at least 1, told by `hash`.
pub(crate) fn choose(hash: u64, below: u64) -> u64 {
    ((u128::from(hash) * u128::from(below)) >> 64) as u64
}

/// A value about `median`, log-normal with `sigma`, within about 3.5 sigma.
///
/// The normal deviate is a sum of four uniform ones (Irwin and Hall 1927): quick, and without
/// the rare extremes that would be anomalies without a label.
pub(crate) fn about(rng: &mut SmallRng, median: f64, sigma: f64) -> u64 {
    let bits: u64 = rng.random();
    let sum: u64 = (0..4).map(|part| (bits >> (16 * part)) & 0xffff).sum();
    let deviate = (sum as f64 / 65_536.0 - 2.0) * 1.732_050_8;
    (median * libm::exp(sigma * deviate)) as u64
}

/// Weighted choice in constant time (Walker 1977, as Vose built the table in 1991).
#[derive(Debug)]
pub(crate) struct Alias {
    /// For each slot: its own share of the slot, in 2^-32, and who has the rest.
    slots: Vec<(u32, u32)>,
}

impl Alias {
    /// Choice of an index of `weights`, which must not be empty, all positive.
    pub(crate) fn new(weights: &[f64]) -> Self {
        let total: f64 = weights.iter().sum();
        let count = weights.len() as f64;
        let mut shares: Vec<f64> = weights.iter().map(|w| w / total * count).collect();
        let (mut poor, mut rich): (Vec<usize>, Vec<usize>) =
            (0..weights.len()).partition(|index| shares[*index] < 1.0);
        let mut slots: Vec<(u32, u32)> =
            (0..weights.len() as u32).map(|index| (u32::MAX, index)).collect();
        while let (Some(&giver), Some(taker)) = (rich.last(), poor.pop()) {
            slots[taker] = ((shares[taker] * 4_294_967_296.0) as u32, giver as u32);
            shares[giver] -= 1.0 - shares[taker];
            if shares[giver] < 1.0 {
                rich.pop();
                poor.push(giver);
            }
        }
        Self { slots }
    }

    /// Choice of a rank from 0 up to, not including, `count`, with weight
    /// `1 / (rank + shift)^exponent` (Zipf 1949, shifted as Mandelbrot 1953).
    pub(crate) fn zipf(count: usize, exponent: f64, shift: f64) -> Self {
        let weights: Vec<f64> =
            (0..count.max(1)).map(|rank| zipf_weight(rank, exponent, shift)).collect();
        Self::new(&weights)
    }

    pub(crate) fn sample(&self, rng: &mut SmallRng) -> usize {
        let bits: u64 = rng.random();
        let slot = ((bits >> 32) * self.slots.len() as u64) >> 32;
        let (own_share, other) = self.slots[slot as usize];
        if (bits as u32) < own_share { slot as usize } else { other as usize }
    }
}

pub(crate) fn zipf_weight(rank: usize, exponent: f64, shift: f64) -> f64 {
    libm::pow(rank as f64 + shift, -exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choice_follows_the_weights() {
        let alias = Alias::new(&[1.0, 2.0, 5.0]);
        let mut rng = stream(1, Purpose::File, 0);
        let mut counts = [0u32; 3];
        for _ in 0..80_000 {
            counts[alias.sample(&mut rng)] += 1;
        }
        for (count, expected) in counts.into_iter().zip([10_000, 20_000, 50_000]) {
            assert!(count.abs_diff(expected) < 700, "{counts:?}");
        }
    }

    #[test]
    fn streams_differ_by_seed_purpose_and_index() {
        let first = |seed, purpose, index| stream(seed, purpose, index).random::<u64>();
        let base = first(1, Purpose::File, 0);
        assert_eq!(base, first(1, Purpose::File, 0));
        assert_ne!(base, first(2, Purpose::File, 0));
        assert_ne!(base, first(1, Purpose::Anomalies, 0));
        assert_ne!(base, first(1, Purpose::File, 1));
    }

    #[test]
    fn values_lie_about_the_median() {
        let mut rng = stream(1, Purpose::File, 0);
        let mut values: Vec<u64> = (0..9999).map(|_| about(&mut rng, 1000.0, 1.0)).collect();
        values.sort_unstable();
        assert!(values[4999].abs_diff(1000) < 50);
        assert!(values[0] >= 30 && values[9998] < 33_000);
    }
}
