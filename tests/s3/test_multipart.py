"""Multipart uploads under every encryption mode."""

import hashlib

import pytest
from daemon import CustomerKey
from refusals import refused

MIB = 1 << 20


def upload(s3, bucket, name, parts, *, create=None, part=None, complete=None):
    """A whole upload; gives the answer to CompleteMultipartUpload."""
    begun = s3.create_multipart_upload(Bucket=bucket, Key=name, **(create or {}))
    where = {"Bucket": bucket, "Key": name, "UploadId": begun["UploadId"]}
    done = []
    for number, body in enumerate(parts, 1):
        put = s3.upload_part(**where, PartNumber=number, Body=body, **(part or {}))
        done.append({"PartNumber": number, "ETag": put["ETag"]})
    return s3.complete_multipart_upload(**where, MultipartUpload={"Parts": done}, **(complete or {}))


@pytest.fixture
def parts():
    return [hashlib.shake_128(bytes([number])).digest(size) for number, size in enumerate((5 * MIB, 6 * MIB + 7, 12345))]


def modes(daemon):
    customer = CustomerKey()
    kms = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": daemon.ready["default_kms_key_id"]}
    return {
        "SSE-C": (customer.headers, customer.headers),
        "SSE-S3": ({}, {}),
        "SSE-KMS": (kms, {}),
        "bucket key": ({**kms, "BucketKeyEnabled": True}, {}),
    }


@pytest.mark.parametrize("mode", ["SSE-C", "SSE-S3", "SSE-KMS", "bucket key"])
def test_parts_become_one_object(daemon, s3, bucket, parts, mode):
    create, part = modes(daemon)[mode]
    done = upload(s3, bucket, "o", parts, create=create, part=part)
    assert done["ETag"].strip('"').endswith("-3")
    whole = b"".join(parts)
    got = s3.get_object(Bucket=bucket, Key="o", **part)
    assert got["Body"].read() == whole and got["ETag"] == done["ETag"]
    border = 5 * MIB
    for first, last in ((border - 3, border + 3), (0, len(whole) - 1), (border + 6 * MIB, len(whole) - 1), (1, border + 6 * MIB + 10)):
        ranged = s3.get_object(Bucket=bucket, Key="o", Range=f"bytes={first}-{last}", **part)
        assert ranged["Body"].read() == whole[first : last + 1]
    second = s3.get_object(Bucket=bucket, Key="o", PartNumber=2, **part)
    assert second["Body"].read() == parts[1] and second["PartsCount"] == 3


