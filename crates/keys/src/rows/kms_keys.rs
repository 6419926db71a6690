//! The rows of KMS keys: keys, versions, aliases, tags, and what is due.

use strongroom_environment::Timestamp;
use strongroom_pkcs11::{KeyLabel, WrappedKey};

use super::imports::moment;
use super::{RowFormat, VERSION};
use crate::arn::{KeyId, KeyVersion};
use crate::encoding::{Decoder, Encoder};
use crate::kms::{KeyManager, KeyOrigin, KeySpec, KeyState, Kms, RotationSchedule};

/// A KMS key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KeyRow {
    pub(crate) state: KeyState,
    pub(crate) manager: KeyManager,
    /// The version that encrypts.
    pub(crate) current: KeyVersion,
    pub(crate) created: Timestamp,
    /// How the key is rotated by the clock, if it is.
    pub(crate) rotation: Option<RotationSchedule>,
    /// How many versions were made because somebody asked.
    pub(crate) on_demand_rotations: u32,
    /// At most 8,192 characters.
    pub(crate) description: String,
    pub(crate) spec: KeySpec,
    /// Only a key for symmetric encryption has imported material.
    pub(crate) origin: KeyOrigin,
}

/// The version of the row of a key that is not for symmetric encryption.
const VERSION_WITH_SPEC: u8 = 2;
/// The version of the row of a key whose material is imported.
const VERSION_WITH_IMPORTS: u8 = 3;

impl RowFormat for KeyRow {
    fn encode(&self) -> Vec<u8> {
        let (state, deletion) = match self.state {
            KeyState::Enabled => (1, 0),
            KeyState::Disabled => (2, 0),
            KeyState::PendingDeletion { date } => (3, date.micros()),
            KeyState::Destroyed { date } => (4, date.micros()),
            KeyState::PendingImport => (5, 0),
        };
        let manager = match self.manager {
            KeyManager::Customer => 1,
            KeyManager::Service => 2,
        };
        let (period_days, next) = self.rotation.map_or((0, 0), |rotation| {
            (rotation.period_days, rotation.next.micros())
        });
        let version = match (self.spec, self.origin) {
            (KeySpec::Mac(_) | KeySpec::Pair(..), _) => VERSION_WITH_SPEC,
            (KeySpec::Symmetric, KeyOrigin::Token) => VERSION,
            (KeySpec::Symmetric, KeyOrigin::External { .. }) => VERSION_WITH_IMPORTS,
        };
        let row = Encoder::new(version)
            .u8(state)
            .u8(manager)
            .u32(self.current.0)
            .i64(self.created.micros())
            .i64(deletion)
            .u32(period_days)
            .i64(next)
            .u32(self.on_demand_rotations)
            .counted(self.description.as_bytes());
        match (self.spec, self.origin) {
            (KeySpec::Symmetric, KeyOrigin::Token) => row,
            (
                KeySpec::Symmetric,
                KeyOrigin::External {
                    is_complete,
                    expires,
                },
            ) => row
                .u8(is_complete.into())
                .i64(expires.map_or(0, Timestamp::micros)),
            (spec, _) => row.u8(spec.code()),
        }
        .finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let version = match bytes.first() {
            Some(&version @ (VERSION_WITH_SPEC | VERSION_WITH_IMPORTS)) => version,
            _ => VERSION,
        };
        let mut fields = Decoder::new(bytes, version)?;
        let state = fields.u8()?;
        let manager = match fields.u8()? {
            1 => KeyManager::Customer,
            2 => KeyManager::Service,
            _ => return None,
        };
        let current = KeyVersion(fields.u32()?);
        let created = Timestamp::from_micros(fields.i64()?);
        let state = match (state, fields.i64()?) {
            (1, 0) => KeyState::Enabled,
            (2, 0) => KeyState::Disabled,
            (3, date) => KeyState::PendingDeletion {
                date: Timestamp::from_micros(date),
            },
            (4, date) => KeyState::Destroyed {
                date: Timestamp::from_micros(date),
            },
            (5, 0) if version == VERSION_WITH_IMPORTS => KeyState::PendingImport,
            _ => return None,
        };
        let rotation = match (fields.u32()?, fields.i64()?) {
            (0, 0) => None,
            (period_days, next) if Kms::ROTATION_DAYS.contains(&period_days) => {
                Some(RotationSchedule {
                    period_days,
                    next: Timestamp::from_micros(next),
                })
            }
            _ => return None,
        };
        let on_demand_rotations = fields.u32()?;
        let description = fields.text()?;
        let spec = match version {
            VERSION_WITH_SPEC => {
                KeySpec::of_code(fields.u8()?).filter(|spec| *spec != KeySpec::Symmetric)?
            }
            _ => KeySpec::Symmetric,
        };
        let origin = match version {
            VERSION_WITH_IMPORTS => KeyOrigin::External {
                is_complete: match fields.u8()? {
                    0 => false,
                    1 => true,
                    _ => return None,
                },
                expires: moment(fields.i64()?),
            },
            _ => KeyOrigin::Token,
        };
        fields.finish(Self {
            spec,
            origin,
            state,
            manager,
            current,
            created,
            rotation,
            on_demand_rotations,
            description,
        })
    }
}

