//! The modified z-score: distance from a population in units of its robust spread.
//!
//! Owns the answer for a population without any spread. Does not estimate median or spread.

/// 0.75 quantile of the standard normal distribution, as Iglewicz and Hoaglin round it.
const NORMAL_QUARTILE: f64 = 0.6745;

/// What the score of a departure from a constant population approaches, at most.
pub const CONSTANT_POPULATION_ZSCORE_MAX: f64 = 5.0;

/// Modified z-score `0.6745 * (x - median) / max(mad, floor)`, without unit (Iglewicz and Hoaglin,
/// How to Detect and Handle Outliers, 1993, who call a value above 3.5 an outlier).
///
/// `x`, `median`, `mad` and `floor` share one unit. `mad` is the raw median absolute deviation.
/// `floor` is the least deviation that matters, 0 for none: what varies by less is measured
/// against the floor.
///
/// When `mad` and `floor` are both 0, more than half of the population is one and the same value,
/// and there is no spread to measure with. Then `x == median` scores 0, and a departure scores
/// its relative size, `5 * (x - median) / max(|x|, |median|)`, held within -5 and 5. So jitter
/// around a constant is not an outlier (twice the median scores 2.5), a manifold departure is
/// (beyond 3.33 times it passes 3.5), any departure from a median of 0 scores 5, and none of
/// these outranks a strong departure from a spread that was measured. The score keeps its meaning
/// under a change of unit; a job that knows its unit gives a floor.
///
/// `None` when an argument is NaN, `mad` or `floor` is negative, or the quotient is not defined
/// (infinity by infinity): a NaN would compare as greater than every threshold.
pub fn robust_zscore(x: f64, median: f64, mad: f64, floor: f64) -> Option<f64> {
    let is_deviation = |value: f64| value >= 0.0;
    if x.is_nan() || median.is_nan() || !is_deviation(mad) || !is_deviation(floor) {
        return None;
    }
    if x == median {
        return Some(0.0);
    }
    let scale = mad.max(floor);
    let score = if scale > 0.0 {
        NORMAL_QUARTILE * ((x - median) / scale)
    } else {
        departure_from_constant(x, median)
    };
    Some(score).filter(|score| !score.is_nan())
}

fn departure_from_constant(x: f64, median: f64) -> f64 {
    let bound = CONSTANT_POPULATION_ZSCORE_MAX;
    if x.is_infinite() {
        return bound * x.signum();
    }
    // Divided first: the difference of two large numbers of opposite sign would overflow.
    let magnitude = x.abs().max(median.abs());
    (bound * (x / magnitude - median / magnitude)).clamp(-bound, bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(robust_zscore(13.0, 10.0, 2.0, 0.0), Some(0.6745 * 1.5));
        assert_eq!(robust_zscore(7.0, 10.0, 2.0, 0.0), Some(-0.6745 * 1.5));
        assert_eq!(robust_zscore(10.0, 10.0, 2.0, 0.0), Some(0.0));
    }

    #[test]
    fn floor_is_the_least_spread() {
        assert_eq!(robust_zscore(3.0, 0.0, 0.0, 6.745), Some(0.3));
        assert_eq!(robust_zscore(3.0, 0.0, 6.745, 1.0), Some(0.3));
    }

    #[test]
    fn constant_population_scores_relative_departure_within_bounds() {
        let score = |x, median| robust_zscore(x, median, 0.0, 0.0);
        assert_eq!(score(7.0, 7.0), Some(0.0));
        assert_eq!(score(14.0, 7.0), Some(2.5));
        assert_eq!(score(70.0, 7.0), Some(4.5));
        assert_eq!(score(0.0, 7.0), Some(-5.0));
        assert_eq!(score(1e-9, 0.0), Some(5.0));
        assert_eq!(score(-7.0, 7.0), Some(-5.0));
        assert_eq!(score(f64::INFINITY, 7.0), Some(5.0));
        assert_eq!(score(f64::MAX, f64::MIN), Some(5.0));
        // A change of unit does not change the score.
        assert_eq!(score(3.0, 2.0), score(3000.0, 2000.0));
    }

    #[test]
    fn undefined_scores_are_none_not_nan() {
        let inf = f64::INFINITY;
        assert_eq!(robust_zscore(f64::NAN, 1.0, 1.0, 0.0), None);
        assert_eq!(robust_zscore(1.0, f64::NAN, 1.0, 0.0), None);
        assert_eq!(robust_zscore(1.0, 2.0, f64::NAN, 0.0), None);
        assert_eq!(robust_zscore(1.0, 2.0, -1.0, 0.0), None);
        assert_eq!(robust_zscore(1.0, 2.0, 1.0, f64::NAN), None);
        assert_eq!(robust_zscore(inf, 2.0, inf, 0.0), None);
        assert_eq!(robust_zscore(inf, 2.0, 1.0, 0.0), Some(inf));
        assert_eq!(robust_zscore(inf, inf, 1.0, 0.0), Some(0.0));
        assert_eq!(robust_zscore(1.0, -inf, 0.0, 0.0), None);
    }
}
