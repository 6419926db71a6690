use http::StatusCode;
use strongroom_environment::Timestamp;
use strongroom_store::{
    ChecksumAlgorithm, ChecksumType, ETag, PartNumber, ShownVersion, StorageClass,
};

use super::*;

fn subject() -> Subject {
    Subject {
        bucket: "bucket".into(),
        key: "key".into(),
        version_id: Some("version".into()),
        upload_id: Some("upload".into()),
        range: Some("bytes=9-".into()),
        part_number: Some("7".into()),
        kms_key: Some("alias/mine".into()),
        method: "GET".into(),
    }
}

/// What AWS answers: status, code, message (its beginning) and fields.
fn check(refusal: &Refusal, status: u16, code: &str, message: &str, fields: &[(&str, &str)]) {
    assert_eq!(
        refusal.status(),
        StatusCode::from_u16(status).unwrap(),
        "{code}"
    );
    assert_eq!(refusal.code().as_str(), code);
    assert!(
        refusal.message().starts_with(message),
        "{}",
        refusal.message()
    );
    for (name, value) in fields {
        assert_eq!(refusal.value_of(name), Some(*value), "{code}.{name}");
    }
}

#[test]
fn what_is_not_there_is_told_by_name() {
    let subject = subject();
    check(
        &subject.refusal(&StoreError::NoSuchBucket),
        404,
        "NoSuchBucket",
        "The specified bucket does not exist",
        &[("BucketName", "bucket")],
    );
    check(
        &subject.refusal(&StoreError::NoSuchKey {
            delete_marker: None,
        }),
        404,
        "NoSuchKey",
        "The specified key does not exist.",
        &[("Key", "key")],
    );
    check(
        &subject.refusal(&StoreError::NoSuchVersion),
        404,
        "NoSuchVersion",
        "The specified version does not exist.",
        &[("Key", "key"), ("VersionId", "version")],
    );
    check(
        &subject.refusal(&StoreError::NoSuchUpload),
        404,
        "NoSuchUpload",
        "The specified upload does not exist.",
        &[("UploadId", "upload")],
    );
    let marker = subject.refusal(&StoreError::NoSuchKey {
        delete_marker: Some(ShownVersion::Null),
    });
    assert_eq!(marker.headers()["x-amz-delete-marker"], "true");
    assert_eq!(marker.headers()["x-amz-version-id"], "null");
    let by_name = subject.refusal(&StoreError::IsDeleteMarker {
        version: ShownVersion::Null,
        modified: Timestamp::from_seconds(0),
    });
    check(
        &by_name,
        405,
        "MethodNotAllowed",
        "The specified method is not allowed",
        &[("Method", "GET"), ("ResourceType", "DeleteMarker")],
    );
    assert_eq!(by_name.headers()["allow"], "DELETE");
    assert_eq!(
        by_name.headers()["last-modified"],
        "Thu, 01 Jan 1970 00:00:00 GMT"
    );
}

#[test]
fn customer_keys_are_refused_as_the_error_matrix_says() {
    let subject = subject();
    let key = |error| subject.refusal(&StoreError::Key(error));
    check(
        &key(KeyError::CustomerKeyRequired),
        400,
        "InvalidRequest",
        "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.",
        &[],
    );
    check(
        &key(KeyError::CustomerKeyMismatch),
        403,
        "AccessDenied",
        "Requests specifying Server Side Encryption with Customer provided keys must provide the correct secret key.",
        &[],
    );
    check(
        &key(KeyError::CustomerKeyNotApplicable),
        400,
        "InvalidRequest",
        "The encryption parameters are not applicable to this object.",
        &[],
    );
    check(
        &subject.refusal(&StoreError::PartEncryptionNotOfUpload),
        400,
        "InvalidRequest",
        "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters.",
        &[],
    );
    check(
        &subject.refusal(&StoreError::PartKeyMismatch),
        400,
        "InvalidRequest",
        "The provided encryption parameters did not match the ones used originally.",
        &[],
    );
    check(
        &subject.refusal(&StoreError::CustomerKeysBlocked),
        403,
        "AccessDenied",
        "",
        &[],
    );
}

#[test]
fn kms_keys_are_refused_by_the_name_the_client_used() {
    let subject = subject();
    check(
        &subject.key_refusal(&KeyError::NoSuchKey {
            reference: "alias/mine".parse().unwrap(),
        }),
        400,
        "KMS.NotFoundException",
        "Invalid keyId 'alias/mine'",
        &[],
    );
    check(
        &subject.key_refusal(&KeyError::InvalidReference { rule: "r" }),
        400,
        "KMS.NotFoundException",
        "Invalid keyId 'alias/mine'",
        &[],
    );
    check(
        &subject.key_refusal(&KeyError::NotAuthentic),
        500,
        "InternalError",
        "We encountered an internal error.",
        &[],
    );
}