/// Why there is a version of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// It was made with the key.
    Creation,
    /// The clock said so.
    Automatic,
    /// Somebody asked.
    OnDemand,
}

/// The value of a version of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Material {
    /// It is there, wrapped by a key of the token.
    Wrapped {
        wrapped: WrappedKey,
        /// Binds the wrapped key to its key id and version; see [`version_mac_message`].
        mac: [u8; 32],
    },
    /// It was imported, and expired or was deleted. The same can be imported again.
    Absent {
        /// Since when.
        date: Timestamp,
        /// The key of the token that wrapped it.
        kek: KeyLabel,
    },
    /// It is gone.
    Destroyed {
        date: Timestamp,
        /// The key of the token that wrapped it.
        kek: KeyLabel,
    },
}

/// One version of a KMS key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KeyVersionRow {
    pub(crate) origin: Origin,
    pub(crate) created: Timestamp,
    pub(crate) material: Material,
}

impl KeyVersionRow {
    /// The key of the token that wraps the value, or did until it was destroyed.
    pub(crate) fn kek(&self) -> &KeyLabel {
        match &self.material {
            Material::Wrapped { wrapped, .. } => &wrapped.kek,
            Material::Absent { kek, .. } | Material::Destroyed { kek, .. } => kek,
        }
    }
}

/// What the token's MAC key vouches for in a [`KeyVersionRow`].
pub(crate) fn version_mac_message(
    key: KeyId,
    version: KeyVersion,
    wrapped: &WrappedKey,
) -> Vec<u8> {
    const DOMAIN: &[u8] = b"strongroom/key-version/v1\0";
    [
        DOMAIN,
        &Encoder::new(VERSION)
            .fixed(key.as_bytes())
            .u32(version.0)
            .counted(wrapped.kek.0.as_bytes())
            .counted(&wrapped.bytes)
            .finish(),
    ]
    .concat()
}

/// What material is asked to make an MAC of, so that it is known again.
pub(crate) fn material_message(key: KeyId) -> Vec<u8> {
    const DOMAIN: &[u8] = b"strongroom/key-material/v1\0";
    [DOMAIN, key.as_bytes()].concat()
}

impl RowFormat for KeyVersionRow {
    fn encode(&self) -> Vec<u8> {
        let origin = match self.origin {
            Origin::Creation => 1,
            Origin::Automatic => 2,
            Origin::OnDemand => 3,
        };
        let (is_gone, date) = match &self.material {
            Material::Wrapped { .. } => (0, 0),
            Material::Destroyed { date, .. } => (1, date.micros()),
            Material::Absent { date, .. } => (2, date.micros()),
        };
        let head = Encoder::new(VERSION)
            .u8(origin)
            .u8(is_gone)
            .i64(self.created.micros())
            .i64(date)
            .counted(self.kek().0.as_bytes());
        match &self.material {
            Material::Wrapped { wrapped, mac } => head.counted(&wrapped.bytes).fixed(mac),
            Material::Absent { .. } | Material::Destroyed { .. } => head,
        }
        .finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Decoder::new(bytes, VERSION)?;
        let origin = match fields.u8()? {
            1 => Origin::Creation,
            2 => Origin::Automatic,
            3 => Origin::OnDemand,
            _ => return None,
        };
        let is_gone = fields.u8()?;
        let created = Timestamp::from_micros(fields.i64()?);
        let date = fields.i64()?;
        let kek = KeyLabel(fields.text()?);
        let material = match (is_gone, date) {
            (0, 0) => Material::Wrapped {
                wrapped: WrappedKey {
                    kek,
                    bytes: fields.counted()?.to_vec(),
                },
                mac: fields.fixed()?,
            },
            (1, date) => Material::Destroyed {
                date: Timestamp::from_micros(date),
                kek,
            },
            (2, date) => Material::Absent {
                date: Timestamp::from_micros(date),
                kek,
            },
            _ => return None,
        };
        fields.finish(Self {
            origin,
            created,
            material,
        })
    }
}

