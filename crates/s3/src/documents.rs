//! The documents that requests carry in their bodies.

mod bucket;
mod lifecycle;
mod objects;

pub(crate) use bucket::{bucket_encryption, location_constraint, versioning_status};
pub(crate) use lifecycle::{lifecycle_configuration, write_lifecycle_configuration};
pub(crate) use objects::{ObjectToDelete, completed_upload, objects_to_delete, restore_request};
