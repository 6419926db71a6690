"""`strongroom init`, `serve` and `keyd` as an operator runs them: a configuration file, certificates,
users with roles, an end that loses nothing."""

import http.client
import json
import os
import signal
import socket
import ssl
import stat
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError
from daemon import CustomerKey, Refused
from deployment import Deployment, assert_no_panic, certificate, refuses, run

NONE_BLOCKED = {"Rules": [{"BlockedEncryptionTypes": {"EncryptionType": ["NONE"]}}]}


@pytest.fixture(scope="module")
def served(tmp_path_factory, authority):
    """A deployment that speaks TLS, shared by the tests that do not stop it."""
    deployment = Deployment(tmp_path_factory.mktemp("served") / "d", tls=authority).up()
    yield deployment
    assert deployment.stop() == 0, deployment.tail()
    text = deployment.log.read_text()
    assert_no_panic(text)
    for line in text.splitlines():
        assert {"timestamp", "level", "fields"} <= json.loads(line).keys(), line
    for secret in (deployment.credentials[1], deployment.admin_token, (deployment.hsm / "user.pin").read_text()):
        assert secret not in text


@pytest.fixture
def user(served):
    """Makes users of the shared deployment."""

    def make(role):
        made = served.cli("user", "create", f"a {role}", "--role", role, json_output=True)
        return made, served.as_user(made["access_key_id"], made["secret_access_key"])

    return make


def refusal(call, *arguments, **options):
    with pytest.raises(ClientError) as caught:
        call(*arguments, **options)
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], response["Error"].get("Message", "")


def signed(daemon, method, path, body=b"", service="strongroom"):
    """A request to the HTTP API that is signed instead of carrying the bearer token."""
    request = AWSRequest(method, daemon.ready["api_url"] + path, data=body)
    credentials = Credentials(daemon.ready["access_key_id"], daemon.ready["secret_access_key"])
    SigV4Auth(credentials, service, daemon.ready["region"]).add_auth(request)
    sent = urllib.request.Request(request.url, method=method, data=body or None, headers=dict(request.headers.items()))
    try:
        with urllib.request.urlopen(sent, context=daemon.trust, timeout=30) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


# Initialising.


def test_a_fresh_token_is_initialised_once_and_its_secrets_are_for_the_owner_only(deploy):
    deployment = deploy()
    refuses(deployment.init(blank=False), "no token labelled strongroom", "strongroom init --blank-token")
    done = deployment.init()
    assert done.returncode == 0, done.stderr
    assert "is initialised" in done.stdout and "audit.vkey" in done.stdout
    for secret in (deployment.directory / "admin.token", deployment.hsm / "user.pin"):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(deployment.data.stat().st_mode) == 0o700
    refuses(deployment.init(), "there is a token labelled strongroom already", "leave out --blank-token")
    again = deployment.init(blank=False)
    assert again.returncode == 0 and "secret access key" not in again.stdout, again.stdout
    for pin in ("user.pin", "officer.pin"):
        assert (deployment.hsm / pin).read_text().strip() not in done.stdout + done.stderr


def test_what_is_not_initialised_does_not_serve(deploy):
    deployment = deploy()
    deployment.refuses_to_start("no administrator's token", "strongroom init")
    assert not deployment.data.exists()


def test_init_wants_the_officers_pin_from_a_private_file(deploy):
    deployment = deploy()
    done = deployment.command("init", "--config", deployment.file, "--blank-token")
    assert done.returncode == 2 and "--so-pin-file" in done.stderr
    refuses(deployment.command("init", "--config", deployment.file, "--blank-token", "--so-pin-file", "/nowhere/pin"), "/nowhere/pin")
    (deployment.hsm / "officer.pin").chmod(0o644)
    refuses(deployment.init(), "may be read by others", "chmod 600")


# Objects over TLS.


def test_objects_are_stored_over_tls(served):
    s3 = served.s3()
    assert served.ready["s3_url"].startswith("https://") and served.ready["api_url"].startswith("https://")
    s3.create_bucket(Bucket="tls")
    body = os.urandom(3_000_000)
    s3.put_object(Bucket="tls", Key="o", Body=body)
    answer = s3.get_object(Bucket="tls", Key="o")
    assert answer["Body"].read() == body and answer["ServerSideEncryption"] == "AES256"


