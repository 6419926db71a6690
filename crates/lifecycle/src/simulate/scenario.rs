//! A scenario: the file that describes what is rehearsed.
//!
//! `docs/examples/hospital-archive.toml` shows every member.

use serde::{Deserialize, Serialize};
use strongroom_environment::{SeededEntropy, Timestamp};

use crate::rules::{RequestedConfiguration, RequestedRule, RuleDate, RuleError, RuleSet};
use crate::{RestoreDays, RetrievalTier, RetrievalTimes, StorageClass};

/// The most objects a scenario may describe.
const OBJECTS_MAX: u64 = 100_000_000;
/// The most years a scenario may run.
const YEARS_MAX: u32 = 200;
/// Creation days may lie this far before or after the start.
const DAYS_MAX: i64 = 100_000;

/// What is rehearsed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What to call it.
    pub name: String,
    /// The day it begins, `YYYY-MM-DD`.
    pub start: RuleDate,
    /// How many years of 365 days it runs.
    pub years: u32,
    /// Whether an expired object stays as a noncurrent version.
    #[serde(default)]
    pub versioning: ScenarioVersioning,
    /// The objects, in groups that are alike.
    #[serde(rename = "population")]
    pub populations: Vec<Population>,
    /// The rules, in the words of the AWS API.
    #[serde(default, rename = "rule")]
    pub rules: Vec<RequestedRule>,
    /// As the header `x-amz-transition-default-minimum-object-size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transition_default_minimum_object_size: Option<String>,
    /// Who asks for archived objects.
    #[serde(default, rename = "demand")]
    pub demands: Vec<Demand>,
    /// The cold tier.
    #[serde(default)]
    pub tier: TierScenario,
}

/// Whether the rehearsed bucket keeps versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScenarioVersioning {
    /// An expired object is removed.
    #[default]
    Unversioned,
    /// An expired object becomes noncurrent behind a delete marker.
    Enabled,
}

/// A group of objects that are alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Population {
    /// What to call it.
    pub name: String,
    /// What the keys of its objects begin with.
    #[serde(default)]
    pub prefix: String,
    /// How many objects it comes to.
    pub objects: u64,
    /// When they are created.
    pub created: CreationDays,
    /// How large they are.
    pub size: SizeDistribution,
    /// Under which keys they are encrypted.
    pub keys: KeyAssignment,
    /// The class they are put into.
    #[serde(default = "standard")]
    pub storage_class: String,
}

fn standard() -> String {
    StorageClass::Standard.as_str().to_owned()
}

/// Objects are created evenly over these days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreationDays {
    /// The first day, counted from the start; negative for objects that are there already.
    pub from_day: i64,
    /// The day after the last.
    pub to_day: i64,
}

/// How large objects are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum SizeDistribution {
    /// All alike.
    Fixed {
        /// The size.
        len_bytes: u64,
    },
    /// Evenly between two sizes.
    Uniform {
        /// The smallest.
        min_bytes: u64,
        /// The largest.
        max_bytes: u64,
    },
    /// Log-normal, as file sizes mostly are: half lie under the median.
    LogNormal {
        /// Half of the objects are smaller.
        median_bytes: u64,
        /// The standard deviation of the natural logarithm of the size.
        sigma: f64,
        /// None is larger.
        max_bytes: u64,
    },
}

/// Under which keys objects are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum KeyAssignment {
    /// Each object under one of so many keys, at random.
    Spread {
        /// How many keys there are.
        count: u32,
    },
    /// Each object under the key of its time.
    Rotated {
        /// A new key takes over after so many days.
        every_days: u32,
    },
}

/// Who asks for archived objects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Demand {
    /// The population that is asked for.
    pub population: String,
    /// How often each archived object is asked for in a year, on average.
    pub restores_per_year: f64,
    /// How fast it is wanted.
    pub retrieval_tier: String,
    /// For how many days.
    pub days: u32,
}

/// The cold tier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TierScenario {
    /// How many bytes it holds; the report says when that is passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_bytes: Option<u64>,
    /// The most expedited retrievals under way at a time; without, as many as are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expedited_at_once_max: Option<u32>,
    /// How long retrievals take at the least, whatever the drives do.
    pub times: RetrievalTimes,
    /// The drives that retrievals wait for; without, nothing waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drives: Option<DriveSettings>,
}

/// Drives that read archives one at a time, in the order in which they were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriveSettings {
    /// How many there are.
    pub count: u32,
    /// From the choice of an archive to its first byte, in seconds.
    pub mount_seconds: u64,
    /// How fast one reads.
    pub bytes_per_second: u64,
}

/// Why a scenario cannot be rehearsed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// The file is not TOML, or not of the expected form. The message names the line.
    #[error("the scenario cannot be read: {0}")]
    Form(#[from] toml::de::Error),
    /// A rule is refused, as it would be by S3.
    #[error("a rule of the scenario is refused: {0}")]
    Rule(#[from] RuleError),
    /// A value is out of bounds, or names what is not there.
    #[error("{member} of the scenario is not usable: {reason}")]
    Value {
        /// Which member.
        member: String,
        /// What is wrong with it.
        reason: String,
    },
}

fn value(member: impl Into<String>, reason: impl Into<String>) -> ScenarioError {
    ScenarioError::Value {
        member: member.into(),
        reason: reason.into(),
    }
}

/// A demand whose names have been looked up.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckedDemand {
    pub(super) population: usize,
    pub(super) restores_per_day: f64,
    pub(super) tier: RetrievalTier,
    pub(super) days: RestoreDays,
}

