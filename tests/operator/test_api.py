"""The HTTP API as its description says it is, and requests that are not as it says."""

import http.client
import json
import re
import urllib.parse

import pytest


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.type = response.headers.get_content_type()
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)


@pytest.fixture(scope="module")
def ask(daemon):
    """Sends a request exactly as it is given."""
    address = urllib.parse.urlsplit(daemon.ready["api_url"]).netloc

    def send(method, path, body=None, *, token=daemon.ready["admin_token"], headers=None):
        connection = http.client.HTTPConnection(address, timeout=60)
        sent = {**({"Authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
        try:
            connection.request(method, path, body=body, headers=sent)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    return send


@pytest.fixture(scope="module")
def described(ask):
    answer = ask("GET", "/v1/openapi.json", token=None)
    assert answer.status == 200 and answer.type == "application/json"
    return answer.json


def operations(described):
    return [
        (method.upper(), path, operation)
        for path, item in described["paths"].items()
        for method, operation in item.items()
        if method in ("get", "put", "post", "delete", "patch", "head")
    ]


def filled(path):
    """A path whose parameters name nothing that is there."""
    return re.sub(r"\{(\w+)\}", lambda name: {"index": "0", "fingerprint": "0" * 64}.get(name[1], "nobody"), path)


def assert_problem(answer, status, *words):
    assert answer.status == status, (answer.status, answer.body)
    assert answer.type == "application/problem+json"
    problem = answer.json
    assert problem["type"].startswith("urn:strongroom:problem:") and problem["status"] == status
    assert problem["title"] and problem["detail"], problem
    for word in words:
        assert word in problem["detail"], problem


# The description.


def test_the_description_is_whole(described):
    assert described["openapi"].startswith("3.")
    known = set()
    for method, path, operation in operations(described):
        assert operation.get("summary") or operation.get("description"), (method, path)
        assert operation["operationId"] not in known, operation["operationId"]
        known.add(operation["operationId"])
        assert any(status.startswith("2") for status in operation["responses"]), (method, path)
        in_path = {found["name"] for found in operation.get("parameters", []) if found["in"] == "path"}
        assert in_path == set(re.findall(r"\{(\w+)\}", path)), (method, path)
    references = set(re.findall(r'"\$ref": "#/components/(\w+)/(\w+)"', json.dumps(described)))
    for kind, name in references:
        assert name in described["components"][kind], (kind, name)


def test_every_operation_is_there_and_asks_who_asks(described, ask):
    for method, path, _ in operations(described):
        if path == "/v1/openapi.json":
            continue
        anonymous = ask(method, filled(path), token=None)
        assert_problem(anonymous, 401)
        assert anonymous.headers["WWW-Authenticate"] == "Bearer"
        assert_problem(ask(method, filled(path), token="x" * 43), 401, "administrator")
        answer = ask(method, filled(path))
        assert answer.status != 404 or "is not a resource" not in answer.json["detail"], (method, path)
        assert answer.status < 500, (method, path, answer.body)


def test_answers_have_the_statuses_that_are_described(described, ask):
    for method, path, operation in operations(described):
        answer = ask(method, filled(path))
        assert str(answer.status) in operation["responses"] or "default" in operation["responses"], (method, path, answer.status, answer.body)


def test_what_is_not_described_is_not_there(ask):
    for method, path in (
        ("GET", "/v1"), ("GET", "/v1/nonsense"), ("PUT", "/v1/users"), ("DELETE", "/v1/keys/x"), ("GET", "/v1/scrub"),
        ("GET", "/v1/users/x/y/z"), ("GET", "/v1/v1/users"), ("GET", "/v1v1/users"), ("GET", "/v10/users"), ("GET", "/V1/users"),
        ("GET", "/"), ("GET", "/nonsense"), ("POST", "/metrics"), ("DELETE", "/audit/checkpoint"), ("GET", "/index.html"),
    ):
        assert_problem(ask(method, path), 404, "is not a resource", "/v1/openapi.json")


# Requests that are wrong.


@pytest.mark.parametrize(
    "method, path, body, status, words",
    [
        ("POST", "/v1/users", b"{", 400, ["body"]),
        ("POST", "/v1/users", b"", 400, ["name"]),
        ("POST", "/v1/users", b"[]", 400, ["body"]),
        ("POST", "/v1/users", b"null", 400, ["body"]),
        ("POST", "/v1/users", b"\xff", 400, ["body"]),
        ("POST", "/v1/users", b'{"name":"x","role":"user"} x', 400, ["body"]),
        ("POST", "/v1/users", b'{"name":"x","role":"king"}', 400, ["role"]),
        ("POST", "/v1/users", b'{"name":7,"role":"user"}', 400, ["body"]),
        ("POST", "/v1/users", b'{"name":"x","role":"user","admin":true}', 400, ["unknown field `admin`"]),
        ("POST", "/v1/users", b'{"name":"x","name":"y","role":"user"}', 400, ["duplicate field"]),
        ("POST", "/v1/keys", b'{"descripton":"x"}', 400, ["unknown field"]),
        ("POST", "/v1/keys", json.dumps({"description": "x" * 10_000}).encode(), 400, ["8192"]),
        ("GET", "/v1/keys/not%20a%20key", None, 400, ["not a key"]),
        ("GET", "/v1/keys/00000000-0000-0000-0000-000000000000", None, 404, ["no key"]),
        ("POST", "/v1/keys/alias%2Fnone/disable", None, 404, ["alias/none"]),
        ("GET", "/v1/keys/%zz", None, 400, ["percent-encoded"]),
        ("GET", "/v1/keys/%ff", None, 400, ["UTF-8"]),
        ("GET", "/v1/users?limit=0", None, 400, ["`limit` is 1 to 1000"]),
        ("GET", "/v1/users?limit=1001", None, 400, ["`limit` is 1 to 1000"]),
        ("GET", "/v1/users?limit=-1", None, 400, ["whole number"]),
        ("GET", "/v1/users?limit=99999999999999999999999", None, 400, ["whole number"]),
        ("GET", "/v1/users?limit=", None, 400, ["whole number"]),
        ("GET", "/v1/users?cursor=nonsense", None, 400, ["cursor"]),
        ("GET", "/v1/keys?cursor=nonsense", None, 400, []),
        ("GET", "/v1/restores?cursor=nonsense", None, 400, ["cursor"]),
        ("POST", "/v1/scrub?cursor=nonsense", None, 400, ["cursor"]),
        ("POST", "/v1/scrub?cursor=bucket/null/", None, 404, ["bucket"]),
        ("GET", "/v1/ledger/customer-keys/" + "0" * 64 + "/versions?cursor=nonsense", None, 400, []),
        ("GET", "/v1/ledger/customer-keys/nonsense/versions", None, 400, []),
        ("GET", "/v1/ledger/objects", None, 400, ["`bucket` is missing"]),
        ("GET", "/v1/ledger/objects?bucket=bucket", None, 400, ["`key` is missing"]),
        ("GET", "/v1/ledger/objects?bucket=no-such-bucket&key=k", None, 404, ["bucket"]),
        ("GET", "/v1/ledger/objects?bucket=Not_A_Bucket&key=k", None, 400, []),
        ("GET", "/v1/ledger/objects?bucket=bucket&key=" + "k" * 1025, None, 400, []),
        ("POST", "/v1/archives", b'{"bucket":"bucket","key":"k","storage_class":"COLD"}', 400, ["GLACIER or DEEP_ARCHIVE", "COLD"]),
        ("POST", "/v1/archives", b'{"bucket":"bucket","key":"k","storage_class":"STANDARD"}', 400, ["GLACIER or DEEP_ARCHIVE"]),
        ("POST", "/v1/archives", b'{"bucket":"no-such-bucket","key":"k","storage_class":"GLACIER"}', 404, ["bucket"]),
        ("POST", "/v1/restores", b'{"bucket":"bucket","key":"k","days":1,"tier":"Quick"}', 400, ["Expedited, Standard or Bulk"]),
        ("POST", "/v1/restores", b'{"bucket":"bucket","key":"k","days":1.5}', 400, ["body"]),
        ("POST", "/v1/restores", b'{"bucket":"bucket","key":"k","version_id":"nonsense","days":1}', 400, []),
        ("POST", "/v1/simulations", b'{"scenario":{}}', 400, ["body"]),
        ("POST", "/v1/simulations", b'{"scenario":"x","seed":"y"}', 400, ["body"]),
        ("POST", "/v1/clock/advance", b'{"seconds":-1}', 400, ["body"]),
        ("POST", "/v1/clock/advance", b'{"seconds":99999999999999}', 400, ["at most"]),
        ("POST", "/v1/clock/advance", b"{}", 400, ["seconds"]),
        ("GET", "/v1/audit/proofs/first", None, 400, ["place in the log"]),
        ("GET", "/v1/audit/proofs/-1", None, 400, ["place in the log"]),
        ("GET", "/v1/audit/proofs/18446744073709551615", None, 404, ["beyond"]),
        ("GET", "/v1/audit/events?from=x", None, 400, ["whole number"]),
        ("GET", "/v1/ledger/objects?bucket=bucket&key=a+b&limit", None, 404, []),
        ("DELETE", "/v1/users/nobody", None, 404, ["nobody"]),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_a_wrong_request_is_told_what_is_wrong(ask, method, path, body, status, words):
    assert_problem(ask(method, path, body), status, *words)


def test_a_page_beyond_the_end_is_empty(ask):
    answer = ask("GET", "/v1/audit/events?from=18446744073709551615&limit=1000")
    assert answer.status == 200 and answer.json["events"] == [] and answer.json["next"] is None


def test_a_body_that_is_too_long_is_refused(daemon, ask):
    long = json.dumps({"name": "x" * (1 << 20), "role": "user"}).encode()
    assert_problem(ask("POST", "/v1/users", long), 413, "longer than 1048576 bytes")
    # In the KMS protocol a refusal has the form of that protocol.
    answer = ask("POST", "/", b" " * (256 * 1024 + 1), headers={"X-Amz-Target": "TrentService.ListKeys"})
    assert answer.status == 413 and answer.type == "application/x-amz-json-1.1"
    assert answer.json["__type"] == "SerializationException" and "262144" in answer.json["message"]
    assert daemon.api("GET", "/v1/users")["users"]


def test_a_body_that_breaks_off_is_no_harm(daemon):
    address = urllib.parse.urlsplit(daemon.ready["api_url"]).netloc
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.putrequest("POST", "/v1/users")
    connection.putheader("Authorization", f"Bearer {daemon.ready['admin_token']}")
    connection.putheader("Content-Length", "1000")
    connection.endheaders()
    connection.send(b'{"name":"half"')
    connection.close()
    assert all(found["name"] != "half" for found in daemon.api("GET", "/v1/users")["users"])


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "bearer {token}x", "Basic YWRtaW46YWRtaW4=", "Bearer {token}x", "Token {token}", "AWS4-HMAC-SHA256 nonsense", "AWS4-HMAC-SHA256 Credential=x/y, SignedHeaders=, Signature="],
)
def test_a_credential_that_is_none_is_refused(daemon, ask, authorization):
    sent = authorization.replace("{token}", daemon.ready["admin_token"])
    answer = ask("GET", "/v1/users", token=None, headers={"Authorization": sent})
    assert_problem(answer, 401)
    assert daemon.ready["admin_token"] not in answer.body.decode()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_of_a_credential_is_taken_in_any_case(daemon, ask, scheme):
    answer = ask("GET", "/v1/users", token=None, headers={"Authorization": f"{scheme} {daemon.ready['admin_token']}"})
    assert answer.status == 200


def test_refusals_are_counted_and_change_nothing(daemon, ask):
    before = daemon.metric("strongroom_refusals_total", api="v1")
    users = ask("GET", "/v1/users").json
    for _ in range(3):
        ask("POST", "/v1/users", b"{")
    assert daemon.metric("strongroom_refusals_total", api="v1") == before + 3
    assert ask("GET", "/v1/users").json == users


# What needs no credential.


def test_health_is_told_to_whoever_asks(ask):
    for path, word in (("/healthz", b"alive"), ("/readyz", b'"ready":true')):
        answer = ask("GET", path, token=None)
        assert answer.status == 200 and word in answer.body
        head = ask("HEAD", path, token=None)
        assert head.status == 200 and head.body == b""


def test_metrics_are_in_the_text_format_and_hold_no_secret(daemon, ask, s3, bucket, key):
    s3.put_object(Bucket=bucket, Key="secret-name", Body=b"x", **key.headers)
    answer = ask("GET", "/metrics", token=None)
    text = answer.body.decode()
    assert answer.status == 200 and answer.type == "text/plain"
    for line in text.splitlines():
        assert line.startswith("#") or not line or re.fullmatch(r'[a-z_:]\w*(\{.*\})? [-+.\deInfNa]+', line), line
    for secret in (key.base64, daemon.ready["admin_token"], daemon.ready["secret_access_key"], "secret-name"):
        assert secret not in text


def test_the_log_is_served_as_static_files(daemon, ask):
    daemon.api("POST", "/v1/audit/checkpoint")
    checkpoint = ask("GET", "/audit/checkpoint", token=None)
    assert checkpoint.status == 200 and checkpoint.type == "text/plain" and checkpoint.headers["Cache-Control"] == "no-cache"
    size = int(checkpoint.body.split(b"\n")[1])
    files = [path.relative_to(daemon.data / "audit") for path in (daemon.data / "audit/tile").rglob("*") if path.is_file()]
    assert any(path.name == str(size % 256) for path in files)
    for path in files:
        served = ask("GET", f"/audit/{path}", token=None)
        assert served.status == 200 and served.body == (daemon.data / "audit" / path).read_bytes()
        assert "immutable" in served.headers["Cache-Control"]


@pytest.mark.parametrize(
    "path",
    [
        "../client.json", "../../client.json", "%2e%2e/client.json", "..%2fclient.json", "%2e%2e%2fclient.json", "tile/../../client.json",
        "/etc/passwd", "%2fetc%2fpasswd", "./checkpoint", "journal/00000000000000000000", "tile/0/../../../admin.token",
        "tile/0/000.p/../../../../admin.token", "tile/entries/%00", "tile/0/999", "tile/63/000", "tile/0/000.p/0", "tile/0/000.p/256",
        "tile/0/x001/00", "tile/-1/000", "", "tile", "tile/0", "checkpoint/", "CHECKPOINT", "..\\client.json",
    ],
)
def test_nothing_but_the_published_files_is_served(daemon, ask, path):
    answer = ask("GET", f"/audit/{path}", token=None)
    assert_problem(answer, 404)
    for secret in (daemon.ready["admin_token"], daemon.ready["secret_access_key"], "root:"):
        assert secret not in answer.body.decode()