def test_a_new_bucket_takes_customer_keys_only_when_it_is_told_to(served):
    s3, key = served.s3(), CustomerKey()
    s3.create_bucket(Bucket="customer-keys")
    status, code, message = refusal(s3.put_object, Bucket="customer-keys", Key="o", Body=b"x", **key.headers)
    assert (status, code) == (403, "AccessDenied") and "blocked" in message
    upload = refusal(s3.create_multipart_upload, Bucket="customer-keys", Key="o", **key.headers)
    assert upload[:2] == (403, "AccessDenied")
    s3.put_bucket_encryption(Bucket="customer-keys", ServerSideEncryptionConfiguration=NONE_BLOCKED)
    s3.put_object(Bucket="customer-keys", Key="o", Body=b"x", **key.headers)
    assert s3.get_object(Bucket="customer-keys", Key="o", **key.headers)["Body"].read() == b"x"
    blocked = {"Rules": [{"BlockedEncryptionTypes": {"EncryptionType": ["SSE-C"]}}]}
    s3.put_bucket_encryption(Bucket="customer-keys", ServerSideEncryptionConfiguration=blocked)
    assert refusal(s3.put_object, Bucket="customer-keys", Key="p", Body=b"x", **key.headers)[:2] == (403, "AccessDenied")
    assert s3.get_object(Bucket="customer-keys", Key="o", **key.headers)["Body"].read() == b"x", "what is there stays readable"


def test_a_customer_key_does_not_cross_plain_http(deploy):
    deployment = deploy().up()
    s3, key = deployment.s3(), CustomerKey()
    s3.create_bucket(Bucket="plain")
    s3.put_bucket_encryption(Bucket="plain", ServerSideEncryptionConfiguration=NONE_BLOCKED)
    # boto3 itself would not send the key, so the request is made by hand.
    for method in ("PUT", "GET"):
        headers = {
            "x-amz-server-side-encryption-customer-algorithm": "AES256",
            "x-amz-server-side-encryption-customer-key": key.base64,
            "x-amz-server-side-encryption-customer-key-md5": key.md5,
        }
        request = AWSRequest(method, deployment.ready["s3_url"] + "/plain/o", headers=headers, data=b"x")
        S3SigV4Auth(Credentials(*deployment.credentials), "s3", "us-east-1").add_auth(request)
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(deployment.ready["s3_url"]).netloc)
        connection.request(method, "/plain/o", body=b"x", headers=dict(request.headers.items()))
        answer = connection.getresponse()
        text = answer.read().decode()
        assert answer.status == 400 and "<Code>InvalidRequest</Code>" in text and "secure connection" in text, text
        assert key.base64 not in text
    assert s3.list_objects_v2(Bucket="plain")["KeyCount"] == 0
    deployment.stop()
    assert key.base64 not in deployment.log.read_text()


def test_plain_http_to_a_tls_port_and_the_other_way_round_are_no_harm(served):
    address = urllib.parse.urlsplit(served.ready["s3_url"])
    with socket.create_connection((address.hostname, address.port), timeout=10) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert not plain.recv(100).startswith(b"HTTP/1.1 200")
    with pytest.raises(ssl.SSLCertVerificationError):
        with socket.create_connection((address.hostname, address.port), timeout=10) as bare:
            ssl.create_default_context().wrap_socket(bare, server_hostname="127.0.0.1")
    assert served.s3().list_buckets()["Buckets"] is not None


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda paths, other: paths[0].unlink(), ["cannot read the certificates"]),
        (lambda paths, other: paths[0].write_text("no certificate"), ["no certificate in"]),
        (lambda paths, other: paths[1].write_text("no key"), ["cannot read the private key"]),
        (lambda paths, other: paths[1].write_bytes(other[1].read_bytes()), ["does not go with the certificate"]),
    ],
    ids=["no certificate file", "no certificate in it", "no key in it", "the key of another"],
)
def test_a_certificate_that_cannot_be_used_is_named(deploy, authority, tmp_path, spoil, words):
    (tmp_path / "own").mkdir()
    paths = certificate(tmp_path / "own")
    spoil(paths, authority)
    deployment = deploy(tls=paths)
    deployment.refuses_to_start(*words)


# Users.