#[test]
fn archived_objects_and_restores_are_answered_as_aws_does() {
    let subject = subject();
    check(
        &subject.refusal(&StoreError::Archived {
            class: StorageClass::DeepArchive,
        }),
        403,
        "InvalidObjectState",
        "The operation is not valid for the object's storage class",
        &[("StorageClass", "DEEP_ARCHIVE")],
    );
    check(
        &subject.refusal(&StoreError::SourceArchived {
            class: StorageClass::Glacier,
        }),
        403,
        "ObjectNotInActiveTierError",
        "The source object of the COPY",
        &[],
    );
    let lifecycle = |error| subject.lifecycle_refusal(&error);
    check(
        &lifecycle(RestoreRefusal::InProgress.into()),
        409,
        "RestoreAlreadyInProgress",
        "Object restore is already in progress",
        &[],
    );
    check(
        &lifecycle(
            RestoreRefusal::NotArchived {
                class: StorageClass::Standard,
            }
            .into(),
        ),
        403,
        "InvalidObjectState",
        "Restore is not allowed",
        &[("StorageClass", "STANDARD")],
    );
    check(
        &lifecycle(LifecycleError::ExpeditedUnavailable),
        503,
        "GlacierExpeditedRetrievalNotAvailable",
        "Glacier expedited retrievals",
        &[],
    );
    check(
        &lifecycle(LifecycleError::NoRules),
        404,
        "NoSuchLifecycleConfiguration",
        "The lifecycle configuration does not exist",
        &[("BucketName", "bucket")],
    );
    check(
        &lifecycle(RuleError::MalformedXml { reason: "r".into() }.into()),
        400,
        "MalformedXML",
        "",
        &[],
    );
    check(
        &lifecycle(
            RuleError::InvalidArgument {
                message: "'Date' must be at midnight GMT".into(),
            }
            .into(),
        ),
        400,
        "InvalidArgument",
        "'Date' must be at midnight GMT",
        &[],
    );
}

#[test]
fn ranges_parts_and_sizes_carry_their_figures() {
    let subject = subject();
    let part = PartNumber::new(3).unwrap();
    let etag = ETag::whole([0xAB; 16]);
    let range = subject.refusal(&StoreError::InvalidRange { size_bytes: 5 });
    check(
        &range,
        416,
        "InvalidRange",
        "The requested range is not satisfiable",
        &[("RangeRequested", "bytes=9-"), ("ActualObjectSize", "5")],
    );
    assert_eq!(range.headers()["content-range"], "bytes */5");
    check(
        &subject.refusal(&StoreError::NoSuchPart { part_count: 2 }),
        416,
        "InvalidPartNumber",
        "The requested partnumber is not satisfiable",
        &[("PartNumberRequested", "7"), ("ActualPartCount", "2")],
    );
    check(
        &subject.refusal(&StoreError::EntityTooLarge {
            size_bytes: 9,
            size_bytes_max: 8,
        }),
        400,
        "EntityTooLarge",
        "Your proposed upload exceeds",
        &[("ProposedSize", "9"), ("MaxSizeAllowed", "8")],
    );
    check(
        &subject.refusal(&StoreError::EntityTooSmall {
            number: part,
            etag,
            size_bytes: 1,
            size_bytes_min: 5,
        }),
        400,
        "EntityTooSmall",
        "Your proposed upload is smaller",
        &[
            ("ProposedSize", "1"),
            ("MinSizeAllowed", "5"),
            ("PartNumber", "3"),
        ],
    );
    check(
        &subject.refusal(&StoreError::InvalidPart {
            number: part,
            etag: Some(etag),
        }),
        400,
        "InvalidPart",
        "One or more of the specified parts could not be found.",
        &[
            ("UploadId", "upload"),
            ("PartNumber", "3"),
            ("ETag", &etag.to_string()),
        ],
    );
    check(
        &subject.refusal(&StoreError::InvalidPartOrder),
        400,
        "InvalidPartOrder",
        "",
        &[],
    );
    check(
        &subject.refusal(&StoreError::NoParts),
        400,
        "MalformedXML",
        "",
        &[],
    );
    check(
        &subject.refusal(&StoreError::MetadataTooLarge { len_bytes: 3000 }),
        400,
        "MetadataTooLarge",
        "Your metadata headers exceed",
        &[("Size", "3000"), ("MaxSizeAllowed", "2048")],
    );
}

