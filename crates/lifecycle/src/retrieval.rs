//! How long the retrieval tiers take.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_environment::SeededEntropy;

use crate::{RetrievalTier, StorageClass};

/// The shortest and the longest time a retrieval takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetrievalSpan {
    /// The shortest, in seconds.
    pub min_seconds: u64,
    /// The longest, in seconds.
    pub max_seconds: u64,
}

impl RetrievalSpan {
    /// From `min_seconds` to `max_seconds`.
    #[must_use]
    pub const fn new(min_seconds: u64, max_seconds: u64) -> Self {
        Self {
            min_seconds,
            max_seconds,
        }
    }
}

/// How long retrievals take, by storage class and tier.
///
/// The default is what AWS states; a site sets what its own library does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrievalTimes {
    /// GLACIER, Expedited: 1 to 5 minutes.
    pub glacier_expedited: RetrievalSpan,
    /// GLACIER, Standard: 3 to 5 hours.
    pub glacier_standard: RetrievalSpan,
    /// GLACIER, Bulk: 5 to 12 hours.
    pub glacier_bulk: RetrievalSpan,
    /// `DEEP_ARCHIVE`, Standard: 12 hours.
    pub deep_archive_standard: RetrievalSpan,
    /// `DEEP_ARCHIVE`, Bulk: 48 hours.
    pub deep_archive_bulk: RetrievalSpan,
    /// Up to this size the Expedited span holds; each further stretch of it, begun or whole, adds
    /// the span again.
    pub expedited_len_bytes_max: u64,
}

impl Default for RetrievalTimes {
    fn default() -> Self {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        Self {
            glacier_expedited: RetrievalSpan::new(MINUTE, 5 * MINUTE),
            glacier_standard: RetrievalSpan::new(3 * HOUR, 5 * HOUR),
            glacier_bulk: RetrievalSpan::new(5 * HOUR, 12 * HOUR),
            deep_archive_standard: RetrievalSpan::new(12 * HOUR, 12 * HOUR),
            deep_archive_bulk: RetrievalSpan::new(48 * HOUR, 48 * HOUR),
            expedited_len_bytes_max: 250_000_000,
        }
    }
}

impl RetrievalTimes {
    /// Every retrieval is ready at once: for a tier whose own time is the only one that counts.
    #[must_use]
    pub fn immediate() -> Self {
        Self::fixed(0)
    }

    /// Every retrieval takes exactly `seconds`.
    #[must_use]
    pub fn fixed(seconds: u64) -> Self {
        let span = RetrievalSpan::new(seconds, seconds);
        Self {
            glacier_expedited: span,
            glacier_standard: span,
            glacier_bulk: span,
            deep_archive_standard: span,
            deep_archive_bulk: span,
            expedited_len_bytes_max: u64::MAX,
        }
    }

    /// The span of a tier, or `None` where the class does not offer it.
    #[must_use]
    pub fn span(
        &self,
        class: StorageClass,
        tier: RetrievalTier,
        len_bytes: u64,
    ) -> Option<RetrievalSpan> {
        match (class, tier) {
            (StorageClass::Glacier, RetrievalTier::Expedited) => {
                let stretches = len_bytes
                    .div_ceil(self.expedited_len_bytes_max.max(1))
                    .max(1);
                Some(RetrievalSpan::new(
                    self.glacier_expedited.min_seconds.saturating_mul(stretches),
                    self.glacier_expedited.max_seconds.saturating_mul(stretches),
                ))
            }
            (StorageClass::Glacier, RetrievalTier::Standard) => Some(self.glacier_standard),
            (StorageClass::Glacier, RetrievalTier::Bulk) => Some(self.glacier_bulk),
            (StorageClass::DeepArchive, RetrievalTier::Standard) => {
                Some(self.deep_archive_standard)
            }
            (StorageClass::DeepArchive, RetrievalTier::Bulk) => Some(self.deep_archive_bulk),
            _ => None,
        }
    }

    /// How long one retrieval takes: a number of the span that belongs to `seed`, so that the same
    /// retrieval asked for again takes the same time.
    #[must_use]
    pub fn draw(
        &self,
        class: StorageClass,
        tier: RetrievalTier,
        len_bytes: u64,
        seed: u64,
    ) -> Option<Duration> {
        let span = self.span(class, tier, len_bytes)?;
        let width = span.max_seconds.saturating_sub(span.min_seconds);
        let offset = match width.checked_add(1) {
            Some(choices) => SeededEntropy::new(seed).next_u64() % choices,
            None => SeededEntropy::new(seed).next_u64(),
        };
        Some(Duration::from_secs(span.min_seconds.saturating_add(offset)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_times_are_those_aws_states() {
        let times = RetrievalTimes::default();
        let hours = |class, tier| {
            times
                .span(class, tier, 1)
                .map(|span| (span.min_seconds / 60, span.max_seconds / 60))
        };
        use RetrievalTier::{Bulk, Expedited, Standard};
        use StorageClass::{DeepArchive, Glacier};
        assert_eq!(hours(Glacier, Expedited), Some((1, 5)));
        assert_eq!(hours(Glacier, Standard), Some((180, 300)));
        assert_eq!(hours(Glacier, Bulk), Some((300, 720)));
        assert_eq!(hours(DeepArchive, Expedited), None);
        assert_eq!(hours(DeepArchive, Standard), Some((720, 720)));
        assert_eq!(hours(DeepArchive, Bulk), Some((2_880, 2_880)));
        assert_eq!(hours(StorageClass::Standard, Standard), None);
        assert_eq!(hours(StorageClass::GlacierIr, Standard), None);
    }

    #[test]
    fn large_objects_take_longer_than_the_expedited_span() {
        let times = RetrievalTimes::default();
        let span = |len_bytes| {
            times
                .span(StorageClass::Glacier, RetrievalTier::Expedited, len_bytes)
                .expect("GLACIER offers Expedited")
                .max_seconds
        };
        assert_eq!(span(0), 300);
        assert_eq!(span(250_000_000), 300);
        assert_eq!(span(250_000_001), 600);
        assert_eq!(span(1_000_000_000), 1_200);
    }

    proptest::proptest! {
        #[test]
        fn a_drawn_time_lies_in_its_span_and_repeats(seed: u64, min in 0_u64..100, width in 0_u64..100) {
            let times = RetrievalTimes {
                glacier_standard: RetrievalSpan::new(min, min + width),
                ..RetrievalTimes::default()
            };
            let draw = || times.draw(StorageClass::Glacier, RetrievalTier::Standard, 1, seed);
            let time = draw().expect("GLACIER offers Standard").as_secs();
            proptest::prop_assert!((min..=min + width).contains(&time));
            proptest::prop_assert_eq!(draw().map(|time| time.as_secs()), Some(time));
        }
    }
}
