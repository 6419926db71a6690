"""Requests that are wrong on the wire: AWS's own error for each, and nothing changed."""

import time

import pytest
from botocore.credentials import Credentials
from wire import Wire


@pytest.fixture
def wire(daemon):
    return Wire(daemon)


@pytest.mark.parametrize(
    "method, path, headers, body, status, code",
    [
        ("PUT", "/{b}/o", {"x-amz-acl": "nonsense"}, b"", 400, "InvalidArgument"),
        ("PUT", "/{b}?versioning", {}, b"<not xml", 400, "MalformedXML"),
        ("PUT", "/{b}?versioning", {}, b"<VersioningConfiguration><Status>Maybe</Status></VersioningConfiguration>", 400, "MalformedXML"),
        ("PUT", "/{b}?lifecycle", {}, b"<LifecycleConfiguration></LifecycleConfiguration>", 400, "MalformedXML"),
        ("PUT", "/{b}?encryption", {}, b"<x/>", 400, "MalformedXML"),
        ("POST", "/{b}?delete", {"content-md5": "R2cEG0GhQVRNiyXR3QnSyw=="}, b"<Delete></Delete>", 400, "MalformedXML"),
        ("POST", "/{b}?delete", {}, b"<Delete></Delete>", 400, "InvalidRequest"),
        ("POST", "/{b}/o?restore", {}, b"<RestoreRequest", 400, "MalformedXML"),
        ("GET", "/{b}?list-type=2&max-keys=-1", {}, b"", 400, "InvalidArgument"),
        ("GET", "/{b}?list-type=2&max-keys=many", {}, b"", 400, "InvalidArgument"),
        ("GET", "/{b}?list-type=2&continuation-token=nonsense", {}, b"", 400, "InvalidArgument"),
        ("PUT", "/{b}/o", {"content-md5": "not base64"}, b"", 400, "InvalidDigest"),
        ("PUT", "/{b}/o", {"x-amz-storage-class": "COLD"}, b"", 400, "InvalidStorageClass"),
        ("PUT", "/{b}/copy", {"x-amz-copy-source": "no-slash"}, b"", 400, "InvalidArgument"),
        ("PUT", "/{b}/copy", {"x-amz-copy-source": "/{b}/never"}, b"", 404, "NoSuchKey"),
        ("PUT", "/{b}/copy", {"x-amz-copy-source": "/no-such-bucket-here/o"}, b"", 404, "NoSuchBucket"),
        ("GET", "/{b}/o?partNumber=0", {}, b"", 400, "InvalidArgument"),
        ("PUT", "/{b}/o?partNumber=1&uploadId=nothing", {}, b"x", 404, "NoSuchUpload"),
        ("PUT", "/{b}/o", {"x-amz-server-side-encryption-customer-algorithm": "AES256"}, b"", 400, "InvalidArgument"),
        ("PUT", "/{b}/o", {"x-amz-server-side-encryption": "AES256", "x-amz-server-side-encryption-context": "e30="}, b"", 400, "InvalidArgument"),
        ("PUT", "/{b}/o", {"x-amz-object-lock-mode": "COMPLIANCE"}, b"", 501, "NotImplemented"),
        ("PUT", "/{b}/o", {"x-amz-website-redirect-location": "/x"}, b"", 501, "NotImplemented"),
        ("GET", "/{b}?policy", {}, b"", 501, "NotImplemented"),
        ("DELETE", "/{b}/o?versionId=zzz", {}, b"", 400, "InvalidArgument"),
        ("PATCH", "/{b}/o", {}, b"", 405, "MethodNotAllowed"),
    ],
)
def test_a_malformed_request_gets_its_error(wire, s3, bucket, method, path, headers, body, status, code):
    path = path.replace("{b}", bucket)
    headers = {name: value.replace("{b}", bucket) for name, value in headers.items()}
    answer = wire.send(method, path, headers, body)
    assert (answer.status, answer.error("Code")) == (status, code), answer.text
    assert answer.error("RequestId") and answer.headers["x-amz-request-id"] == answer.error("RequestId")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_a_header_that_is_not_signed_is_refused(wire, bucket):
    answer = wire.send("PUT", f"/{bucket}/o", {}, b"x", unsigned={"x-amz-storage-class": "GLACIER"})
    assert (answer.status, answer.error("Code")) == (403, "AccessDenied"), answer.text
    assert answer.error("HeadersNotSigned") == "x-amz-storage-class"
    assert answer.error("Message") == "There were headers present in the request which were not signed"


def test_who_is_not_known_or_signs_wrongly_is_refused(wire, bucket):
    for credentials, code in (
        (Credentials("AKIAUNKNOWN000000000", "secret"), "InvalidAccessKeyId"),
        (Credentials(wire.credentials.access_key, "wrong"), "SignatureDoesNotMatch"),
    ):
        answer = wire.send("GET", f"/{bucket}", credentials=credentials)
        assert (answer.status, answer.error("Code")) == (403, code), answer.text
    anonymous = wire.raw("GET", f"/{bucket}", {})
    assert (anonymous.status, anonymous.error("Code")) == (403, "AccessDenied"), anonymous.text
    old = wire.raw("GET", f"/{bucket}", {"Authorization": f"AWS {wire.credentials.access_key}:c2lnbmF0dXJl", "Date": "Thu, 01 Jan 2026 00:00:00 GMT"})
    assert old.status in (400, 403) and old.error("Code"), old.text


def test_a_body_that_ends_early_stores_nothing(daemon, wire, s3, bucket):
    import http.client
    import urllib.parse

    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest

    request = AWSRequest("PUT", wire.url + f"/{bucket}/o", headers={"x-amz-content-sha256": "UNSIGNED-PAYLOAD", "Content-Length": "100000"})
    S3SigV4Auth(wire.credentials, "s3", wire.region).add_auth(request)
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(wire.url).netloc)
    connection.putrequest("PUT", f"/{bucket}/o")
    for name, value in request.headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(b"x" * 5000)
    connection.close()
    time.sleep(0.3)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_refusals_are_counted(daemon, wire, bucket):
    before = daemon.metric("strongroom_refusals_total", code="NoSuchKey")
    assert wire.send("GET", f"/{bucket}/never").status == 404
    assert daemon.metric("strongroom_refusals_total", code="NoSuchKey") == before + 1
