//! Every write of several steps, cut short at each step of the engines in each way they can fail,
//! and then a restart: what is visible is all of the write or nothing of it, what was acknowledged
//! opens, and nothing is left behind.

use std::collections::BTreeMap;
use std::fmt::Debug;

use strongroom_blobs::{Call, Fault};
use strongroom_meta::{CommitFault, ReadFault};
use strongroom_store::{
    CopyRequest, ETag, ListUploads, ListVersions, PutRequest, ReadRequest, RestoreState,
    RetrievalTier, ShownVersion, StorageClass, StoreError, UploadRef, VersionSelector,
};

use crate::multipart::{PART, completion};
use crate::world::{World, by_customer, by_kms, caller, customer_key, pattern};

/// A write, from the rows and blobs before it on.
#[derive(Clone, Copy, Debug)]
enum Write {
    Put,
    PutByCustomer,
    PutByKms,
    PutOverOne,
    PutOverVersion,
    PutWhereVersionsEnded,
    CreateUpload,
    Part,
    PartAgain,
    PartCopy,
    Complete,
    CompleteOne,
    CompleteOverOne,
    CompleteWithoutAll,
    Abort,
    Copy,
    CopyOverOne,
    Rekey,
    RekeyArchived,
    CopyParts,
    Delete,
    DeleteCopied,
    DeleteParts,
    DeleteToMarker,
    DeleteVersion,
    DeleteNoncurrent,
    DeleteArchived,
    DeleteRestored,
    Transition,
    TransitionParts,
    TransitionPending,
    TransitionShared,
    SetWarmClass,
    BeginRestore,
    CompleteRestore,
    CompleteRestoreParts,
    CancelRestore,
    ExpireRestore,
    ExpireRestoreParts,
    ExpireObject,
    CreateBucket,
    DeleteBucket,
}

impl Write {
    const ALL: [Self; 42] = [
        Self::Put,
        Self::PutByCustomer,
        Self::PutByKms,
        Self::PutOverOne,
        Self::PutOverVersion,
        Self::PutWhereVersionsEnded,
        Self::CreateUpload,
        Self::Part,
        Self::PartAgain,
        Self::PartCopy,
        Self::Complete,
        Self::CompleteOne,
        Self::CompleteOverOne,
        Self::CompleteWithoutAll,
        Self::Abort,
        Self::Copy,
        Self::CopyOverOne,
        Self::Rekey,
        Self::RekeyArchived,
        Self::CopyParts,
        Self::Delete,
        Self::DeleteCopied,
        Self::DeleteParts,
        Self::DeleteToMarker,
        Self::DeleteVersion,
        Self::DeleteNoncurrent,
        Self::DeleteArchived,
        Self::DeleteRestored,
        Self::Transition,
        Self::TransitionParts,
        Self::TransitionPending,
        Self::TransitionShared,
        Self::SetWarmClass,
        Self::BeginRestore,
        Self::CompleteRestore,
        Self::CompleteRestoreParts,
        Self::CancelRestore,
        Self::ExpireRestore,
        Self::ExpireRestoreParts,
        Self::ExpireObject,
        Self::CreateBucket,
        Self::DeleteBucket,
    ];
}

/// What a write goes on from.
#[derive(Default)]
struct Ready {
    upload: Option<UploadRef>,
    parts: Vec<(i64, ETag)>,
    version: Option<VersionSelector>,
}

/// A version as a client sees it. Ids and random entity tags differ from run to run and are left
/// out.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Seen {
    Marker,
    /// The class, the customer's key that opens it, and its bytes.
    Bytes(StorageClass, Option<u8>, Vec<u8>),
    Archived(StorageClass, Option<u8>, Option<RestoreState>),
}

/// All that is visible of a store.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Visible {
    buckets: Vec<String>,
    versions: Vec<(String, bool, Seen)>,
    uploads: Vec<(String, Vec<(u16, u64)>)>,
    open_restores: Vec<String>,
    pending_archives: Vec<String>,
    cold_garbage: usize,
}

/// The customer's key of objects that are named so.
fn key_of(name: &str) -> Option<u8> {
    name.strip_prefix("own").and_then(|key| key.parse().ok())
}

const TEXT: usize = 40_000;

