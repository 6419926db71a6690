//! A moment as rows hold it: microseconds since the Unix epoch.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use strongroom_environment::Timestamp;

pub(crate) fn serialize<S: Serializer>(moment: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    moment.micros().serialize(to)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
    i64::deserialize(from).map(Timestamp::from_micros)
}
