"""SSE-C: one key a request, checked, never kept, and AWS's own error for each thing that is wrong.

Goal: the error table of S3 for customer keys, and that no byte leaves without the right key.
Method: boto3 against a running daemon, and bare HTTP where boto3 would not send what is wrong.
"""

import base64
import hashlib

import pytest
from refusals import refused
from wire import Wire

MISSING = "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object."
WRONG = "Requests specifying Server Side Encryption with Customer provided keys must provide the correct secret key."


@pytest.fixture
def stored(s3, bucket, key):
    """An object under `key`."""
    content = bytes(range(256)) * 300
    s3.put_object(Bucket=bucket, Key="o", Body=content, **key.headers)
    return content


def test_put_echoes_algorithm_and_md5_and_get_gives_the_object(s3, bucket, key):
    put = s3.put_object(Bucket=bucket, Key="o", Body=b"content", **key.headers)
    assert (put["SSECustomerAlgorithm"], put["SSECustomerKeyMD5"]) == ("AES256", key.md5)
    assert "ServerSideEncryption" not in put
    assert put["ETag"].strip('"') != hashlib.md5(b"content").hexdigest()
    got = s3.get_object(Bucket=bucket, Key="o", **key.headers)
    assert got["Body"].read() == b"content"
    assert (got["SSECustomerAlgorithm"], got["SSECustomerKeyMD5"]) == ("AES256", key.md5)
    assert got["ETag"] == put["ETag"] and got["ContentLength"] == 7


@pytest.mark.parametrize("size", [0, 1, 16383, 16384, 16385, 32768, 1 << 20, (1 << 20) + 1, 5_000_003])
def test_sizes_around_the_chunk_and_the_buffer_come_back(s3, bucket, key, size):
    content = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    s3.put_object(Bucket=bucket, Key="o", Body=content, **key.headers)
    assert s3.get_object(Bucket=bucket, Key="o", **key.headers)["Body"].read() == content
    assert s3.head_object(Bucket=bucket, Key="o", **key.headers)["ContentLength"] == size


@pytest.mark.parametrize(
    "spec, first, last",
    [("0-0", 0, 0), ("16380-16390", 16380, 16390), ("16384-", 16384, 76799), ("-5", 76795, 76799), ("70000-99999999", 70000, 76799)],
)
def test_ranges_are_answered_with_206_and_the_right_bytes(s3, bucket, key, stored, spec, first, last):
    got = s3.get_object(Bucket=bucket, Key="o", Range=f"bytes={spec}", **key.headers)
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert got["ContentRange"] == f"bytes {first}-{last}/{len(stored)}"
    assert got["Body"].read() == stored[first : last + 1]


def test_a_range_past_the_end_is_416(s3, bucket, key, stored):
    with refused(416, "InvalidRange"):
        s3.get_object(Bucket=bucket, Key="o", Range="bytes=99999999-", **key.headers)


def test_without_the_key_nothing_is_read(s3, bucket, stored):
    with refused(400, "InvalidRequest", Message=MISSING):
        s3.get_object(Bucket=bucket, Key="o")
    with refused(400, "400"):
        s3.head_object(Bucket=bucket, Key="o")
    with refused(400, "InvalidRequest", Message=MISSING):
        s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "o"})


def test_a_wrong_key_is_403_and_says_nothing(s3, bucket, stored, other_key):
    with refused(403, "AccessDenied", Message=WRONG):
        s3.get_object(Bucket=bucket, Key="o", **other_key.headers)
    with refused(403, "403"):
        s3.head_object(Bucket=bucket, Key="o", **other_key.headers)


def test_a_key_for_an_object_that_has_none_is_refused(s3, bucket, key):
    s3.put_object(Bucket=bucket, Key="plain", Body=b"x")
    with refused(400, "InvalidRequest", Message="The encryption parameters are not applicable to this object."):
        s3.get_object(Bucket=bucket, Key="plain", **key.headers)


def test_delete_needs_no_key(s3, bucket, stored):
    assert s3.delete_object(Bucket=bucket, Key="o")["ResponseMetadata"]["HTTPStatusCode"] == 204
    with refused(404, "NoSuchKey"):
        s3.get_object(Bucket=bucket, Key="o")


