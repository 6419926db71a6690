"""SSE-S3 by default, SSE-KMS under named keys, and what the state of a key does to its objects."""

import hashlib
import uuid

import pytest
from refusals import refused


@pytest.fixture
def kms(daemon):
    return daemon.kms()


@pytest.fixture
def kms_key(kms):
    return kms.create_key()["KeyMetadata"]["KeyId"]


def test_nothing_asked_is_sse_s3_with_an_md5_etag(s3, bucket):
    put = s3.put_object(Bucket=bucket, Key="o", Body=b"content")
    assert put["ServerSideEncryption"] == "AES256"
    assert put["ETag"] == f'"{hashlib.md5(b"content").hexdigest()}"'
    got = s3.get_object(Bucket=bucket, Key="o")
    assert got["Body"].read() == b"content" and got["ServerSideEncryption"] == "AES256"


@pytest.mark.parametrize("bucket_key", [False, True])
def test_sse_kms_names_its_key_and_reads_back(s3, bucket, kms_key, bucket_key):
    put = s3.put_object(
        Bucket=bucket, Key="o", Body=b"content", ServerSideEncryption="aws:kms", SSEKMSKeyId=kms_key,
        BucketKeyEnabled=bucket_key, SSEKMSEncryptionContext="eyJwcm9qZWN0IjoidmF1bHQifQ==",
    )
    assert put["ServerSideEncryption"] == "aws:kms" and put["SSEKMSKeyId"].endswith(f"key/{kms_key}")
    got = s3.get_object(Bucket=bucket, Key="o")
    assert got["Body"].read() == b"content" and got["SSEKMSKeyId"] == put["SSEKMSKeyId"]
    assert got.get("BucketKeyEnabled", False) == bucket_key
    assert got["ETag"].strip('"') != hashlib.md5(b"content").hexdigest()


def test_an_alias_names_a_key(kms, s3, bucket, kms_key):
    alias = f"alias/{uuid.uuid4().hex}"
    kms.create_alias(AliasName=alias, TargetKeyId=kms_key)
    put = s3.put_object(Bucket=bucket, Key="o", Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId=alias)
    assert put["SSEKMSKeyId"].endswith(kms_key)


@pytest.mark.parametrize("bucket_key", [False, True])
def test_a_disabled_key_closes_its_objects_and_enabling_opens_them(kms, s3, bucket, kms_key, bucket_key):
    arguments = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key, "BucketKeyEnabled": bucket_key}
    s3.put_object(Bucket=bucket, Key="o", Body=b"x", **arguments)
    kms.disable_key(KeyId=kms_key)
    with refused(400, "KMS.DisabledException"):
        s3.get_object(Bucket=bucket, Key="o")
    with refused(400, "KMS.DisabledException"):
        s3.put_object(Bucket=bucket, Key="p", Body=b"x", **arguments)
    kms.enable_key(KeyId=kms_key)
    assert s3.get_object(Bucket=bucket, Key="o")["Body"].read() == b"x"


def test_a_key_pending_deletion_and_one_that_is_not_there(kms, s3, bucket, kms_key):
    arguments = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key}
    s3.put_object(Bucket=bucket, Key="o", Body=b"x", **arguments)
    kms.schedule_key_deletion(KeyId=kms_key, PendingWindowInDays=7)
    with refused(400, "KMS.KMSInvalidStateException"):
        s3.get_object(Bucket=bucket, Key="o")
    kms.cancel_key_deletion(KeyId=kms_key)
    kms.enable_key(KeyId=kms_key)
    assert s3.get_object(Bucket=bucket, Key="o")["Body"].read() == b"x"
    with refused(400, "KMS.NotFoundException"):
        s3.put_object(Bucket=bucket, Key="p", Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId=str(uuid.uuid4()))


