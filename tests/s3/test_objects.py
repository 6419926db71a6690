"""Buckets, versions, listings, metadata, conditions and checksums: what every client relies on."""

import base64
import hashlib
import urllib.request
import zlib

import pytest
from refusals import refused
from wire import Wire


def test_buckets_are_made_listed_and_removed(s3, bucket):
    assert bucket in [found["Name"] for found in s3.list_buckets()["Buckets"]]
    s3.head_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="o", Body=b"x")
    with refused(409, "BucketNotEmpty"):
        s3.delete_bucket(Bucket=bucket)
    s3.delete_object(Bucket=bucket, Key="o")
    s3.delete_bucket(Bucket=bucket)
    with refused(404, "404"):
        s3.head_bucket(Bucket=bucket)
    with refused(404, "NoSuchBucket"):
        s3.get_object(Bucket=bucket, Key="o")


@pytest.mark.parametrize("name", ["ab", "Upper", "a..b", "192.168.0.1", "-a-b", "x" * 64])
def test_a_bucket_name_that_s3_refuses_is_refused(daemon, name):
    answer = Wire(daemon).send("PUT", f"/{name}")
    assert (answer.status, answer.error("Code")) == (400, "InvalidBucketName"), answer.text


def test_metadata_and_headers_come_back(s3, bucket):
    s3.put_object(
        Bucket=bucket, Key="o", Body=b"x", Metadata={"colour": "blue"}, ContentType="text/plain", CacheControl="no-cache",
        ContentDisposition="attachment", ContentEncoding="identity", ContentLanguage="en",
    )
    head = s3.head_object(Bucket=bucket, Key="o")
    assert head["Metadata"] == {"colour": "blue"}
    assert (head["ContentType"], head["CacheControl"], head["ContentLanguage"]) == ("text/plain", "no-cache", "en")
    got = s3.get_object(Bucket=bucket, Key="o", ResponseContentType="text/other")
    assert got["ContentType"] == "text/other"


@pytest.mark.parametrize("name", ["a b", "ä/ö/ü", "a+b&c=d?e", "%41", "日本", "a//b", "x" * 1024, "quote'\"<>"])
def test_names_of_every_kind_are_kept(s3, bucket, name):
    s3.put_object(Bucket=bucket, Key=name, Body=name.encode())
    assert s3.get_object(Bucket=bucket, Key=name)["Body"].read() == name.encode()
    assert [found["Key"] for found in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [name]
    s3.delete_object(Bucket=bucket, Key=name)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_a_name_that_is_too_long_is_refused(s3, bucket):
    with refused(400, "KeyTooLongError"):
        s3.put_object(Bucket=bucket, Key="x" * 1025, Body=b"")


def test_listings_page_and_group(s3, bucket):
    names = sorted([f"a/{number:03}" for number in range(25)] + ["b", "c/d/e", "c/f", "z"])
    for name in names:
        s3.put_object(Bucket=bucket, Key=name, Body=b"")
    for operation, token in (("list_objects_v2", "NextContinuationToken"), ("list_objects", None)):
        pages = s3.get_paginator(operation).paginate(Bucket=bucket, PaginationConfig={"PageSize": 7})
        assert [found["Key"] for page in pages for found in page.get("Contents", [])] == names
    grouped = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert [prefix["Prefix"] for prefix in grouped["CommonPrefixes"]] == ["a/", "c/"]
    assert [found["Key"] for found in grouped["Contents"]] == ["b", "z"]
    paged = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": 1})
    found = [entry.get("Prefix") or entry.get("Key") for page in paged for entry in page.get("CommonPrefixes", []) + page.get("Contents", [])]
    assert sorted(found) == ["a/", "b", "c/", "z"]
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket, Prefix="c/")["Contents"]] == ["c/d/e", "c/f"]
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket, StartAfter="b")["Contents"]] == ["c/d/e", "c/f", "z"]