impl World {
    async fn visible(&self) -> Visible {
        let buckets = self.store.list_buckets("", None, 10).await.expect("rows");
        let request = ListVersions {
            bucket: self.bucket.clone(),
            prefix: String::new(),
            delimiter: None,
            after_key: None,
            after_version: VersionSelector::Current,
            entries_max: 1000,
        };
        let page = match self.store.list_versions(request).await {
            Err(StoreError::NoSuchBucket) => Default::default(),
            page => page.expect("a listing"),
        };
        let mut versions = Vec::new();
        for version in page.versions {
            let name = version.key.as_str();
            let selector = match version.version {
                ShownVersion::Null => VersionSelector::Null,
                ShownVersion::Id(id) => VersionSelector::Id(id),
            };
            let read = |by: Option<u8>| ReadRequest {
                object: self.object(name, selector),
                customer_key: by.map(customer_key),
                ..self.read_request(name)
            };
            let seen = match version.object {
                None => Seen::Marker,
                Some(object) => {
                    let by = key_of(name);
                    let by = match self.store.head(read(by), &caller()).await {
                        Ok(_) => by,
                        Err(_) => None,
                    };
                    match self.read(read(by)).await {
                        Ok(bytes) => Seen::Bytes(object.class, by, bytes),
                        Err(StoreError::Archived { class }) => {
                            Seen::Archived(class, by, object.restore)
                        }
                        Err(error) => panic!("{name} is listed and does not open: {error}"),
                    }
                }
            };
            versions.push((name.to_owned(), version.is_latest, seen));
        }
        let uploads = ListUploads {
            bucket: self.bucket.clone(),
            prefix: String::new(),
            delimiter: None,
            after_key: None,
            after_upload: None,
            entries_max: 1000,
        };
        let page = match self.store.list_uploads(uploads).await {
            Err(StoreError::NoSuchBucket) => Default::default(),
            page => page.expect("a listing"),
        };
        let mut uploads = Vec::new();
        for upload in page.uploads {
            let parts = strongroom_store::ListParts {
                upload: UploadRef {
                    bucket: self.bucket.clone(),
                    key: upload.key.clone(),
                    upload: upload.upload,
                },
                after: 0,
                entries_max: 1000,
            };
            let parts = self.store.list_parts(parts).await.expect("a listing").parts;
            let parts = parts
                .iter()
                .map(|part| (part.number.get(), part.size_bytes));
            uploads.push((upload.key.to_string(), parts.collect()));
        }
        let open = self.store.open_restores(None, 100).await.expect("rows");
        let pending = self.store.pending_archives(None, 100).await.expect("rows");
        Visible {
            buckets: buckets
                .iter()
                .map(|bucket| bucket.bucket.to_string())
                .collect(),
            versions,
            uploads,
            open_restores: open.iter().map(|open| open.name.key.to_string()).collect(),
            pending_archives: pending.iter().map(|it| it.name.key.to_string()).collect(),
            cold_garbage: self
                .store
                .cold_garbage(None, 100)
                .await
                .expect("rows")
                .len(),
        }
    }

    async fn put_class(&self, name: &str, class: StorageClass) {
        let request = PutRequest {
            class,
            protection: key_of(name).and_then(by_customer),
            ..self.put_request(name, pattern(TEXT))
        };
        self.store.put(request, &caller()).await.expect("a PUT");
    }

    /// An upload of a large part 1 and a small part 2.
    async fn upload(&self, name: &str, parts: &[i64]) -> Ready {
        let upload = self.begin(name, None).await;
        let mut uploaded = Vec::new();
        for part in parts {
            let bytes = pattern(if *part == 1 && parts.len() > 1 {
                PART
            } else {
                100
            });
            uploaded.push((*part, self.part(&upload, *part, &bytes).await));
        }
        Ready {
            upload: Some(upload),
            parts: uploaded,
            version: None,
        }
    }

    async fn put_parts(&self, name: &str) {
        let ready = self.upload(name, &[1, 2]).await;
        let upload = ready.upload.expect("an upload");
        self.store
            .complete_upload(completion(&upload, &ready.parts), &caller())
            .await
            .expect("all parts are there");
    }

    async fn archived(&self, name: &str) {
        let version = self.version_name(name).await;
        self.archive(&version, StorageClass::Glacier)
            .await
            .expect("a transition");
    }

