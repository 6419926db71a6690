//! Storage classes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where an object is kept, and what reading it costs.
///
/// Source: Amazon S3 API Reference, `StorageClass`. All but two are kept warm alike and are told
/// apart by name only, for lifecycle rules.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub enum StorageClass {
    /// `STANDARD`: warm.
    #[default]
    Standard,
    /// `REDUCED_REDUNDANCY`: warm.
    ReducedRedundancy,
    /// `STANDARD_IA`: warm.
    StandardIa,
    /// `INTELLIGENT_TIERING`: warm.
    IntelligentTiering,
    /// `ONEZONE_IA`: warm.
    OnezoneIa,
    /// `GLACIER_IR`: warm, since it reads at once.
    GlacierIr,
    /// `GLACIER`: in the cold tier, minutes to hours away.
    Glacier,
    /// `DEEP_ARCHIVE`: in the cold tier, hours to days away.
    DeepArchive,
}

impl StorageClass {
    /// All classes, from the warmest to the coldest.
    pub const ALL: [Self; 8] = [
        Self::Standard,
        Self::ReducedRedundancy,
        Self::StandardIa,
        Self::IntelligentTiering,
        Self::OnezoneIa,
        Self::GlacierIr,
        Self::Glacier,
        Self::DeepArchive,
    ];

    /// The name in the protocol.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "STANDARD",
            Self::ReducedRedundancy => "REDUCED_REDUNDANCY",
            Self::StandardIa => "STANDARD_IA",
            Self::IntelligentTiering => "INTELLIGENT_TIERING",
            Self::OnezoneIa => "ONEZONE_IA",
            Self::GlacierIr => "GLACIER_IR",
            Self::Glacier => "GLACIER",
            Self::DeepArchive => "DEEP_ARCHIVE",
        }
    }

    /// The class of this name, if the product has it.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == name)
    }

    /// Whether an object of this class must be restored before it is read.
    #[must_use]
    pub const fn is_archived(self) -> bool {
        matches!(self, Self::Glacier | Self::DeepArchive)
    }
}

impl fmt::Display for StorageClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How fast an archived object is wanted back.
///
/// Source: Amazon S3 API Reference, `Tier`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum RetrievalTier {
    /// The cheapest and slowest.
    Bulk,
    /// What is meant when nothing is said.
    Standard,
    /// The fastest.
    Expedited,
}

impl RetrievalTier {
    /// All tiers, from the slowest to the fastest.
    pub const ALL: [Self; 3] = [Self::Bulk, Self::Standard, Self::Expedited];

    /// The name in the protocol.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bulk => "Bulk",
            Self::Standard => "Standard",
            Self::Expedited => "Expedited",
        }
    }

    /// The tier of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.as_str() == name)
    }

    /// Whether this tier is quicker than `other`.
    #[must_use]
    pub fn is_faster_than(self, other: Self) -> bool {
        self > other
    }
}

impl fmt::Display for RetrievalTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_read_back_by_its_name() {
        for class in StorageClass::ALL {
            assert_eq!(StorageClass::parse(class.as_str()), Some(class));
        }
        assert_eq!(StorageClass::parse("standard"), None);
        assert_eq!(StorageClass::parse("OUTPOSTS"), None);
        for tier in RetrievalTier::ALL {
            assert_eq!(RetrievalTier::parse(tier.as_str()), Some(tier));
        }
        assert!(RetrievalTier::Expedited.is_faster_than(RetrievalTier::Standard));
        assert!(RetrievalTier::Standard.is_faster_than(RetrievalTier::Bulk));
    }
}