def test_versions_markers_and_their_listing(s3, versioned):
    first = s3.put_object(Bucket=versioned, Key="o", Body=b"1")["VersionId"]
    second = s3.put_object(Bucket=versioned, Key="o", Body=b"2")["VersionId"]
    marker = s3.delete_object(Bucket=versioned, Key="o")
    assert marker["DeleteMarker"] is True
    with refused(404, "NoSuchKey"):
        s3.get_object(Bucket=versioned, Key="o")
    with refused(405, "MethodNotAllowed"):
        s3.get_object(Bucket=versioned, Key="o", VersionId=marker["VersionId"])
    listed = s3.list_object_versions(Bucket=versioned)
    assert [version["VersionId"] for version in listed["Versions"]] == [second, first]
    assert listed["DeleteMarkers"][0]["VersionId"] == marker["VersionId"] and listed["DeleteMarkers"][0]["IsLatest"]
    s3.delete_object(Bucket=versioned, Key="o", VersionId=marker["VersionId"])
    assert s3.get_object(Bucket=versioned, Key="o")["Body"].read() == b"2"
    s3.delete_object(Bucket=versioned, Key="o", VersionId=second)
    assert s3.get_object(Bucket=versioned, Key="o")["Body"].read() == b"1"
    with refused(404, "NoSuchVersion"):
        s3.get_object(Bucket=versioned, Key="o", VersionId=second)
    with refused(400, "InvalidArgument"):
        s3.get_object(Bucket=versioned, Key="o", VersionId="not a version")


def test_suspended_versioning_writes_the_null_version(s3, versioned):
    kept = s3.put_object(Bucket=versioned, Key="o", Body=b"kept")["VersionId"]
    s3.put_bucket_versioning(Bucket=versioned, VersioningConfiguration={"Status": "Suspended"})
    s3.put_object(Bucket=versioned, Key="o", Body=b"null one")
    s3.put_object(Bucket=versioned, Key="o", Body=b"null two")
    assert [version["VersionId"] for version in s3.list_object_versions(Bucket=versioned)["Versions"]] == ["null", kept]
    assert s3.get_object(Bucket=versioned, Key="o", VersionId="null")["Body"].read() == b"null two"
    assert s3.get_object(Bucket=versioned, Key="o", VersionId=kept)["Body"].read() == b"kept"


