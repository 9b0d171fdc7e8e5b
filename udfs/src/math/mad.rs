//! Median and median absolute deviation, exact.
//!
//! Selection in O(n), not a sort. Does not scale the deviation to a standard deviation.

/// Median of `values`: the middle one, or the mean of the two middle ones.
///
/// `None` when there are no values. Reorders `values`. NaN must have been removed by the caller:
/// it would be placed by its sign, above or below all numbers.
pub fn median(values: &mut [f64]) -> Option<f64> {
    let middle = values.len() / 2;
    if values.is_empty() {
        return None;
    }
    let is_even = values.len().is_multiple_of(2);
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    if !is_even {
        return Some(upper);
    }
    let lower = below.iter().copied().max_by(f64::total_cmp)?;
    Some(lower.midpoint(upper))
}

/// Median absolute deviation, `median(|x - median(x)|)`, in the unit of the values (Hampel 1974).
///
/// It is not multiplied by 1.4826: for normal values the standard deviation is about
/// `1.4826 * mad`. `None` when there are no values, and when the middle of the values is not
/// defined because it lies between the two infinities. Overwrites `values`; NaN must have been
/// removed by the caller.
pub fn mad(values: &mut [f64]) -> Option<f64> {
    let center = median(values)?;
    for value in values.iter_mut() {
        *value = deviation(*value, center);
    }
    median(values).filter(|mad| !mad.is_nan())
}

/// `|value - center|`, where an infinite value does not deviate from an equal center.
fn deviation(value: f64, center: f64) -> f64 {
    if value == center { 0.0 } else { (value - center).abs() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_values() {
        // The example of R's and SciPy's documentation: median 2, deviations 1 1 0 0 2 4 7.
        assert_eq!(mad(&mut [1.0, 1.0, 2.0, 2.0, 4.0, 6.0, 9.0]), Some(1.0));
        assert_eq!(mad(&mut [1.0, 2.0, 3.0, 4.0]), Some(1.0));
        assert_eq!(mad(&mut [5.0]), Some(0.0));
        assert_eq!(mad(&mut []), None);
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0]), Some(2.5));
    }

    #[test]
    fn half_of_the_values_can_be_outliers_without_moving_it_far() {
        assert_eq!(mad(&mut [1.0, 2.0, 3.0, 1e300, f64::INFINITY]), Some(2.0));
    }

    #[test]
    fn infinities_and_the_largest_numbers_do_not_become_nan() {
        let inf = f64::INFINITY;
        assert_eq!(mad(&mut [inf, inf, inf]), Some(0.0));
        assert_eq!(mad(&mut [-inf, inf]), None);
        assert_eq!(median(&mut [f64::MAX, f64::MAX]), Some(f64::MAX));
    }

    proptest! {
        #[test]
        fn agrees_with_sorting(values in prop::collection::vec(-1e9..1e9f64, 1..60)) {
            let by_sorting = |values: &[f64]| {
                let mut sorted = values.to_vec();
                sorted.sort_by(f64::total_cmp);
                (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0
            };
            let center = by_sorting(&values);
            let deviations: Vec<f64> = values.iter().map(|x| (x - center).abs()).collect();
            prop_assert_eq!(mad(&mut values.clone()), Some(by_sorting(&deviations)));
        }
    }
}