    async fn restoring(&self, name: &str) {
        self.archived(name).await;
        self.begin_restore(name, 1, RetrievalTier::Bulk)
            .await
            .expect("a restore");
    }

    async fn restored(&self, name: &str) {
        self.restoring(name).await;
        self.complete_restores().await.expect("a restore");
    }

    async fn prepare(&self, write: Write) -> Ready {
        // Something that no write may touch.
        self.put_class("own7", StorageClass::Standard).await;
        let mut ready = Ready::default();
        match write {
            Write::Put
            | Write::PutByCustomer
            | Write::PutByKms
            | Write::CreateUpload
            | Write::CreateBucket => {}
            Write::PutOverOne | Write::Delete | Write::SetWarmClass | Write::ExpireObject => {
                self.put("object", "before").await;
            }
            Write::PutOverVersion | Write::DeleteToMarker => {
                self.version(true).await;
                self.put("object", "before").await;
            }
            Write::PutWhereVersionsEnded => {
                self.put("object", "null").await;
                self.version(true).await;
                self.put("object", "kept").await;
                self.version(false).await;
            }
            Write::Part | Write::PartCopy => ready = self.upload("object", &[2]).await,
            Write::PartAgain | Write::Complete | Write::Abort | Write::CompleteWithoutAll => {
                ready = self.upload("object", &[1, 2]).await;
            }
            Write::CompleteOne => ready = self.upload("object", &[3]).await,
            Write::CompleteOverOne => {
                self.put("object", "before").await;
                ready = self.upload("object", &[1, 2]).await;
            }
            Write::Copy | Write::Rekey | Write::Transition => {
                self.put_class("own1", StorageClass::Standard).await;
            }
            Write::CopyOverOne => {
                self.put_class("own1", StorageClass::Standard).await;
                self.put_class("own2", StorageClass::Glacier).await;
            }
            Write::RekeyArchived | Write::BeginRestore | Write::DeleteArchived => {
                self.put_class("own1", StorageClass::Standard).await;
                self.archived("own1").await;
            }
            Write::CopyParts | Write::DeleteParts | Write::TransitionParts => {
                self.put_parts("object").await;
            }
            Write::DeleteCopied | Write::TransitionShared => {
                self.put("object", pattern(TEXT)).await;
                let request = self.copy_request("object", "copy");
                self.store.copy(request, &caller()).await.expect("a copy");
                if matches!(write, Write::TransitionShared) {
                    self.archived("copy").await;
                }
            }
            Write::DeleteVersion | Write::DeleteNoncurrent => {
                self.version(true).await;
                let versions = [
                    self.put("object", "one").await,
                    self.put("object", "two").await,
                ];
                let place = usize::from(matches!(write, Write::DeleteVersion));
                let Some(ShownVersion::Id(id)) = versions[place].version else {
                    panic!("versions are kept");
                };
                ready.version = Some(VersionSelector::Id(id));
            }
            Write::DeleteRestored | Write::ExpireRestore => {
                self.put_class("own1", StorageClass::Standard).await;
                self.restored("own1").await;
            }
            Write::TransitionPending => self.put_class("own1", StorageClass::Glacier).await,
            Write::CompleteRestore | Write::CancelRestore => {
                self.put_class("own1", StorageClass::Standard).await;
                self.restoring("own1").await;
            }
            Write::CompleteRestoreParts => {
                self.put_parts("object").await;
                self.restoring("object").await;
            }
            Write::ExpireRestoreParts => {
                self.put_parts("object").await;
                self.restored("object").await;
            }
            Write::DeleteBucket => {
                self.delete("own7", VersionSelector::Current)
                    .await
                    .expect("a deletion");
            }
        }
        if matches!(write, Write::ExpireRestore | Write::ExpireRestoreParts) {
            self.clock.advance(std::time::Duration::from_secs(200_000));
        }
        self.store.collect_garbage().await.expect("a collection");
        ready
    }