def test_many_are_deleted_at_once(s3, bucket):
    for number in range(5):
        s3.put_object(Bucket=bucket, Key=f"o{number}", Body=b"")
    gone = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": f"o{number}"} for number in range(4)] + [{"Key": "never"}]})
    assert len(gone["Deleted"]) == 5 and "Errors" not in gone
    assert [found["Key"] for found in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["o4"]


def test_conditions_of_reading(s3, bucket):
    put = s3.put_object(Bucket=bucket, Key="o", Body=b"x")
    modified = s3.head_object(Bucket=bucket, Key="o")["LastModified"]
    s3.get_object(Bucket=bucket, Key="o", IfMatch=put["ETag"])
    for code, status, condition in (
        ("PreconditionFailed", 412, {"IfMatch": '"other"'}),
        ("304", 304, {"IfNoneMatch": put["ETag"]}),
        ("304", 304, {"IfModifiedSince": modified}),
    ):
        with refused(status, code):
            s3.get_object(Bucket=bucket, Key="o", **condition)


def test_conditions_of_writing(s3, bucket):
    put = s3.put_object(Bucket=bucket, Key="o", Body=b"x", IfNoneMatch="*")
    with refused(412, "PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="o", Body=b"y", IfNoneMatch="*")
    with refused(412, "PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="o", Body=b"y", IfMatch='"other"')
    s3.put_object(Bucket=bucket, Key="o", Body=b"y", IfMatch=put["ETag"])
    with refused(404, "NoSuchKey"):
        s3.put_object(Bucket=bucket, Key="never", Body=b"y", IfMatch=put["ETag"])


def test_checksums_and_md5_are_checked_and_kept(s3, bucket, key):
    md5 = base64.b64encode(hashlib.md5(b"content").digest()).decode()
    s3.put_object(Bucket=bucket, Key="o", Body=b"content", ContentMD5=md5)
    with refused(400, "BadDigest"):
        s3.put_object(Bucket=bucket, Key="o", Body=b"other", ContentMD5=md5)
    with refused(400, "InvalidDigest"):
        s3.put_object(Bucket=bucket, Key="o", Body=b"content", ContentMD5="AAAA")
    crc = base64.b64encode(zlib.crc32(b"content").to_bytes(4, "big")).decode()
    for encryption in ({}, key.headers):
        s3.put_object(Bucket=bucket, Key="o", Body=b"content", ChecksumCRC32=crc, **encryption)
        assert s3.head_object(Bucket=bucket, Key="o", ChecksumMode="ENABLED", **encryption)["ChecksumCRC32"] == crc
    with refused(400, "BadDigest"):
        s3.put_object(Bucket=bucket, Key="o", Body=b"other", ChecksumCRC32=crc)
    sha = base64.b64encode(hashlib.sha256(b"content").digest()).decode()
    put = s3.put_object(Bucket=bucket, Key="o", Body=b"content", ChecksumAlgorithm="SHA256")
    assert put["ChecksumSHA256"] == sha


def test_presigned_urls_work_and_expire_as_signed(s3, bucket):
    url = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "o"}, ExpiresIn=60)
    urllib.request.urlopen(urllib.request.Request(url, data=b"by url", method="PUT")).close()
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "o"}, ExpiresIn=60)
    assert urllib.request.urlopen(url).read() == b"by url"
    with pytest.raises(urllib.request.HTTPError) as refusal:
        urllib.request.urlopen(url.replace("X-Amz-Expires=60", "X-Amz-Expires=61"))
    assert refusal.value.code == 403


def test_a_presigned_get_of_a_customer_key_object_takes_the_key_as_headers(s3, bucket, key):
    s3.put_object(Bucket=bucket, Key="o", Body=b"x", **key.headers)
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "o", "SSECustomerAlgorithm": "AES256", "SSECustomerKey": key.raw})
    headers = {
        "x-amz-server-side-encryption-customer-algorithm": "AES256",
        "x-amz-server-side-encryption-customer-key": key.base64,
        "x-amz-server-side-encryption-customer-key-MD5": key.md5,
    }
    assert urllib.request.urlopen(urllib.request.Request(url, headers=headers)).read() == b"x"


def test_a_body_in_signed_chunks_with_a_trailer_arrives(daemon, bucket):
    # Over plain HTTP botocore frames a body with a trailing checksum as aws-chunked.
    s3 = daemon.s3(request_checksum_calculation="when_required")
    body = b"z" * 300_000
    s3.put_object(Bucket=bucket, Key="o", Body=body, ChecksumAlgorithm="SHA256")
    assert s3.get_object(Bucket=bucket, Key="o")["Body"].read() == body


def test_what_is_not_implemented_says_so(s3, bucket):
    for call in (
        lambda: s3.put_object_tagging(Bucket=bucket, Key="o", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]}),
        lambda: s3.put_bucket_policy(Bucket=bucket, Policy="{}"),
        lambda: s3.put_object(Bucket=bucket, Key="o", Body=b"", Tagging="a=b"),
        lambda: s3.put_object(Bucket=bucket, Key="o", Body=b"", ACL="public-read"),
        lambda: s3.put_object(Bucket=bucket, Key="o", Body=b"", ObjectLockLegalHoldStatus="ON"),
        lambda: s3.put_bucket_replication(Bucket=bucket, ReplicationConfiguration={"Role": "r", "Rules": [{"Status": "Enabled", "Destination": {"Bucket": "arn:aws:s3:::x"}}]}),
    ):
        with refused(501, "NotImplemented"):
            call()
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
