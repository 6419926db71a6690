"""COPY: with old and new key it re-keys, and no byte of payload moves.

Goal: every pair of encryption modes copies, the old key opens nothing of the new version, and the
payload counters of the daemon stand still.
"""

import hashlib

import pytest
from daemon import CustomerKey
from refusals import refused


def moved(daemon):
    return [daemon.metric(f"strongroom_payload_{way}_bytes_total") for way in ("read", "written")]


@pytest.mark.parametrize("size", [1024, 40 << 20])
def test_a_copy_with_old_and_new_key_moves_no_payload_byte(daemon, s3, bucket, key, other_key, size):
    content = hashlib.shake_128(b"payload").digest(size)
    s3.put_object(Bucket=bucket, Key="o", Body=content, **key.headers)
    before = moved(daemon)
    copied = s3.copy_object(
        Bucket=bucket, Key="o", CopySource={"Bucket": bucket, "Key": "o"}, **key.source_headers, **other_key.headers
    )
    assert moved(daemon) == before
    assert copied["SSECustomerKeyMD5"] == other_key.md5
    with refused(403, "AccessDenied"):
        s3.get_object(Bucket=bucket, Key="o", **key.headers)
    assert s3.get_object(Bucket=bucket, Key="o", **other_key.headers)["Body"].read() == content


@pytest.mark.slow
def test_a_gibibyte_is_rekeyed_without_moving(daemon, s3, bucket, key, other_key, tmp_path):
    large = tmp_path / "large"
    with open(large, "wb") as file:
        file.truncate(1 << 30)
    with open(large, "rb") as body:
        s3.put_object(Bucket=bucket, Key="large", Body=body, **key.headers)
    before = moved(daemon)
    s3.copy_object(
        Bucket=bucket, Key="large", CopySource={"Bucket": bucket, "Key": "large"}, **key.source_headers, **other_key.headers
    )
    assert moved(daemon) == before
    last = s3.get_object(Bucket=bucket, Key="large", Range="bytes=1073741800-", **other_key.headers)["Body"].read()
    assert last == bytes(24)
    s3.delete_object(Bucket=bucket, Key="large")


def modes(daemon):
    kms_key = daemon.ready["default_kms_key_id"]
    customer = CustomerKey()
    return {
        "SSE-C": (customer.headers, customer.headers, customer.source_headers),
        "SSE-S3": ({"ServerSideEncryption": "AES256"}, {}, {}),
        "SSE-KMS": ({"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key}, {}, {}),
        "SSE-KMS with bucket key": (
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key, "BucketKeyEnabled": True}, {}, {},
        ),
    }


@pytest.mark.parametrize("source", ["SSE-C", "SSE-S3", "SSE-KMS", "SSE-KMS with bucket key"])
@pytest.mark.parametrize("destination", ["SSE-C", "SSE-S3", "SSE-KMS", "SSE-KMS with bucket key"])
def test_every_pair_of_modes_copies(daemon, s3, bucket, source, destination):
    write, read, copy_from = modes(daemon)[source]
    rewrite, reread, _ = modes(daemon)[destination]
    content = b"copied from mode to mode" * 1000
    s3.put_object(Bucket=bucket, Key="from", Body=content, **write)
    before = moved(daemon)
    s3.copy_object(Bucket=bucket, Key="to", CopySource={"Bucket": bucket, "Key": "from"}, **copy_from, **rewrite)
    assert moved(daemon) == before
    assert s3.get_object(Bucket=bucket, Key="to", **reread)["Body"].read() == content
    s3.delete_object(Bucket=bucket, Key="from")
    assert s3.get_object(Bucket=bucket, Key="to", **reread)["Body"].read() == content, "the copy outlives its source"


def test_a_copy_that_asks_for_nothing_is_sse_s3(s3, bucket, key):
    s3.put_object(Bucket=bucket, Key="from", Body=b"x", **key.headers)
    s3.copy_object(Bucket=bucket, Key="to", CopySource={"Bucket": bucket, "Key": "from"}, **key.source_headers)
    got = s3.get_object(Bucket=bucket, Key="to")
    assert got["Body"].read() == b"x" and got["ServerSideEncryption"] == "AES256"


def test_a_copy_with_a_wrong_source_key_is_refused_and_makes_nothing(s3, bucket, key, other_key):
    s3.put_object(Bucket=bucket, Key="from", Body=b"x", **key.headers)
    with refused(403, "AccessDenied"):
        s3.copy_object(
            Bucket=bucket, Key="to", CopySource={"Bucket": bucket, "Key": "from"}, **other_key.source_headers, **key.headers
        )
    with refused(404, "NoSuchKey"):
        s3.get_object(Bucket=bucket, Key="to", **key.headers)


def test_metadata_is_copied_or_replaced_as_asked(s3, bucket):
    s3.put_object(Bucket=bucket, Key="o", Body=b"x", Metadata={"a": "1"}, ContentType="text/x", CacheControl="no-store")
    source = {"Bucket": bucket, "Key": "o"}
    s3.copy_object(Bucket=bucket, Key="copied", CopySource=source)
    copied = s3.head_object(Bucket=bucket, Key="copied")
    assert (copied["Metadata"], copied["ContentType"], copied["CacheControl"]) == ({"a": "1"}, "text/x", "no-store")
    s3.copy_object(Bucket=bucket, Key="o", CopySource=source, MetadataDirective="REPLACE", Metadata={"b": "2"})
    replaced = s3.head_object(Bucket=bucket, Key="o")
    assert replaced["Metadata"] == {"b": "2"} and "CacheControl" not in replaced


def test_a_copy_onto_itself_that_changes_nothing_is_refused(s3, bucket):
    s3.put_object(Bucket=bucket, Key="o", Body=b"x")
    with refused(400, "InvalidRequest"):
        s3.copy_object(Bucket=bucket, Key="o", CopySource={"Bucket": bucket, "Key": "o"})


def test_the_conditions_of_a_copy_are_checked(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="o", Body=b"x")["ETag"]
    source = {"Bucket": bucket, "Key": "o"}
    s3.copy_object(Bucket=bucket, Key="yes", CopySource=source, CopySourceIfMatch=etag)
    with refused(412, "PreconditionFailed"):
        s3.copy_object(Bucket=bucket, Key="no", CopySource=source, CopySourceIfNoneMatch=etag)