/// What checking a scenario brings to light.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) rules: RuleSet,
    pub(super) classes: Vec<StorageClass>,
    pub(super) demands: Vec<CheckedDemand>,
}

impl Scenario {
    /// Reads a scenario from TOML.
    ///
    /// # Errors
    /// [`ScenarioError`].
    pub fn from_toml(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text)?;
        scenario.check()?;
        Ok(scenario)
    }

    /// The moment at which it ends.
    #[must_use]
    pub fn end(&self) -> Timestamp {
        Timestamp::start_of_day(
            self.start
                .0
                .day()
                .saturating_add(i64::from(self.years).saturating_mul(365)),
        )
    }

    pub(super) fn check(&self) -> Result<Checked, ScenarioError> {
        if Timestamp::start_of_day(self.start.0.day()) != self.start.0 {
            return Err(value("start", "it is not a midnight UTC"));
        }
        if !(1..=YEARS_MAX).contains(&self.years) {
            return Err(value(
                "years",
                format!("it is not between 1 and {YEARS_MAX}"),
            ));
        }
        if self.populations.is_empty() {
            return Err(value("population", "there is none"));
        }
        let objects = self.populations.iter().fold(0_u64, |sum, population| {
            sum.saturating_add(population.objects)
        });
        if objects > OBJECTS_MAX {
            return Err(value(
                "population",
                format!("{objects} objects are more than {OBJECTS_MAX}"),
            ));
        }
        let classes = self
            .populations
            .iter()
            .map(Population::check)
            .collect::<Result<_, _>>()?;
        let demands = self
            .demands
            .iter()
            .map(|demand| self.check_demand(demand))
            .collect::<Result<_, _>>()?;
        if let Some(drives) = self.tier.drives
            && (drives.count == 0 || drives.bytes_per_second == 0)
        {
            return Err(value("tier.drives", "they read nothing"));
        }
        Ok(Checked {
            rules: self.rules()?,
            classes,
            demands,
        })
    }

    fn rules(&self) -> Result<RuleSet, RuleError> {
        if self.rules.is_empty() {
            return Ok(RuleSet::default());
        }
        let mut requested = RequestedConfiguration {
            rules: self.rules.clone(),
            transition_default_minimum_object_size: self
                .transition_default_minimum_object_size
                .clone(),
        };
        requested.name_rules(&SeededEntropy::new(0));
        requested.validate()
    }

    fn check_demand(&self, demand: &Demand) -> Result<CheckedDemand, ScenarioError> {
        let member = |name: &str| format!("demand.{name} for {:?}", demand.population);
        let population = self
            .populations
            .iter()
            .position(|population| population.name == demand.population)
            .ok_or_else(|| value(member("population"), "there is no such population"))?;
        if !(demand.restores_per_year.is_finite()
            && (0.0..=100_000.0).contains(&demand.restores_per_year))
        {
            return Err(value(member("restores_per_year"), "it is not a rate"));
        }
        let tier = RetrievalTier::parse(&demand.retrieval_tier).ok_or_else(|| {
            value(
                member("retrieval_tier"),
                "it is not Expedited, Standard or Bulk",
            )
        })?;
        let days = RestoreDays::new(i64::from(demand.days))
            .ok_or_else(|| value(member("days"), "it is less than one"))?;
        Ok(CheckedDemand {
            population,
            restores_per_day: demand.restores_per_year / 365.0,
            tier,
            days,
        })
    }
}

impl Population {
    fn check(&self) -> Result<StorageClass, ScenarioError> {
        let member = |name: &str| format!("population.{name} of {:?}", self.name);
        let CreationDays { from_day, to_day } = self.created;
        if from_day >= to_day || from_day < -DAYS_MAX || to_day > DAYS_MAX {
            return Err(value(
                member("created"),
                format!("{from_day} to {to_day} is not a span of days"),
            ));
        }
        match self.size {
            SizeDistribution::Uniform {
                min_bytes,
                max_bytes,
            } if min_bytes > max_bytes => {
                return Err(value(member("size"), "min_bytes is more than max_bytes"));
            }
            SizeDistribution::LogNormal { sigma, .. }
                if !(sigma.is_finite() && (0.0..=20.0).contains(&sigma)) =>
            {
                return Err(value(member("size"), "sigma is not between 0 and 20"));
            }
            _ => {}
        }
        if matches!(
            self.keys,
            KeyAssignment::Spread { count: 0 } | KeyAssignment::Rotated { every_days: 0 }
        ) {
            return Err(value(member("keys"), "there is no key"));
        }
        StorageClass::parse(&self.storage_class)
            .ok_or_else(|| value(member("storage_class"), "there is no such class"))
    }
}