PREFIX = "x-amz-server-side-encryption-customer-"
RAW = bytes(32)
KEY = base64.b64encode(RAW).decode()
MD5 = base64.b64encode(hashlib.md5(RAW).digest()).decode()


@pytest.mark.parametrize(
    "headers, code, message",
    [
        ({"algorithm": "AES128", "key": KEY, "key-md5": MD5}, "InvalidEncryptionAlgorithmError", "The Encryption request you specified is not valid. Supported value: AES256."),
        ({"key": KEY, "key-md5": MD5}, "InvalidArgument", "Requests specifying Server Side Encryption with Customer provided keys must provide a valid encryption algorithm."),
        ({"algorithm": "AES256", "key-md5": MD5}, "InvalidArgument", "Requests specifying Server Side Encryption with Customer provided keys must provide an appropriate secret key."),
        ({"algorithm": "AES256", "key": KEY}, "InvalidArgument", "Requests specifying Server Side Encryption with Customer provided keys must provide the client calculated MD5 of the secret key."),
        ({"algorithm": "AES256", "key": base64.b64encode(bytes(16)).decode(), "key-md5": base64.b64encode(hashlib.md5(bytes(16)).digest()).decode()}, "InvalidArgument", "The secret key was invalid for the specified algorithm."),
        ({"algorithm": "AES256", "key": "not base64!", "key-md5": MD5}, "InvalidArgument", "The secret key was invalid for the specified algorithm."),
        ({"algorithm": "AES256", "key": KEY, "key-md5": base64.b64encode(bytes(16)).decode()}, "InvalidArgument", "The calculated MD5 hash of the key did not match the hash that was provided."),
    ],
)
def test_malformed_parameters_get_awss_error_and_store_nothing(daemon, s3, bucket, headers, code, message):
    wire = Wire(daemon)
    answer = wire.send("PUT", f"/{bucket}/o", {PREFIX + name: value for name, value in headers.items()}, b"content")
    assert (answer.status, answer.error("Code")) == (400, code), answer.text
    assert answer.error("Message") == message
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_a_customer_key_and_managed_encryption_exclude_each_other(daemon, bucket):
    headers = {PREFIX + "algorithm": "AES256", PREFIX + "key": KEY, PREFIX + "key-md5": MD5}
    answer = Wire(daemon).send("PUT", f"/{bucket}/o", {**headers, "x-amz-server-side-encryption": "AES256"}, b"x")
    assert (answer.status, answer.error("Code")) == (400, "InvalidArgument")
    assert answer.error("Message") == "Server Side Encryption with Customer provided key is incompatible with the encryption method specified"


def test_versions_open_with_their_own_key_only(s3, versioned, key, other_key):
    first = s3.put_object(Bucket=versioned, Key="o", Body=b"first", **key.headers)["VersionId"]
    second = s3.put_object(Bucket=versioned, Key="o", Body=b"second", **other_key.headers)["VersionId"]
    for version, content, right, wrong in ((first, b"first", key, other_key), (second, b"second", other_key, key)):
        got = s3.get_object(Bucket=versioned, Key="o", VersionId=version, **right.headers)
        assert got["Body"].read() == content
        with refused(403, "AccessDenied", Message=WRONG):
            s3.get_object(Bucket=versioned, Key="o", VersionId=version, **wrong.headers)


def test_stored_bytes_hold_neither_plaintext_nor_key(daemon, s3, bucket, key):
    marker = b"the quick brown fox jumps over the lazy dog " * 8
    for number, size in enumerate((1, 2000)):
        s3.put_object(Bucket=bucket, Key=f"o{number}", Body=marker * size, **key.headers)
    secrets = (marker[:44], key.raw, key.base64.encode(), key.md5.encode(), hashlib.md5(key.raw).digest())
    for path in daemon.data.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for secret in secrets:
                assert secret not in content, f"{path} holds {secret[:12]!r}…"


def test_the_key_is_in_no_log(daemon, s3, bucket, key):
    s3.put_object(Bucket=bucket, Key="o", Body=b"x", **key.headers)
    s3.get_object(Bucket=bucket, Key="o", **key.headers)
    log = daemon.log.read_bytes()
    assert key.base64.encode() not in log and key.raw.hex().encode() not in log and key.md5.encode() not in log
