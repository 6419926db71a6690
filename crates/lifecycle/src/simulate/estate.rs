//! The objects that are there, and the sums over them.

use strongroom_environment::Timestamp;

use super::population::NewObject;
use crate::{OnExpiry, RestoreState, Standing, StorageClass};

/// The number of storage classes.
pub(super) const CLASSES: usize = StorageClass::ALL.len();

/// An object and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Object {
    pub(super) new: NewObject,
    pub(super) class: StorageClass,
    pub(super) life: Life,
    pub(super) restore: RestoreState,
    /// The moment of the retrieval under way; earlier ones are out of date.
    pub(super) ready: Timestamp,
    /// When that retrieval was asked for.
    pub(super) asked: Timestamp,
    /// Its place in the list of archived objects of its population, while it is in it.
    archived_place: u32,
}

/// Whether an object is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Coming,
    Current,
    Noncurrent { since: Timestamp },
    Gone,
}

/// What lies where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Occupancy {
    pub(super) bytes: [u64; CLASSES],
    pub(super) objects: [u64; CLASSES],
    /// Warm copies of restored objects.
    pub(super) restored_bytes: u64,
    pub(super) restored_objects: u64,
}

impl Occupancy {
    /// What the cold tier holds, in bytes.
    pub(super) fn cold_bytes(&self) -> u64 {
        StorageClass::ALL
            .into_iter()
            .zip(self.bytes)
            .filter(|(class, _)| class.is_archived())
            .map(|(_, bytes)| bytes)
            .sum()
    }
}

/// One key, and what depends on it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeyUse {
    pub(super) objects_ever: u64,
    pub(super) objects_now: u64,
    pub(super) first: Option<Timestamp>,
    pub(super) last_freed: Option<Timestamp>,
}

/// All objects.
#[derive(Debug)]
pub(super) struct Estate {
    objects: Vec<Object>,
    archived: Vec<Vec<u32>>,
    /// The keys of each population.
    keys: Vec<Vec<KeyUse>>,
    occupancy: Occupancy,
}

fn slot(class: StorageClass) -> usize {
    class as usize
}

impl Estate {
    pub(super) fn new(objects: Vec<NewObject>, classes: &[StorageClass]) -> Self {
        let keys = (0_u32..)
            .zip(classes)
            .map(|(population, _)| {
                let count = objects
                    .iter()
                    .filter(|object| object.population == population)
                    .map(|object| object.key as usize + 1)
                    .max();
                vec![KeyUse::default(); count.unwrap_or(0)]
            })
            .collect();
        let objects = objects
            .into_iter()
            .map(|new| Object {
                new,
                class: classes[new.population as usize],
                life: Life::Coming,
                restore: RestoreState::Archived,
                ready: Timestamp::default(),
                asked: Timestamp::default(),
                archived_place: 0,
            })
            .collect();
        Self {
            objects,
            archived: vec![Vec::new(); classes.len()],
            keys,
            occupancy: Occupancy::default(),
        }
    }

    pub(super) fn object(&self, number: u32) -> &Object {
        &self.objects[number as usize]
    }

    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    pub(super) fn occupancy(&self) -> &Occupancy {
        &self.occupancy
    }

    pub(super) fn keys(&self) -> &[Vec<KeyUse>] {
        &self.keys
    }

    /// The archived objects of a population that are there.
    pub(super) fn archived(&self, population: usize) -> &[u32] {
        &self.archived[population]
    }

    /// The place of an object among the versions of its key, `None` when it is not there.
    pub(super) fn standing(&self, number: u32, on_expiry: OnExpiry) -> Option<Standing> {
        match self.object(number).life {
            Life::Current => Some(Standing::Current(on_expiry)),
            Life::Noncurrent { since } => Some(Standing::Noncurrent {
                since,
                newer_noncurrent: 0,
            }),
            Life::Coming | Life::Gone => None,
        }
    }

    pub(super) fn create(&mut self, number: u32) {
        let object = &mut self.objects[number as usize];
        object.life = Life::Current;
        let (class, new) = (object.class, object.new);
        self.occupancy.bytes[slot(class)] += new.len_bytes;
        self.occupancy.objects[slot(class)] += 1;
        let key = &mut self.keys[new.population as usize][new.key as usize];
        key.objects_ever += 1;
        key.objects_now += 1;
        key.first = Some(
            key.first
                .map_or(new.created, |first| first.min(new.created)),
        );
        if class.is_archived() {
            self.list(number);
        }
    }

    pub(super) fn move_to(&mut self, number: u32, class: StorageClass) {
        let object = &mut self.objects[number as usize];
        let (from, len_bytes) = (object.class, object.new.len_bytes);
        object.class = class;
        self.occupancy.bytes[slot(from)] -= len_bytes;
        self.occupancy.objects[slot(from)] -= 1;
        self.occupancy.bytes[slot(class)] += len_bytes;
        self.occupancy.objects[slot(class)] += 1;
        if class.is_archived() && !from.is_archived() {
            self.list(number);
        }
    }

    pub(super) fn make_noncurrent(&mut self, number: u32, since: Timestamp) {
        self.objects[number as usize].life = Life::Noncurrent { since };
    }

    pub(super) fn remove(&mut self, number: u32, now: Timestamp) {
        self.set_restore(number, RestoreState::Archived);
        let object = &mut self.objects[number as usize];
        object.life = Life::Gone;
        let (class, new, place) = (object.class, object.new, object.archived_place);
        self.occupancy.bytes[slot(class)] -= new.len_bytes;
        self.occupancy.objects[slot(class)] -= 1;
        let key = &mut self.keys[new.population as usize][new.key as usize];
        key.objects_now -= 1;
        key.last_freed = Some(now);
        if class.is_archived() {
            let list = &mut self.archived[new.population as usize];
            list.swap_remove(place as usize);
            if let Some(moved) = list.get(place as usize).copied() {
                self.objects[moved as usize].archived_place = place;
            }
        }
    }

    /// Notes the state of a restore, and the warm copy that comes or goes with it.
    pub(super) fn set_restore(&mut self, number: u32, state: RestoreState) {
        let object = &mut self.objects[number as usize];
        let has_copy = |state| matches!(state, RestoreState::Restored { .. });
        let (had, has) = (has_copy(object.restore), has_copy(state));
        object.restore = state;
        if has && !had {
            self.occupancy.restored_bytes += object.new.len_bytes;
            self.occupancy.restored_objects += 1;
        } else if had && !has {
            self.occupancy.restored_bytes -= object.new.len_bytes;
            self.occupancy.restored_objects -= 1;
        }
    }

    pub(super) fn set_retrieval(&mut self, number: u32, asked: Timestamp, ready: Timestamp) {
        let object = &mut self.objects[number as usize];
        object.asked = asked;
        object.ready = ready;
    }

    fn list(&mut self, number: u32) {
        let object = &mut self.objects[number as usize];
        let list = &mut self.archived[object.new.population as usize];
        object.archived_place = u32::try_from(list.len()).unwrap_or(u32::MAX);
        list.push(number);
    }
}
