//! Shannon entropy of counted values.
//!
//! Knows only how often each value was seen, not what the values are.

/// Entropy in bits, `-sum(p * log2(p))` with `p = count / total` (Shannon 1948).
///
/// `counts` holds how often each distinct value was seen; zeros are ignored. The result is 0 for
/// one distinct value and `log2(n)` for n equally frequent ones; `None` when nothing was seen.
///
/// Sorts `counts`, so that the sum, and with it the last bit of the result, does not depend on
/// the order in which the values were met. Equal counts are added as one product.
pub fn entropy_bits(counts: &mut [u64]) -> Option<f64> {
    counts.sort_unstable();
    let total: u128 = counts.iter().map(|count| u128::from(*count)).sum();
    if total == 0 {
        return None;
    }
    let total = total as f64;
    let bits: f64 = counts
        .chunk_by(|a, b| a == b)
        .filter(|equal| equal.first() != Some(&0))
        .map(|equal| {
            let share = equal[0] as f64 / total;
            equal.len() as f64 * share * -share.log2()
        })
        .sum();
    Some(bits.max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(entropy_bits(&mut [1, 1]), Some(1.0));
        assert_eq!(entropy_bits(&mut [7; 8]), Some(3.0));
        assert_eq!(entropy_bits(&mut [42]), Some(0.0));
        // Cover and Thomas, Elements of Information Theory, example 2.1.1's distribution:
        // 1/2, 1/4, 1/8, 1/8 has 7/4 bits.
        assert_eq!(entropy_bits(&mut [4, 2, 1, 1]), Some(1.75));
        let fair_to_biased = entropy_bits(&mut [9, 1]).unwrap();
        assert!((fair_to_biased - 0.468_995_593_589_281_2).abs() < 1e-15);
    }

    #[test]
    fn nothing_seen_has_no_entropy() {
        assert_eq!(entropy_bits(&mut []), None);
        assert_eq!(entropy_bits(&mut [0, 0]), None);
        assert_eq!(entropy_bits(&mut [0, 5]), Some(0.0));
    }

    #[test]
    fn order_does_not_matter_to_the_last_bit() {
        let counts: Vec<u64> = (1..500).map(|i| i * i % 97 + 1).collect();
        let mut forwards = counts.clone();
        let mut backwards: Vec<u64> = counts.into_iter().rev().collect();
        assert_eq!(
            entropy_bits(&mut forwards).unwrap().to_bits(),
            entropy_bits(&mut backwards).unwrap().to_bits()
        );
    }

    #[test]
    fn counts_beyond_64_bits_together_do_not_overflow() {
        assert_eq!(entropy_bits(&mut [u64::MAX, u64::MAX]), Some(1.0));
    }
}