#[test]
fn digests_and_bodies_are_refused_for_what_is_wrong_with_them() {
    let subject = subject();
    check(
        &subject.refusal(&StoreError::Md5Mismatch),
        400,
        "BadDigest",
        "The Content-MD5 you specified did not match what we received.",
        &[],
    );
    check(
        &subject.refusal(&StoreError::ChecksumMismatch {
            algorithm: ChecksumAlgorithm::Crc32,
        }),
        400,
        "BadDigest",
        "The CRC32 you specified did not match the calculated checksum.",
        &[],
    );
    check(
        &subject.refusal(&StoreError::ChecksumTypeNotAllowed {
            algorithm: ChecksumAlgorithm::Crc64Nvme,
            checksum_type: ChecksumType::Composite,
        }),
        400,
        "InvalidRequest",
        "The COMPOSITE checksum type cannot be used with the crc64nvme",
        &[],
    );
    check(
        &subject.refusal(&StoreError::IncompleteBody {
            declared: 2,
            received: 1,
        }),
        400,
        "IncompleteBody",
        "",
        &[],
    );
    let body = |fault: BodyFault| subject.refusal(&StoreError::Body(fault.into()));
    let sha256 = body(BodyFault::Sha256 {
        stated: [0xAA; 32],
        computed: [0xBB; 32],
    });
    check(
        &sha256,
        400,
        "XAmzContentSHA256Mismatch",
        "The provided 'x-amz-content-sha256' header",
        &[
            ("ClientComputedContentSHA256", &"aa".repeat(32)),
            ("S3ComputedContentSHA256", &"bb".repeat(32)),
        ],
    );
    check(
        &body(BodyFault::Signature),
        403,
        "SignatureDoesNotMatch",
        "",
        &[],
    );
    check(
        &body(BodyFault::Trailer),
        400,
        "MalformedTrailerError",
        "",
        &[],
    );
    check(&body(BodyFault::Framing), 400, "InvalidRequest", "", &[]);
    check(&body(BodyFault::Incomplete), 400, "IncompleteBody", "", &[]);
    check(
        &body_refusal(&BodyError::Timeout),
        400,
        "RequestTimeout",
        "",
        &[],
    );
    check(
        &content_md5("nonsense").unwrap_err(),
        400,
        "InvalidDigest",
        "The Content-MD5 you specified was invalid.",
        &[("Content-MD5", "nonsense")],
    );
}

#[test]
fn conditions_are_answered_without_a_word_too_many() {
    let subject = subject();
    check(
        &subject.refusal(&StoreError::PreconditionFailed {
            condition: "If-Match",
        }),
        412,
        "PreconditionFailed",
        "At least one of the pre-conditions",
        &[("Condition", "If-Match")],
    );
    let unchanged = subject.refusal(&StoreError::NotModified {
        etag: ETag::whole([0xAB; 16]),
        modified: Timestamp::from_seconds(0),
        version: Some(ShownVersion::Null),
    });
    assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(
        unchanged.headers()["etag"],
        format!("\"{}\"", "ab".repeat(16)).as_str()
    );
    assert_eq!(unchanged.headers()["x-amz-version-id"], "null");
}

#[test]
fn what_fails_on_our_side_says_nothing_of_why_and_whether_it_is_done() {
    let subject = subject();
    let secret = "row 17 of /data";
    for (error, status) in [
        (
            StoreError::Damaged {
                what: secret.into(),
            },
            500,
        ),
        (
            StoreError::Unavailable {
                reason: secret.into(),
            },
            503,
        ),
        (
            StoreError::OutcomeUnknown {
                reason: secret.into(),
            },
            500,
        ),
        (StoreError::Contended, 503),
        (StoreError::Full, 507),
    ] {
        let refusal = subject.refusal(&error);
        assert_eq!(refusal.status().as_u16(), status);
        assert!(!format!("{refusal:?}").contains(secret));
    }
}

#[test]
fn names_are_refused_by_what_is_wrong_with_them() {
    use strongroom_store::{BucketName, ObjectKey, UploadId, VersionSelector};
    check(
        &name_refusal(&BucketName::new("No").unwrap_err(), "No"),
        400,
        "InvalidBucketName",
        "The specified bucket is not valid.",
        &[("BucketName", "No")],
    );
    check(
        &name_refusal(&ObjectKey::new("k".repeat(1025)).unwrap_err(), "k"),
        400,
        "KeyTooLongError",
        "Your key is too long",
        &[("Size", "1025"), ("MaxSizeAllowed", "1024")],
    );
    check(
        &name_refusal(&VersionSelector::parse(Some("x")).unwrap_err(), "x"),
        400,
        "InvalidArgument",
        "Invalid version id specified",
        &[("ArgumentName", "versionId"), ("ArgumentValue", "x")],
    );
    check(
        &name_refusal(&UploadId::parse("x").unwrap_err(), "x"),
        404,
        "NoSuchUpload",
        "The specified upload does not exist.",
        &[("UploadId", "x")],
    );
}