/// The key of a row in [`KEY_VERSIONS`](super::KEY_VERSIONS).
pub(crate) fn version_key(key: KeyId, version: KeyVersion) -> Vec<u8> {
    [key.as_bytes().as_slice(), &version.0.to_be_bytes()].concat()
}

/// An alias.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct AliasRow {
    pub(crate) key: KeyId,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
}

impl RowFormat for AliasRow {
    fn encode(&self) -> Vec<u8> {
        Encoder::new(VERSION)
            .fixed(self.key.as_bytes())
            .i64(self.created.micros())
            .i64(self.updated.micros())
            .finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Decoder::new(bytes, VERSION)?;
        let row = Self {
            key: KeyId::from_bytes(fields.fixed()?),
            created: Timestamp::from_micros(fields.i64()?),
            updated: Timestamp::from_micros(fields.i64()?),
        };
        fields.finish(row)
    }
}

/// The value of a tag.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TagRow {
    /// At most 256 characters.
    pub(crate) value: String,
}

impl RowFormat for TagRow {
    fn encode(&self) -> Vec<u8> {
        Encoder::new(VERSION)
            .counted(self.value.as_bytes())
            .finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Decoder::new(bytes, VERSION)?;
        let row = Self {
            value: fields.text()?,
        };
        fields.finish(row)
    }
}

/// The key of a row in [`KEY_TAGS`](super::KEY_TAGS).
pub(crate) fn tag_key(key: KeyId, tag: &str) -> Vec<u8> {
    [key.as_bytes().as_slice(), tag.as_bytes()].concat()
}

/// What is to be done with a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DueAct {
    Rotate,
    Destroy,
    /// To take imported material away whose time is over.
    Expire,
    /// To sign the certificate of a destruction. This one follows from the row of the certificate.
    Certify,
}

/// What is to be done with a key at a date: the key of a row in [`DUE`](super::DUE), which has no
/// value. It follows from the row of the key, and changes with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Due {
    pub(crate) date: Timestamp,
    pub(crate) act: DueAct,
    pub(crate) key: KeyId,
}

impl Due {
    pub(crate) fn of(key: KeyId, row: &KeyRow) -> Option<Self> {
        let of_state = match (row.state, row.rotation) {
            (KeyState::Enabled, Some(rotation)) => Some((rotation.next, DueAct::Rotate)),
            (KeyState::PendingDeletion { date }, _) => Some((date, DueAct::Destroy)),
            (KeyState::Destroyed { .. }, _) => return None,
            _ => None,
        };
        let of_origin = match row.origin {
            KeyOrigin::External { expires, .. } => expires.map(|date| (date, DueAct::Expire)),
            KeyOrigin::Token => None,
        };
        // Of two, the first: when it is done the row follows from that of the key again.
        let first = of_state.into_iter().chain(of_origin);
        let (date, act) = first.min_by_key(|(date, _)| *date)?;
        Some(Self { date, act, key })
    }

    /// Dates are in their order, as far as none is before 1970.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let act = match self.act {
            DueAct::Rotate => 1,
            DueAct::Destroy => 2,
            DueAct::Certify => 3,
            DueAct::Expire => 4,
        };
        let mut bytes = Self::date_bytes(self.date);
        bytes.push(act);
        bytes.extend_from_slice(self.key.as_bytes());
        bytes
    }

    /// What the keys of all rows of a date begin with.
    pub(crate) fn date_bytes(date: Timestamp) -> Vec<u8> {
        date.micros().to_be_bytes().to_vec()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (date, rest) = bytes.split_first_chunk()?;
        let (act, key) = rest.split_first()?;
        Some(Self {
            date: Timestamp::from_micros(i64::from_be_bytes(*date)),
            act: match act {
                1 => DueAct::Rotate,
                2 => DueAct::Destroy,
                3 => DueAct::Certify,
                4 => DueAct::Expire,
                _ => return None,
            },
            key: KeyId::from_bytes(key.try_into().ok()?),
        })
    }
}
