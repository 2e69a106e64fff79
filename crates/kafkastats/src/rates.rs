//! One-, five- and fifteen-minute rates of our own.

use std::time::Duration;

/// Exponentially weighted mean rates over 1, 5 and 15 minutes, in bytes a second, like Unix load averages and like the
/// meters of the broker's own metrics, so that the figures of an older agent and ours can be compared.
///
/// An interval of `dt` seconds with the mean rate `x` moves a rate with the time constant `T` by the part
/// `1 - exp(-dt/T)` of the way to `x`: the exact solution for any `dt`, so that intervals need not be regular. The first
/// interval sets all three.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rates {
    means: Option<[f64; 3]>,
}

const TIME_CONSTANTS: [f64; 3] = [60.0, 300.0, 900.0];

impl Rates {
    /// Takes in that `count` came over `interval`. An empty interval says nothing.
    pub fn update(&mut self, count: u64, interval: Duration) {
        let seconds = interval.as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        let rate = count as f64 / seconds;
        let means = self.means.get_or_insert([rate; 3]);
        for (mean, constant) in means.iter_mut().zip(TIME_CONSTANTS) {
            *mean += (1.0 - (-seconds / constant).exp()) * (rate - *mean);
        }
    }

    /// The rates over 1, 5 and 15 minutes, rounded; `None` before the first interval.
    pub fn per_second(&self) -> Option<[i64; 3]> {
        // A float converts to an integer by saturation, so that no rate can overflow.
        self.means.map(|means| means.map(|mean| mean.round() as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_flow_has_its_own_rate() {
        let mut rates = Rates::default();
        for _ in 0..10 {
            rates.update(6_000, Duration::from_secs(60));
        }
        assert_eq!(rates.per_second(), Some([100, 100, 100]));
    }

    #[test]
    fn a_flow_that_stops_fades_by_its_time_constant() {
        let mut rates = Rates::default();
        rates.update(100_000, Duration::from_secs(1));
        rates.update(0, Duration::from_secs(60));
        // e^-1, e^-1/5, e^-1/15 of what was.
        assert_eq!(rates.per_second(), Some([36_788, 81_873, 93_551]));
    }

    #[test]
    fn how_an_interval_is_cut_does_not_matter() {
        let (mut whole, mut cut) = (Rates::default(), Rates::default());
        for rates in [&mut whole, &mut cut] {
            rates.update(0, Duration::from_secs(1));
        }
        whole.update(60_000, Duration::from_secs(60));
        for _ in 0..60 {
            cut.update(1_000, Duration::from_secs(1));
        }
        assert_eq!(whole.per_second(), cut.per_second());
    }

    #[test]
    fn an_empty_interval_changes_nothing() {
        let mut rates = Rates::default();
        rates.update(5, Duration::ZERO);
        assert_eq!((rates, rates.per_second()), (Rates::default(), None));
    }
}
