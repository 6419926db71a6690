//! The objects of a scenario, drawn from its distributions.

use std::f64::consts::TAU;

use strongroom_environment::{SeededEntropy, Timestamp};

use super::scenario::{KeyAssignment, Population, Scenario, SizeDistribution};

const MICROS_PER_DAY: u64 = 86_400_000_000;

/// Draws from a seeded sequence.
#[derive(Debug)]
pub(super) struct Draw(SeededEntropy);

impl Draw {
    /// The sequence for one purpose, so that more draws for one do not change another.
    pub(super) fn new(seed: u64, purpose: u64) -> Self {
        let mixed = SeededEntropy::new(seed ^ purpose.rotate_left(32)).next_u64();
        Self(SeededEntropy::new(mixed))
    }

    /// Any number.
    pub(super) fn number(&self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`, which is not zero. The bias is below one in 2^32 for any bound
    /// that occurs here.
    pub(super) fn below(&self, bound: u64) -> u64 {
        let product = u128::from(self.number()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// A number from zero up to, not including, one.
    pub(super) fn fraction(&self) -> f64 {
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number of the standard normal distribution (Box and Muller 1958).
    pub(super) fn normal(&self) -> f64 {
        let radius = (-2.0 * (1.0 - self.fraction()).ln()).sqrt();
        radius * (TAU * self.fraction()).cos()
    }

    /// How often something happens that happens `mean` times on average: exactly Poisson for small
    /// means (Knuth 1969), the nearest normal count for large ones.
    pub(super) fn count(&self, mean: f64) -> u64 {
        if mean <= 0.0 {
            return 0;
        }
        if mean > 64.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u64;
        }
        let limit = (-mean).exp();
        let mut product = self.fraction();
        let mut count = 0;
        while product > limit {
            product *= self.fraction();
            count += 1;
        }
        count
    }
}

/// One object as it is put.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewObject {
    pub(super) population: u32,
    pub(super) created: Timestamp,
    pub(super) len_bytes: u64,
    /// The key's number within its population.
    pub(super) key: u32,
}

/// All objects of a scenario, population by population.
pub(super) fn draw(scenario: &Scenario, seed: u64) -> Vec<NewObject> {
    let mut objects = Vec::new();
    for (number, population) in (0..).zip(&scenario.populations) {
        let draw = Draw::new(seed, 1 + u64::from(number));
        for _ in 0..population.objects {
            objects.push(one(population, number, scenario.start.0, &draw));
        }
    }
    objects
}

fn one(population: &Population, number: u32, start: Timestamp, draw: &Draw) -> NewObject {
    let days = population
        .created
        .to_day
        .saturating_sub(population.created.from_day)
        .unsigned_abs();
    let from = Timestamp::start_of_day(start.day().saturating_add(population.created.from_day));
    let into_micros = draw.below(days.saturating_mul(MICROS_PER_DAY).max(1));
    let created = from + std::time::Duration::from_micros(into_micros);
    let len_bytes = match population.size {
        SizeDistribution::Fixed { len_bytes } => len_bytes,
        SizeDistribution::Uniform {
            min_bytes,
            max_bytes,
        } => min_bytes + draw.below((max_bytes - min_bytes).saturating_add(1)),
        SizeDistribution::LogNormal {
            median_bytes,
            sigma,
            max_bytes,
        } => {
            let size = median_bytes as f64 * (sigma * draw.normal()).exp();
            (size.round() as u64).min(max_bytes)
        }
    };
    let key = match population.keys {
        KeyAssignment::Spread { count } => draw.below(u64::from(count)),
        KeyAssignment::Rotated { every_days } => {
            let day = into_micros / MICROS_PER_DAY;
            day / u64::from(every_days)
        }
    };
    NewObject {
        population: number,
        created,
        len_bytes,
        key: u32::try_from(key).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_the_mean_they_promise() {
        let draw = Draw::new(7, 1);
        for mean in [0.01, 1.0, 30.0, 500.0] {
            let sum: u64 = (0..20_000).map(|_| draw.count(mean)).sum();
            let found = sum as f64 / 20_000.0;
            assert!(
                (found - mean).abs() < 5.0 * (mean / 20_000.0).sqrt() + 1e-9,
                "{mean}: {found}"
            );
        }
        assert_eq!(draw.count(0.0), 0);
        let normal: f64 = (0..20_000).map(|_| draw.normal()).sum::<f64>() / 20_000.0;
        assert!(normal.abs() < 0.05, "{normal}");
        for bound in [1, 2, 10] {
            assert!((0..1_000).all(|_| draw.below(bound) < bound));
        }
    }
}