    async fn act(&self, write: Write, ready: &Ready) -> Result<(), StoreError> {
        let store = &self.store;
        let upload = || ready.upload.as_ref().expect("it was prepared");
        let name = |name: &'static str| async move {
            let object = self.object(name, VersionSelector::Current);
            store.tiered(&object).await.map(|version| version.name)
        };
        match write {
            Write::Put
            | Write::PutOverOne
            | Write::PutOverVersion
            | Write::PutWhereVersionsEnded => {
                self.try_put("object", pattern(TEXT)).await?;
            }
            Write::PutByCustomer => {
                let request = PutRequest {
                    protection: by_customer(3),
                    ..self.put_request("own3", pattern(TEXT))
                };
                store.put(request, &caller()).await?;
            }
            Write::PutByKms => {
                let request = PutRequest {
                    protection: by_kms(false),
                    ..self.put_request("object", pattern(TEXT))
                };
                store.put(request, &caller()).await?;
            }
            Write::CreateUpload => {
                let request = strongroom_store::CreateUpload {
                    bucket: self.bucket.clone(),
                    key: crate::world::key("object"),
                    metadata: Default::default(),
                    class: StorageClass::Standard,
                    protection: None,
                    checksum_algorithm: None,
                    checksum_type: None,
                };
                store.create_upload(request, &caller()).await?;
            }
            Write::Part | Write::PartAgain => {
                self.try_part(upload(), 1, pattern(TEXT).into(), None)
                    .await?;
            }
            Write::PartCopy => {
                let request = strongroom_store::UploadPartCopy {
                    upload: upload().clone(),
                    number: strongroom_store::PartNumber::new(1).expect("a number"),
                    source: strongroom_store::CopySource {
                        customer_key: Some(customer_key(7)),
                        ..self.copy_request("own7", "object").source
                    },
                    range: None,
                    customer_key: None,
                };
                store.upload_part_copy(request, &caller()).await?;
            }
            Write::Complete | Write::CompleteOne | Write::CompleteOverOne => {
                let request = completion(upload(), &ready.parts);
                store.complete_upload(request, &caller()).await?;
            }
            Write::CompleteWithoutAll => {
                let request = completion(upload(), &ready.parts[1..]);
                store.complete_upload(request, &caller()).await?;
            }
            Write::Abort => store.abort_upload(upload(), &caller()).await?,
            Write::Copy | Write::CopyOverOne | Write::Rekey | Write::RekeyArchived => {
                let managed = || Some(strongroom_keys::Protection::Managed);
                let (to, class, protection) = match write {
                    Write::Copy | Write::CopyOverOne => {
                        ("own2", StorageClass::Standard, by_customer(2))
                    }
                    Write::Rekey => ("own1", StorageClass::Standard, managed()),
                    _ => ("own1", StorageClass::Glacier, managed()),
                };
                let mut request = CopyRequest {
                    class,
                    protection,
                    ..self.copy_request("own1", to)
                };
                request.source.customer_key = Some(customer_key(1));
                store.copy(request, &caller()).await?;
            }
            Write::CopyParts => {
                let request = self.copy_request("object", "copy");
                store.copy(request, &caller()).await?;
            }
            Write::Delete | Write::DeleteCopied | Write::DeleteParts | Write::DeleteToMarker => {
                self.delete("object", VersionSelector::Current).await?;
            }
            Write::DeleteVersion | Write::DeleteNoncurrent => {
                let version = ready.version.expect("it was prepared");
                self.delete("object", version).await?;
            }
            Write::DeleteArchived | Write::DeleteRestored => {
                self.delete("own1", VersionSelector::Current).await?;
            }
            Write::Transition | Write::TransitionPending => {
                self.archive(&name("own1").await?, StorageClass::Glacier)
                    .await?;
            }
            Write::TransitionParts | Write::TransitionShared => {
                self.archive(&name("object").await?, StorageClass::Glacier)
                    .await?;
            }
            Write::SetWarmClass => {
                let name = name("object").await?;
                store
                    .set_warm_class(&name, StorageClass::StandardIa)
                    .await?;
            }
            Write::BeginRestore => {
                self.begin_restore("own1", 1, RetrievalTier::Bulk).await?;
            }
            Write::CompleteRestore | Write::CompleteRestoreParts => {
                // A version that cannot be read is passed over.
                if self.complete_restores().await?.is_empty() {
                    return Err(StoreError::Damaged {
                        what: "the restore was not found".to_owned(),
                    });
                }
            }
            Write::CancelRestore => {
                store.cancel_restore(&name("own1").await?).await?;
            }
            Write::ExpireRestore | Write::ExpireRestoreParts => {
                self.expire_restores().await?;
            }
            Write::ExpireObject => {
                let now = self.days_from_now(0);
                store.expire_object(&name("object").await?, now).await?;
            }
            Write::CreateBucket => {
                let request = strongroom_store::CreateBucket {
                    bucket: strongroom_store::BucketName::new("another").expect("a name"),
                    owner: "owner".to_owned(),
                    region: "us-east-1".to_owned(),
                    customer_keys_blocked: false,
                };
                store.create_bucket(request, &caller()).await?;
            }
            Write::DeleteBucket => store.delete_bucket(&self.bucket, &caller()).await?,
        }
        Ok(())
    }
}