def test_a_user_is_made_disabled_enabled_and_deleted(served, user):
    made, client = user("user")
    s3, kms = client.s3(), client.kms()
    s3.create_bucket(Bucket="of-a-user")
    assert served.cli("user", "disable", made["access_key_id"]).stdout == ""
    assert refusal(s3.list_objects_v2, Bucket="of-a-user")[0] == 403
    assert refusal(kms.list_keys)[1] == "UnrecognizedClientException"
    listed = {found["access_key_id"]: found for found in served.cli("user", "list", json_output=True)["users"]}
    assert listed[made["access_key_id"]]["enabled"] is False
    assert made["secret_access_key"] not in json.dumps(listed)
    served.cli("user", "enable", made["access_key_id"])
    assert s3.list_objects_v2(Bucket="of-a-user")["KeyCount"] == 0
    served.cli("user", "delete", made["access_key_id"])
    assert refusal(s3.list_objects_v2, Bucket="of-a-user")[1] == "InvalidAccessKeyId"
    for verb in ("disable", "enable", "delete"):
        refuses(served.cli("user", verb, made["access_key_id"], check=False), "no such user", "check the name")
    refuses(served.cli("user", "create", "x" * 5000, check=False), "400")
    told = served.cli("user", "create", "x", "--role", "king", check=False)
    assert told.returncode == 2 and "auditor" in told.stderr


def test_more_users_than_a_page_are_all_listed(served):
    """A page holds as many as the daemon likes; the command asks until there are no more."""
    names = {f"user {number}" for number in range(12)}
    made = [served.api("POST", "/v1/users", {"name": name, "role": "user"}) for name in sorted(names)]
    page = served.api("GET", "/v1/users?limit=5")
    assert len(page["users"]) == 5 and page["next"]
    listed = served.cli("user", "list", json_output=True)["users"]
    assert names <= {found["name"] for found in listed}
    found, cursor = [], ""
    while cursor is not None:
        page = served.api("GET", f"/v1/users?limit=5{cursor and '&cursor=' + cursor}")
        found += page["users"]
        cursor = page["next"]
    assert found == listed
    for one in made:
        served.api("DELETE", f"/v1/users/{one['access_key_id']}")


def test_an_auditor_reads_the_log_and_the_ledger_and_nothing_else(served, user):
    s3 = served.s3()
    s3.create_bucket(Bucket="audited")
    s3.put_object(Bucket="audited", Key="o", Body=b"x")
    made, auditor = user("auditor")
    served.api("POST", "/v1/audit/checkpoint")
    status, events = signed(auditor, "GET", "/v1/audit/events?limit=1000")
    assert status == 200 and any(found["event"].get("object", {}).get("bucket") == "audited" for found in events["events"])
    assert signed(auditor, "GET", "/v1/audit/checkpoint")[0] == 200
    assert signed(auditor, "GET", "/v1/audit/proofs/0")[0] == 200
    status, keys = signed(auditor, "GET", "/v1/ledger/objects?bucket=audited&key=o")
    assert status == 200 and keys["versions"][0]["protection"]["mode"] == "SSE-S3"
    for method, path in (
        ("POST", "/v1/audit/checkpoint"), ("GET", "/v1/users"), ("POST", "/v1/users"), ("POST", "/v1/keys"),
        ("POST", "/v1/archives"), ("POST", "/v1/scrub"), ("POST", "/v1/lifecycle/run"),
        ("DELETE", f"/v1/users/{made['access_key_id']}"),
    ):
        status, problem = signed(auditor, method, path)
        assert status == 403 and "auditor" in problem["detail"], (method, path, problem)
    for call, arguments in (
        (auditor.s3().list_buckets, {}),
        (auditor.s3().get_object, {"Bucket": "audited", "Key": "o"}),
        (auditor.s3().put_object, {"Bucket": "audited", "Key": "o", "Body": b"y"}),
        (auditor.s3().create_bucket, {"Bucket": "of-an-auditor"}),
    ):
        assert refusal(call, **arguments)[:2] == (403, "AccessDenied")
    assert refusal(auditor.kms().create_key)[1] == "AccessDeniedException"
    assert s3.get_object(Bucket="audited", Key="o")["Body"].read() == b"x"