def test_a_part_sent_again_replaces_the_first_and_only_listed_parts_count(s3, bucket, key, parts):
    begun = s3.create_multipart_upload(Bucket=bucket, Key="o", **key.headers)
    where = {"Bucket": bucket, "Key": "o", "UploadId": begun["UploadId"]}
    stale = s3.upload_part(**where, PartNumber=1, Body=parts[1], **key.headers)
    first = s3.upload_part(**where, PartNumber=1, Body=parts[0], **key.headers)
    s3.upload_part(**where, PartNumber=2, Body=parts[1], **key.headers)
    last = s3.upload_part(**where, PartNumber=7, Body=parts[2], **key.headers)
    listed = s3.list_parts(**where)["Parts"]
    assert [(part["PartNumber"], part["Size"]) for part in listed] == [(1, len(parts[0])), (2, len(parts[1])), (7, len(parts[2]))]
    with refused(400, "InvalidPart"):
        s3.complete_multipart_upload(**where, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": stale["ETag"]}]})
    # CompleteMultipartUpload needs no key.
    s3.complete_multipart_upload(
        **where, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": first["ETag"]}, {"PartNumber": 7, "ETag": last["ETag"]}]}
    )
    assert s3.get_object(Bucket=bucket, Key="o", **key.headers)["Body"].read() == parts[0] + parts[2]


def test_every_part_must_carry_the_key_of_the_upload(s3, bucket, key, other_key):
    begun = s3.create_multipart_upload(Bucket=bucket, Key="o", **key.headers)
    where = {"Bucket": bucket, "Key": "o", "UploadId": begun["UploadId"], "PartNumber": 1, "Body": b"x"}
    message = "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters."
    with refused(400, "InvalidRequest", Message=message):
        s3.upload_part(**where)
    with refused(400, "InvalidRequest", Message="The provided encryption parameters did not match the ones used originally."):
        s3.upload_part(**where, **other_key.headers)
    plain = s3.create_multipart_upload(Bucket=bucket, Key="plain")
    with refused(400, "InvalidRequest", Message=message):
        s3.upload_part(Bucket=bucket, Key="plain", UploadId=plain["UploadId"], PartNumber=1, Body=b"x", **key.headers)


def test_what_is_wrong_with_a_completion_is_told(s3, bucket, parts):
    begun = s3.create_multipart_upload(Bucket=bucket, Key="o")
    where = {"Bucket": bucket, "Key": "o", "UploadId": begun["UploadId"]}
    small = s3.upload_part(**where, PartNumber=1, Body=b"small")["ETag"]
    other = s3.upload_part(**where, PartNumber=2, Body=b"last")["ETag"]
    complete = s3.complete_multipart_upload
    both = [{"PartNumber": 1, "ETag": small}, {"PartNumber": 2, "ETag": other}]
    with refused(400, "EntityTooSmall"):
        complete(**where, MultipartUpload={"Parts": both})
    with refused(400, "InvalidPartOrder"):
        complete(**where, MultipartUpload={"Parts": both[::-1]})
    with refused(400, "InvalidPart"):
        complete(**where, MultipartUpload={"Parts": [{"PartNumber": 3, "ETag": small}]})
    with refused(400, "MalformedXML"):
        complete(**where, MultipartUpload={"Parts": []})
    with refused(404, "NoSuchKey"):
        s3.get_object(Bucket=bucket, Key="o")
    with refused(404, "NoSuchUpload"):
        complete(Bucket=bucket, Key="o", UploadId="nothing", MultipartUpload={"Parts": both})
    for number in (0, 10001):
        with refused(400, "InvalidArgument"):
            s3.upload_part(**where, PartNumber=number, Body=b"x")


def test_an_aborted_upload_is_gone(s3, bucket, parts):
    begun = s3.create_multipart_upload(Bucket=bucket, Key="o")
    where = {"Bucket": bucket, "Key": "o", "UploadId": begun["UploadId"]}
    s3.upload_part(**where, PartNumber=1, Body=parts[0])
    assert [found["UploadId"] for found in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == [begun["UploadId"]]
    s3.abort_multipart_upload(**where)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    with refused(404, "NoSuchUpload"):
        s3.upload_part(**where, PartNumber=1, Body=b"x")


def test_a_part_is_copied_from_another_object_and_key(s3, bucket, key, other_key, parts):
    s3.put_object(Bucket=bucket, Key="source", Body=parts[1], **key.headers)
    begun = s3.create_multipart_upload(Bucket=bucket, Key="o", **other_key.headers)
    where = {"Bucket": bucket, "Key": "o", "UploadId": begun["UploadId"]}
    copied = s3.upload_part_copy(
        **where, PartNumber=1, CopySource={"Bucket": bucket, "Key": "source"}, CopySourceRange=f"bytes=7-{5 * MIB + 6}",
        **key.source_headers, **other_key.headers,
    )
    last = s3.upload_part(**where, PartNumber=2, Body=b"end", **other_key.headers)
    s3.complete_multipart_upload(
        **where, MultipartUpload={"Parts": [
            {"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"]}, {"PartNumber": 2, "ETag": last["ETag"]},
        ]},
    )
    assert s3.get_object(Bucket=bucket, Key="o", **other_key.headers)["Body"].read() == parts[1][7 : 5 * MIB + 7] + b"end"


def test_a_multipart_object_is_rekeyed_without_moving(daemon, s3, bucket, key, other_key, parts):
    upload(s3, bucket, "o", parts, create=key.headers, part=key.headers)
    before = [daemon.metric(f"strongroom_payload_{way}_bytes_total") for way in ("read", "written")]
    s3.copy_object(Bucket=bucket, Key="o", CopySource={"Bucket": bucket, "Key": "o"}, **key.source_headers, **other_key.headers)
    assert [daemon.metric(f"strongroom_payload_{way}_bytes_total") for way in ("read", "written")] == before
    assert s3.get_object(Bucket=bucket, Key="o", **other_key.headers)["Body"].read() == b"".join(parts)


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_checksums_go_through_a_multipart_upload(s3, bucket, parts, algorithm):
    if algorithm in ("CRC32C", "CRC64NVME"):
        pytest.importorskip("awscrt", reason="botocore computes this one only with awscrt")
    begun = s3.create_multipart_upload(Bucket=bucket, Key="o", ChecksumAlgorithm=algorithm)
    where = {"Bucket": bucket, "Key": "o", "UploadId": begun["UploadId"]}
    done = []
    for number, body in enumerate(parts, 1):
        put = s3.upload_part(**where, PartNumber=number, Body=body, ChecksumAlgorithm=algorithm)
        done.append({"PartNumber": number, "ETag": put["ETag"], f"Checksum{algorithm}": put[f"Checksum{algorithm}"]})
    complete = s3.complete_multipart_upload(**where, MultipartUpload={"Parts": done})
    head = s3.head_object(Bucket=bucket, Key="o", ChecksumMode="ENABLED")
    assert head[f"Checksum{algorithm}"] == complete[f"Checksum{algorithm}"]