/// What a write looks like without a fault, and how many calls it makes of each kind.
struct Course {
    before: (Visible, u64),
    after: (Visible, u64),
    commits: u64,
    reads: u64,
    blob_calls: BTreeMap<Call, u64>,
}

const BLOB_CALLS: [Call; 5] = [
    Call::Create,
    Call::Append,
    Call::Finish,
    Call::Read,
    Call::Delete,
];

impl World {
    fn stored_bytes(&self) -> u64 {
        self.blobs.inner().stored_bytes()
    }

    /// What is visible and how many bytes are kept, once all garbage is collected.
    async fn settled(&self) -> (Visible, u64) {
        self.assert_sound().await;
        (self.visible().await, self.stored_bytes())
    }
}

async fn course(write: Write) -> Course {
    let world = World::new().await;
    let ready = world.prepare(write).await;
    let before = world.settled().await;
    let calls = |world: &World| BLOB_CALLS.map(|call| world.blobs.calls(call));
    let (commits, reads, blobs) = (world.meta.commits(), world.meta.reads(), calls(&world));
    world.act(write, &ready).await.expect("nothing fails");
    // What the collection of its garbage does belongs to the write.
    world.store.collect_garbage().await.expect("a collection");
    let course = Course {
        before,
        commits: world.meta.commits() - commits,
        reads: world.meta.reads() - reads,
        blob_calls: BLOB_CALLS
            .into_iter()
            .zip(calls(&world).into_iter().zip(blobs))
            .map(|(call, (after, before))| (call, after - before))
            .collect(),
        after: world.settled().await,
    };
    assert_ne!(course.before.0, course.after.0, "{write:?} can be seen");
    course
}

/// Makes a write fail once, restarts, and looks at what is there.
async fn cut(write: Write, course: &Course, what: impl Debug, arm: impl FnOnce(&World)) {
    let mut world = World::new().await;
    let ready = world.prepare(write).await;
    arm(&world);
    let done = world.act(write, &ready).await;
    // A collection that fails is tried again.
    let _ = world.store.collect_garbage().await;
    world.meta.reopen();
    world.restart().await;
    let settled = world.settled().await;
    let context = format!("{write:?} with {what:?}: {done:?}");
    let is_after = settled == course.after;
    let is_before = settled == course.before;
    assert!(
        is_before || is_after,
        "{context}: {settled:#?} is neither {:#?} nor {:#?}",
        course.before,
        course.after
    );
    match &done {
        Ok(()) => assert!(is_after, "{context}: acknowledged, and it is not there"),
        Err(error) if error.is_certainly_not_done() => {
            assert!(is_before, "{context}: refused, and it is there");
        }
        Err(_) => {}
    }
    if is_before {
        let again = world.act(write, &ready).await;
        again.unwrap_or_else(|error| panic!("{context}: again: {error}"));
        assert!(world.settled().await == course.after, "{context}: again");
    }
}