def test_signed_requests_to_the_api_are_checked_like_any_other(served, user):
    assert signed(served, "GET", "/v1/users")[0] == 200
    _, plain = user("user")
    assert signed(plain, "GET", "/v1/keys")[0] == 403
    wrong = served.as_user(served.credentials[0], "not the secret")
    status, problem = signed(wrong, "GET", "/v1/users")
    assert status == 401 and problem["type"].endswith(":unauthenticated"), problem
    assert signed(served.as_user("SRAKNOBODY", "x"), "GET", "/v1/users")[0] == 401
    assert signed(served, "GET", "/v1/users", service="s3")[0] == 401, "signed for another service"
    with pytest.raises(Refused) as caught:
        served.api("GET", "/v1/users", token="x" * 43)
    assert caught.value.status == 401


# The end, and the next start.


def slow_put(deployment, bucket, key, body, begun, proceed, answers):
    request = AWSRequest("PUT", f"{deployment.ready['s3_url']}/{bucket}/{key}", headers={"Content-Length": str(len(body))}, data=body)
    S3SigV4Auth(Credentials(*deployment.credentials), "s3", "us-east-1").add_auth(request)
    address = urllib.parse.urlsplit(deployment.ready["s3_url"]).netloc
    connection = http.client.HTTPSConnection(address, timeout=60, context=deployment.trust)
    connection.putrequest("PUT", f"/{bucket}/{key}", skip_accept_encoding=True)
    for name, value in request.headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(body[: len(body) // 2])
    begun.set()
    proceed.wait(20)
    connection.send(body[len(body) // 2 :])
    answers.append(connection.getresponse().status)


def test_an_end_lets_the_requests_under_way_finish_and_a_restart_goes_on(deploy, authority):
    deployment = deploy(tls=authority).up()
    s3 = deployment.s3()
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="before", Body=b"before")
    body, begun, proceed, answers = os.urandom(2_000_000), threading.Event(), threading.Event(), []
    putting = threading.Thread(target=slow_put, args=(deployment, "kept", "during", body, begun, proceed, answers))
    putting.start()
    begun.wait(20)
    time.sleep(0.2)
    deployment.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert deployment.process.poll() is None, "it waits for the request"
    with pytest.raises((EndpointConnectionError, ConnectionClosedError)):
        deployment.s3().list_buckets()
    proceed.set()
    putting.join()
    assert answers == [200]
    assert deployment.process.wait(20) == 0
    deployment.start()
    s3 = deployment.s3()
    assert s3.get_object(Bucket="kept", Key="before")["Body"].read() == b"before"
    assert s3.get_object(Bucket="kept", Key="during")["Body"].read() == body
    assert deployment.stop() == 0
    verified = deployment.command("audit", "verify", "--directory", deployment.data / "audit", "--json")
    assert json.loads(verified.stdout)["pending"] == 0, "the last checkpoint is over everything"
    assert_no_panic(deployment.log.read_text())


def test_an_address_that_is_taken_is_named_before_anything_is_touched(deploy):
    deployment = deploy()
    deployment.init()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        deployment.set("api.listen", f"127.0.0.1:{taken.getsockname()[1]}")
        deployment.refuses_to_start("cannot listen on 127.0.0.1", "choose another address or port")
    deployment.set("api.listen", "192.0.2.1:1")
    deployment.refuses_to_start("cannot listen on 192.0.2.1:1", "an address that this machine has")


# The key service alone.


def test_the_key_daemon_serves_keys_and_no_objects(deploy, authority):
    deployment = deploy(tls=authority)
    assert deployment.init().returncode == 0
    deployment.start(command="keyd")
    assert deployment.ready["s3_url"] is None
    kms = deployment.kms()
    key = kms.create_key(Description="kept apart")["KeyMetadata"]["KeyId"]
    sealed = kms.encrypt(KeyId=key, Plaintext=b"secret", EncryptionContext={"of": "keyd"})["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=sealed, EncryptionContext={"of": "keyd"})["Plaintext"] == b"secret"
    assert refusal(kms.decrypt, CiphertextBlob=sealed)[1] == "InvalidCiphertextException"
    for method, path, body in (
        ("POST", "/v1/archives", {"bucket": "bucket", "key": "k", "storage_class": "GLACIER"}),
        ("GET", "/v1/restores", None), ("POST", "/v1/scrub", None), ("POST", "/v1/lifecycle/run", None),
        ("GET", "/v1/lifecycle/jobs", None), ("GET", "/v1/ledger/objects?bucket=bucket&key=k", None),
    ):
        with pytest.raises(Refused) as caught:
            deployment.api(method, path, body)
        assert caught.value.status == 404 and "serves keys, and no objects" in caught.value.problem["detail"]
    refuses(deployment.cli("scrub", check=False), "serves keys, and no objects")
    assert any(found["id"] == key for found in deployment.cli("keys", "list", json_output=True)["keys"])
    assert deployment.stop() == 0
    checked = deployment.command("fsck", "--data", deployment.data)
    assert checked.returncode == 0 and "0 findings" in checked.stdout, checked.stderr
    assert not (deployment.data / "volumes").exists()
    # The same directory can serve objects later.
    deployment.start()
    deployment.s3().create_bucket(Bucket="later")
    assert deployment.kms().decrypt(CiphertextBlob=sealed, EncryptionContext={"of": "keyd"})["Plaintext"] == b"secret"


# Configuration.

FAULTY = """\
data_dir = "data"
acount = "000000000000"
account = "12"
[s3]
listen = "everywhere"
tls_certificate = "c.pem"
allow_plain_http_customer_keys = "yes"
[api]
listen = "127.0.0.1:0"
admin_token_file = ""
[audit]
origin = "two words"
durability = "maybe"
publish_interval_ms = 5
[token]
module = "m.so"
label = 7
environment = ["NONSENSE"]
[log]
level = "a=b=c"
format = "xml"
"""


def test_every_fault_of_a_configuration_is_named_with_its_line(tmp_path):
    file = tmp_path / "faulty.toml"
    file.write_text(FAULTY)
    done = run("config", "check", file)
    assert done.returncode == 1
    told = [line.removeprefix("strongroom: ").removeprefix(f"{file}: ") for line in done.stderr.splitlines()]
    for line, words in {
        2: "`acount` is not a setting; the nearest one is `account`", 3: "`account` takes twelve digits",
        5: "`s3.listen` takes ADDRESS:PORT", 6: "go together", 7: "`s3.allow_plain_http_customer_keys` takes true or false",
        10: "`api.admin_token_file` is empty", 12: "`audit.origin`", 13: "`audit.durability` takes one of process, sync",
        14: "`audit.publish_interval_ms` takes a whole number from 10 to 60000", 17: "`token.label` takes a text",
        18: "`token.environment` takes NAME=VALUE", 20: "`log.level`", 21: "`log.format` takes one of text, json",
    }.items():
        assert any(found.startswith(f"line {line}: ") and words in found for found in told), (line, words, done.stderr)
    assert any("`token.pin_file` is missing" in found and "STRONGROOM_TOKEN_PIN_FILE" in found for found in told)
    assert "to do: " in told[-1]
    assert_no_panic(done.stderr)
    served = run("serve", "--config", file)
    assert served.returncode == 1 and "line 5" in served.stderr and "to do: " in served.stderr


@pytest.mark.parametrize("text", ["data_dir = [\n", "data_dir = 'a'\ndata_dir = 'b'\n", "[s3\nlisten = 1", "\0"])
def test_what_is_not_toml_is_told_with_its_line(tmp_path, text):
    file = tmp_path / "broken.toml"
    file.write_text(text)
    done = run("config", "check", file)
    assert done.returncode == 1 and "line " in done.stderr and "to do: " in done.stderr, done.stderr
    assert_no_panic(done.stderr)


def test_a_configuration_that_cannot_be_read_is_named(tmp_path):
    refuses(run("config", "check", tmp_path / "none.toml"), "cannot read", "none.toml")
    refuses(run("serve", "--config", tmp_path), "cannot read", str(tmp_path))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    refuses(run("keyd", "--config", tmp_path / "binary.toml"), "cannot read", "binary.toml")


def test_customer_keys_over_a_network_in_the_clear_cannot_be_configured(deploy):
    deployment = deploy(settings={"s3.listen": "0.0.0.0:0", "s3.allow_plain_http_customer_keys": True})
    deployment.refuses_to_start("cross a network in the clear", "s3.tls_certificate")


def test_the_reference_describes_every_setting_and_its_variable():
    told = run("config", "reference")
    assert told.returncode == 0
    blocks = told.stdout.splitlines()
    names = [line for line in blocks if not line.startswith(" ")]
    assert {"data_dir", "s3.listen", "token.pin_file", "log.format"} <= set(names)
    for name in names:
        at = blocks.index(name)
        assert f"STRONGROOM_{name.replace('.', '_').upper()}" in blocks[at + 1]
        assert len(blocks[at + 2].strip()) > 10


def test_the_environment_overrides_the_file(deploy):
    deployment = deploy()
    deployment.environment = {"STRONGROOM_S3_LISTEN": "nowhere"}
    refuses(deployment.command("config", "check", deployment.file), "STRONGROOM_S3_LISTEN: ", "ADDRESS:PORT")
    deployment.environment = {"STRONGROOM_REGION": "eu-west-1", "STRONGROOM_LOG_LEVEL": "debug"}
    deployment.up()
    deployment.ready["region"] = "eu-west-1"
    deployment.s3().create_bucket(Bucket="overridden", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    assert deployment.kms().create_key()["KeyMetadata"]["Arn"].startswith("arn:aws:kms:eu-west-1:")
    assert deployment.stop() == 0
    lines = [json.loads(line) for line in deployment.log.read_text().splitlines()]
    assert any(line["level"] == "DEBUG" for line in lines)
    assert any("no custodians are named" in line["fields"].get("message", "") for line in lines)


def test_text_logs_are_lines_of_text(deploy):
    deployment = deploy(settings={"log.format": "text"})
    deployment.init()
    deployment.environment = {"STRONGROOM_LOG_FORMAT": "json"}
    deployment.start()
    deployment.stop()
    begin = deployment.log.stat().st_size
    deployment.environment = {}
    with pytest.raises(RuntimeError, match="not ready"):
        deployment.start(timeout_s=2)
    text = deployment.log.read_bytes()[begin:].decode()
    assert "INFO" in text and " serving " in text and not text.startswith("{")


@pytest.mark.parametrize(
    "content, words",
    [("short", ["not 32 characters"]), ("", ["admin.token is empty"]), ("ü" * 40, ["not 32 characters"])],
    ids=["short", "empty", "not ASCII"],
)
def test_a_token_of_the_administrator_that_could_be_guessed_is_refused(deploy, content, words):
    deployment = deploy()
    deployment.init()
    (deployment.directory / "admin.token").write_text(content)
    deployment.refuses_to_start(*words)


def test_the_command_line_says_what_it_lacks_to_reach_a_daemon(served, tmp_path):
    url = served.ready["api_url"]
    token = served.directory / "admin.token"
    trust = {"SSL_CERT_FILE": str(served.authority)}
    assert run("keys", "list", "--api-url", url, "--admin-token-file", token, environment=trust).returncode == 0
    refuses(run("keys", "list", "--api-url", url, "--admin-token-file", token), "no daemon answers", "SSL_CERT_FILE")
    refuses(run("keys", "list", "--api-url", url), "no token", "--admin-token-file")
    refuses(run("keys", "list", "--admin-token-file", token), "no daemon is named", "--api-url")
    refuses(run("keys", "list", directory=tmp_path), "no daemon is named", "--data")
    refuses(run("keys", "list", "--api-url", url, "--admin-token-file", tmp_path / "none"), "cannot read the token")
    refuses(run("keys", "list", "--api-url", "127.0.0.1:9", "--admin-token-file", token), "URL", "http://127.0.0.1:9100")
    refuses(run("keys", "list", "--api-url", "http://127.0.0.1:9", "--admin-token-file", token), "no daemon answers")
    refuses(run("keys", "list", "--api-url", served.ready["s3_url"], "--admin-token-file", token, environment=trust))
    wrong = tmp_path / "wrong"
    wrong.write_text("w" * 43)
    refuses(run("keys", "list", "--api-url", url, "--admin-token-file", wrong, environment=trust), "401", "--admin-token-file")
    (tmp_path / "client.json").write_text("{")
    refuses(run("keys", "list", "--data", tmp_path), "is not a client file")


def test_the_clock_of_a_deployment_is_the_machines(served):
    assert served.api("GET", "/v1/clock")["simulated"] is False
    with pytest.raises(Refused) as caught:
        served.api("POST", "/v1/clock/advance", {"seconds": 1})
    assert caught.value.status == 409 and "the clock is real" in caught.value.problem["detail"]
