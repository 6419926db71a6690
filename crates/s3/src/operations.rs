//! The operations, one function each: they read what a request asks for, have it done, and tell
//! what became of it.

mod attributes;
mod buckets;
mod configuration;
mod copy;
mod delete;
mod list_objects;
mod list_versions;
mod listing;
mod multipart;
mod multipart_listing;
mod read;
mod restore;
mod write;

use crate::answer::Answer;
use crate::call::Call;
use crate::refusal::Outcome;
use crate::route::Operation;

/// Runs the operation of a call.
pub(crate) async fn run(call: Call) -> Outcome<Answer> {
    // Each future is boxed: together they would make every request as large as the largest.
    match call.operation {
        Operation::AbortMultipartUpload => Box::pin(multipart::abort(call)).await,
        Operation::CompleteMultipartUpload => Box::pin(multipart::complete(call)).await,
        Operation::CopyObject => Box::pin(copy::copy_object(call)).await,
        Operation::CreateBucket => Box::pin(buckets::create(call)).await,
        Operation::CreateMultipartUpload => Box::pin(multipart::create(call)).await,
        Operation::DeleteBucket => Box::pin(buckets::delete(call)).await,
        Operation::DeleteBucketEncryption => Box::pin(configuration::delete_encryption(call)).await,
        Operation::DeleteBucketLifecycle => Box::pin(configuration::delete_lifecycle(call)).await,
        Operation::DeleteObject => Box::pin(delete::delete_object(call)).await,
        Operation::DeleteObjects => Box::pin(delete::delete_objects(call)).await,
        Operation::GetBucketEncryption => Box::pin(configuration::get_encryption(call)).await,
        Operation::GetBucketLifecycleConfiguration => {
            Box::pin(configuration::get_lifecycle(call)).await
        }
        Operation::GetBucketLocation => Box::pin(buckets::location(call)).await,
        Operation::GetBucketVersioning => Box::pin(configuration::get_versioning(call)).await,
        Operation::GetObject => Box::pin(read::get(call)).await,
        Operation::GetObjectAttributes => Box::pin(attributes::get_attributes(call)).await,
        Operation::HeadBucket => Box::pin(buckets::head(call)).await,
        Operation::HeadObject => Box::pin(read::head(call)).await,
        Operation::ListBuckets => Box::pin(buckets::list(call)).await,
        Operation::ListMultipartUploads => Box::pin(multipart_listing::uploads(call)).await,
        Operation::ListObjectVersions => Box::pin(list_versions::list_versions(call)).await,
        Operation::ListObjects => Box::pin(list_objects::list_v1(call)).await,
        Operation::ListObjectsV2 => Box::pin(list_objects::list_v2(call)).await,
        Operation::ListParts => Box::pin(multipart_listing::parts(call)).await,
        Operation::PutBucketEncryption => Box::pin(configuration::put_encryption(call)).await,
        Operation::PutBucketLifecycleConfiguration => {
            Box::pin(configuration::put_lifecycle(call)).await
        }
        Operation::PutBucketVersioning => Box::pin(configuration::put_versioning(call)).await,
        Operation::PutObject => Box::pin(write::put_object(call)).await,
        Operation::RestoreObject => Box::pin(restore::restore(call)).await,
        Operation::UploadPart => Box::pin(multipart::upload_part(call)).await,
        Operation::UploadPartCopy => Box::pin(copy::upload_part_copy(call)).await,
    }
}
