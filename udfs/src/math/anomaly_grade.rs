//! A z-score as a grade of 0 to 100 that people can rank and threshold.

/// How many powers of ten of rarity bring the grade nine tenths of the way to 100.
const RARITY_DECADES: f64 = 10.0;

/// Grade of a z-score: `100 * (1 - p^(1/10))`, where `p = erfc(|z| / sqrt(2))` is the share of a
/// normal population that lies at least as far out on either side (Abramowitz and Stegun 1964,
/// 26.2.29 with 7.1.2).
///
/// ```text
/// |z|     0    1     2     3     3.3   3.5   4     5     6     8     10
/// grade   0   10.8  26.6  44.6  50.0  53.6  62.0  76.2  86.5  96.8  99.5
/// ```
///
/// It is smooth, grows with |z| without a step, and 50 is one in 1,024: the usual threshold
/// for an outlier (3.5) is 53.6. Each further power of ten in rarity takes a fifth off what is
/// left to 100. Infinity is 100; NaN is `None`. The sign of `z` does not matter.
pub fn anomaly_grade(z: f64) -> Option<f64> {
    if z.is_nan() {
        return None;
    }
    let rarity = libm::erfc(z.abs() / std::f64::consts::SQRT_2);
    Some(100.0 * (1.0 - rarity.powf(1.0 / RARITY_DECADES)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_values() {
        // Two-sided normal tails: 1.959964 is 0.05, 3.290527 is 0.001.
        let expected = [
            (0.0, 0.0),
            (1.959_963_984_540_054, 100.0 * (1.0 - 0.05f64.powf(0.1))),
            (3.290_526_731_491_926, 100.0 * (1.0 - 0.001f64.powf(0.1))),
            (f64::INFINITY, 100.0),
            (1e300, 100.0),
        ];
        for (z, grade) in expected {
            assert!((anomaly_grade(z).unwrap() - grade).abs() < 1e-9, "{z}");
            assert_eq!(anomaly_grade(z), anomaly_grade(-z));
        }
        assert_eq!(anomaly_grade(f64::NAN), None);
    }

    #[test]
    fn documented_table_is_true() {
        let table = [
            (1.0, 10.8),
            (2.0, 26.6),
            (3.0, 44.6),
            (3.3, 50.0),
            (3.5, 53.6),
            (4.0, 62.0),
            (5.0, 76.2),
            (6.0, 86.5),
            (8.0, 96.8),
            (10.0, 99.5),
        ];
        for (z, grade) in table {
            let actual = anomaly_grade(z).unwrap();
            assert!((actual - grade).abs() < 0.051, "{z}: {actual}");
        }
    }

    proptest! {
        #[test]
        fn grows_with_distance_and_stays_within_bounds(a in 0.0..60.0f64, b in 0.0..60.0f64) {
            let (near, far) = (a.min(b), a.max(b));
            let (low, high) = (anomaly_grade(near).unwrap(), anomaly_grade(far).unwrap());
            prop_assert!(low <= high);
            prop_assert!((0.0..=100.0).contains(&low) && (0.0..=100.0).contains(&high));
        }
    }
}