def test_the_default_of_a_bucket_is_applied(s3, bucket, kms_key):
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": kms_key}, "BucketKeyEnabled": True}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    got = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert got["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms" and got["BucketKeyEnabled"]
    put = s3.put_object(Bucket=bucket, Key="o", Body=b"x")
    assert put["ServerSideEncryption"] == "aws:kms" and put["SSEKMSKeyId"].endswith(kms_key)
    s3.delete_bucket_encryption(Bucket=bucket)
    assert s3.put_object(Bucket=bucket, Key="p", Body=b"x")["ServerSideEncryption"] == "AES256"


def test_an_unknown_algorithm_and_a_key_without_kms_are_refused(s3, bucket, kms_key):
    with refused(400, "InvalidArgument"):
        s3.put_object(Bucket=bucket, Key="o", Body=b"x", ServerSideEncryption="AES256", SSEKMSKeyId=kms_key)
    with refused(400, "InvalidArgument"):
        s3.put_object(Bucket=bucket, Key="o", Body=b"x", ServerSideEncryption="aws:rot13")
    with refused(501, "NotImplemented"):
        s3.put_object(Bucket=bucket, Key="o", Body=b"x", ServerSideEncryption="aws:kms:dsse", SSEKMSKeyId=kms_key)


def test_the_ledger_knows_keys_of_versions_and_versions_of_keys(daemon, s3, versioned, kms_key, key):
    s3.put_object(Bucket=versioned, Key="o", Body=b"1", ServerSideEncryption="aws:kms", SSEKMSKeyId=kms_key, BucketKeyEnabled=True)
    s3.put_object(Bucket=versioned, Key="o", Body=b"2", **key.headers)
    s3.put_object(Bucket=versioned, Key="p", Body=b"3", **key.headers)
    versions = daemon.cli("objects", "keys", f"s3://{versioned}/o", json_output=True)["versions"]
    assert {version["protection"]["mode"] for version in versions} == {"SSE-C", "SSE-KMS"}
    customer = next(version["protection"] for version in versions if version["protection"]["mode"] == "SSE-C")
    assert key.base64 not in str(versions) and key.raw.hex() not in str(versions)
    under_customer = daemon.api("GET", f"/v1/ledger/customer-keys/{customer['fingerprint']}/versions")["versions"]
    assert {(version["bucket"], version["key"]) for version in under_customer} == {(versioned, "o"), (versioned, "p")}
    under_kms = daemon.api("GET", f"/v1/ledger/keys/{kms_key}/versions")["versions"]
    assert [(version["bucket"], version["key"]) for version in under_kms] == [(versioned, "o")]
    s3.delete_object(Bucket=versioned, Key="p", VersionId=next(v["version_id"] for v in under_customer if v["key"] == "p"))
    under_customer = daemon.api("GET", f"/v1/ledger/customer-keys/{customer['fingerprint']}/versions")["versions"]
    assert [(version["bucket"], version["key"]) for version in under_customer] == [(versioned, "o")]


@pytest.mark.parametrize("mode", ["aws:kms", "AES256"])
def test_the_token_is_hardly_asked_for_many_objects(daemon, s3, bucket, kms_key, mode):
    objects = 500

    def calls():
        """Calls of the token but for signatures, which are of checkpoints of the audit log."""
        asked, signatures = daemon.metric("strongroom_hsm_calls_total"), daemon.metric("strongroom_hsm_calls_total", function="sign")
        assert asked > signatures
        return asked - signatures

    arguments = {"ServerSideEncryption": mode}
    if mode == "aws:kms":
        arguments |= {"SSEKMSKeyId": kms_key, "BucketKeyEnabled": True}
    before = calls()
    for number in range(objects):
        s3.put_object(Bucket=bucket, Key=f"o{number}", Body=b"content", **arguments)
        assert s3.get_object(Bucket=bucket, Key=f"o{number}")["Body"].read() == b"content"
    # The bucket key is sealed once; with the answer of the token tried out, that is two calls.
    assert calls() - before <= 2