async fn cut_everywhere(write: Write) {
    let course = course(write).await;
    for nth in 0..course.commits {
        for fault in [
            CommitFault::Unavailable,
            CommitFault::Full,
            CommitFault::Conflict,
            CommitFault::UnknownNotApplied,
            CommitFault::UnknownApplied,
        ] {
            let arm = |world: &World| world.meta.fail_commit(nth, fault);
            cut(write, &course, (nth, fault), arm).await;
        }
    }
    for nth in 0..course.reads {
        for fault in [ReadFault::Unavailable, ReadFault::Corrupt] {
            let arm = |world: &World| world.meta.fail_read(nth, fault);
            cut(write, &course, (nth, fault), arm).await;
        }
    }
    for (call, count) in &course.blob_calls {
        for nth in 0..*count {
            for fault in [
                Fault::Io,
                Fault::Full,
                Fault::OutcomeUnknown,
                Fault::Corrupt,
            ] {
                // Sealed bytes are not opened where none has the key; who reads them does that.
                if *call == Call::Read && fault == Fault::Corrupt {
                    continue;
                }
                let arm = |world: &World| world.blobs.fail(*call, nth, fault);
                cut(write, &course, (call, nth, fault), arm).await;
            }
        }
    }
}

macro_rules! cut_everywhere {
    ($($name:ident: $($write:ident),+;)+) => {
        $(
            #[tokio::test]
            async fn $name() {
                for write in [$(Write::$write),+] {
                    cut_everywhere(write).await;
                }
            }
        )+

        #[test]
        fn every_write_is_cut() {
            let cut = [$($(stringify!($write)),+),+];
            let all = Write::ALL.map(|write| format!("{write:?}"));
            assert_eq!(cut.len(), all.len());
            assert!(all.iter().all(|write| cut.contains(&write.as_str())));
        }
    };
}

cut_everywhere! {
    a_put_is_whole_or_not_there: Put, PutByCustomer, PutByKms;
    a_put_over_another_is_whole_or_not_there: PutOverOne, PutOverVersion, PutWhereVersionsEnded;
    an_upload_is_begun_or_not_there: CreateUpload;
    a_part_is_whole_or_not_there: Part, PartAgain, PartCopy;
    a_completion_is_whole_or_not_there: Complete, CompleteOne;
    a_completion_over_another_is_whole_or_not_there: CompleteOverOne, CompleteWithoutAll;
    an_abort_is_whole_or_not_there: Abort;
    a_copy_is_whole_or_not_there: Copy, CopyOverOne, CopyParts;
    a_rekeying_is_whole_or_not_there: Rekey, RekeyArchived;
    a_deletion_is_whole_or_not_there: Delete, DeleteCopied, DeleteParts, DeleteToMarker;
    a_deletion_of_a_version_is_whole_or_not_there: DeleteVersion, DeleteNoncurrent;
    a_deletion_of_an_archived_version_is_whole_or_not_there: DeleteArchived, DeleteRestored;
    a_transition_is_whole_or_not_there: Transition, TransitionPending, TransitionShared, SetWarmClass;
    a_transition_of_parts_is_whole_or_not_there: TransitionParts;
    a_restore_is_whole_or_not_there: BeginRestore, CompleteRestore, CancelRestore;
    a_restore_of_parts_is_whole_or_not_there: CompleteRestoreParts;
    an_expiry_is_whole_or_not_there: ExpireRestore, ExpireRestoreParts, ExpireObject;
    a_bucket_is_whole_or_not_there: CreateBucket, DeleteBucket;
}

/// A write whose future is dropped, as when the client goes away, at every point where it waits.
#[tokio::test]
async fn a_write_that_is_dropped_is_whole_or_not_there() {
    for write in [
        Write::Put,
        Write::Complete,
        Write::Copy,
        Write::CompleteRestore,
    ] {
        let course = course(write).await;
        for polls in 1..200_u32 {
            let mut world = World::new().await;
            let ready = world.prepare(write).await;
            let finished = {
                let mut act = std::pin::pin!(world.act(write, &ready));
                let mut left = polls;
                std::future::poll_fn(|context| {
                    let polled = act.as_mut().poll(context);
                    left -= 1;
                    match polled {
                        std::task::Poll::Ready(done) => std::task::Poll::Ready(Some(done)),
                        std::task::Poll::Pending if left == 0 => std::task::Poll::Ready(None),
                        std::task::Poll::Pending => std::task::Poll::Pending,
                    }
                })
                .await
            };
            world.restart().await;
            let settled = world.settled().await;
            assert!(
                settled == course.after || (finished.is_none() && settled == course.before),
                "{write:?} dropped after {polls}"
            );
            if finished.is_some() {
                break;
            }
        }
    }
}
