//! The ways between storage classes.

use strongroom_store::StorageClass;

/// The way down: which classes are colder (and cheaper) than which, and which moves are legal.
///
/// Source: Amazon S3 User Guide, "Transitioning objects using Amazon S3 Lifecycle", supported and
/// unsupported transitions.
pub trait Waterfall: Copy {
    /// Whether objects of this class cost less to keep than those of `other`.
    fn is_colder_than(self, other: Self) -> bool;

    /// Whether a rule may move an object of this class to `target`.
    fn may_go_to(self, target: Self) -> bool;
}

impl Waterfall for StorageClass {
    fn is_colder_than(self, other: Self) -> bool {
        step(self) > step(other)
    }

    fn may_go_to(self, target: Self) -> bool {
        // One zone's copy cannot become the several that GLACIER_IR promises.
        target.is_colder_than(self)
            && (self, target) != (StorageClass::OnezoneIa, StorageClass::GlacierIr)
    }
}

fn step(class: StorageClass) -> u8 {
    match class {
        StorageClass::Standard | StorageClass::ReducedRedundancy => 0,
        StorageClass::StandardIa => 1,
        StorageClass::IntelligentTiering => 2,
        StorageClass::OnezoneIa => 3,
        StorageClass::GlacierIr => 4,
        StorageClass::Glacier => 5,
        StorageClass::DeepArchive => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The supported transitions, written out as AWS lists them.
    #[test]
    fn legal_moves_are_exactly_the_supported_ones() {
        use StorageClass::{
            DeepArchive, Glacier, GlacierIr, IntelligentTiering, OnezoneIa, ReducedRedundancy,
            Standard, StandardIa,
        };
        let supported = |from| -> &[StorageClass] {
            match from {
                Standard | ReducedRedundancy => &[
                    StandardIa,
                    IntelligentTiering,
                    OnezoneIa,
                    GlacierIr,
                    Glacier,
                    DeepArchive,
                ],
                StandardIa => &[
                    IntelligentTiering,
                    OnezoneIa,
                    GlacierIr,
                    Glacier,
                    DeepArchive,
                ],
                IntelligentTiering => &[OnezoneIa, GlacierIr, Glacier, DeepArchive],
                OnezoneIa | GlacierIr => &[Glacier, DeepArchive],
                Glacier => &[DeepArchive],
                DeepArchive => &[],
            }
        };
        for from in StorageClass::ALL {
            for to in StorageClass::ALL {
                assert_eq!(
                    from.may_go_to(to),
                    supported(from).contains(&to),
                    "{} to {}",
                    from.as_str(),
                    to.as_str()
                );
            }
        }
    }
}
