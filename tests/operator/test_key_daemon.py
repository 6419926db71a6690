"""A store whose keys are with a key daemon on another host: what it serves, for how long without it, and who
can be such a store."""

import http.client
import json
import re
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request

import pytest
from botocore.exceptions import ClientError
from daemon import ROOT, CustomerKey, Refused
from deployment import assert_no_panic, refuses
from link import Authority, Way, key_daemon, start, store_apart


class Apart:
    """A key daemon, a store, and two ways between them."""

    def __init__(self, directory):
        self.authority = Authority(directory / "authority", "authority")
        self.keyd = start(key_daemon(directory / "keyd", self.authority))
        self.ways = [Way(), Way()]
        self.lead()
        certificate = self.authority.issue("store", "store-1.example")
        urls = [way.url for way in self.ways]
        self.store = store_apart(directory / "store", self.authority, urls, certificate)
        # There is no token on this host.
        shutil.rmtree(self.store.hsm)
        done = self.store.init(blank=False)
        assert done.returncode == 0, done.stdout + done.stderr
        self.store.start()

    def lead(self):
        for way in self.ways:
            way.leads_to(self.keyd.link_url)

    def key(self, name):
        made = self.keyd.kms().create_key(Description=name)["KeyMetadata"]
        return made["KeyId"]

    def readiness(self):
        try:
            with urllib.request.urlopen(self.store.ready["api_url"] + "/readyz", timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    made = Apart(tmp_path_factory.mktemp("apart"))
    yield made
    for daemon in (made.store, made.keyd):
        assert daemon.stop() == 0, daemon.tail()
        assert_no_panic(daemon.log.read_text())
        done = daemon.command("audit", "verify", "--directory", daemon.data / "audit")
        assert done.returncode == 0, done.stderr
    for way in made.ways:
        way.close()


def once_of(apart):
    """A client that asks once."""
    return apart.store.s3(retries={"total_max_attempts": 1})


@pytest.fixture
def once(apart):
    return once_of(apart)


def until(what, is_so, within_s=60):
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if is_so():
            return
        time.sleep(0.02)
    raise AssertionError(f"not within {within_s} s: {what}")


def refusal(call, *arguments, **options):
    """The status and code of a refusal, or None."""
    try:
        answer = call(*arguments, **options)
        if "Body" in answer:
            answer["Body"].read()
        return None
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]


def bodies(s3, bucket, key):
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def test_objects_of_every_kind_are_kept_with_no_token_on_the_host(apart, once):
    key, customer = apart.key("every kind"), CustomerKey()
    alias = "alias/every-kind"
    apart.keyd.kms().create_alias(AliasName=alias, TargetKeyId=key)
    once.create_bucket(Bucket="kinds")
    kms = {"ServerSideEncryption": "aws:kms"}
    for name, options in {
        "managed": {},
        "kms": {**kms, "SSEKMSKeyId": key},
        "alias": {**kms, "SSEKMSKeyId": alias},
        "bucket-key": {**kms, "SSEKMSKeyId": key, "BucketKeyEnabled": True},
        "context": {**kms, "SSEKMSKeyId": key, "SSEKMSEncryptionContext": "eyJhIjoiMSJ9"},
        "customer": customer.headers,
    }.items():
        body = name.encode() * 1000
        once.put_object(Bucket="kinds", Key=name, Body=body, **options)
        read = customer.headers if name == "customer" else {}
        assert once.get_object(Bucket="kinds", Key=name, **read)["Body"].read() == body
    assert once.head_object(Bucket="kinds", Key="alias")["SSEKMSKeyId"].endswith(key)
    once.copy_object(Bucket="kinds", Key="copy", CopySource="kinds/customer", **kms, SSEKMSKeyId=key, **customer.source_headers)
    assert bodies(once, "kinds", "copy") == b"customer" * 1000

    chain = apart.store.cli("objects", "keys", "s3://kinds/bucket-key", json_output=True)
    assert "strongroom-root-kek-1" in json.dumps(chain)
    # Who asked, and for which store: on the log of the key daemon. For which object: on that of the store.
    user = apart.store.credentials[0]
    opened = [use for use in apart.keyd.key_uses(use="open-data-key", principal=user) if use["store"] == "store-1.example"]
    assert opened and all(use["operation"].startswith("s3:") and use["outcome"] == "granted" for use in opened)
    assert any(use["context"].get("strongroom:object") == "kinds/kms" for use in opened)
    assert apart.store.key_uses(use="open", bucket="kinds", principal=user)


def test_a_bucket_key_that_is_open_costs_no_call(apart, once):
    key = apart.key("no call")
    once.create_bucket(Bucket="calls")
    options = {"Bucket": "calls", "ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key, "BucketKeyEnabled": True}
    once.put_object(Key="first", Body=b"x", **options)
    bodies(once, "calls", "first")
    before = [apart.store.metric("strongroom_custody_calls_total", operation=asked) for asked in ("Encrypt", "Decrypt")]
    for number in range(20):
        once.put_object(Key=str(number), Body=b"x", **options)
        assert bodies(once, "calls", str(number)) == b"x"
    after = [apart.store.metric("strongroom_custody_calls_total", operation=asked) for asked in ("Encrypt", "Decrypt")]
    assert after == before


def test_a_key_that_is_disabled_at_the_key_daemon_is_out_of_use_in_the_store(apart, once):
    key = apart.key("disabled")
    once.create_bucket(Bucket="disabled")
    options = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key, "BucketKeyEnabled": True}
    once.put_object(Bucket="disabled", Key="o", Body=b"x", **options)
    assert bodies(once, "disabled", "o") == b"x"
    apart.keyd.kms().disable_key(KeyId=key)
    until("it is refused", lambda: refusal(once.get_object, Bucket="disabled", Key="o") == (400, "KMS.DisabledException"))
    assert refusal(once.put_object, Bucket="disabled", Key="p", Body=b"x", **options) == (400, "KMS.DisabledException")
    apart.keyd.kms().enable_key(KeyId=key)
    assert bodies(once, "disabled", "o") == b"x"
    # And what a policy takes away, though the bucket key is open.
    denied = {
        "Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "kms:Decrypt", "Resource": "*",
        "Condition": {"StringEquals": {"strongroom:store": "store-1.example"}},
    }
    whole = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"}, "Action": "kms:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [whole, denied]})
    apart.keyd.kms().put_key_policy(KeyId=key, Policy=policy)
    until("it is refused", lambda: refusal(once.get_object, Bucket="disabled", Key="o") == (403, "AccessDenied"))


def test_what_concerns_keys_is_asked_of_the_key_daemon(apart):
    key = apart.key("elsewhere")
    with pytest.raises(Refused) as caught:
        apart.store.api("GET", "/v1/keys")
    assert caught.value.status == 421 and apart.ways[0].url in caught.value.problem["detail"]
    with pytest.raises(ClientError) as refused:
        apart.store.kms().list_keys()
    assert refused.value.response["Error"]["Code"] == "UnsupportedOperationException"
    assert "key daemon" in refused.value.response["Error"]["Message"]
    done = apart.store.cli("keys", "rotate", key, check=False)
    refuses(done, "with a key daemon")
    # What is under a key is known where the objects are.
    once = apart.store.s3()
    once.create_bucket(Bucket="impact")
    options = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}
    once.put_object(Bucket="impact", Key="o", Body=b"12345", **options)
    impact = apart.store.api("GET", f"/v1/ledger/keys/{key}/impact")
    assert (impact["versions"], impact["size_bytes"]) == (1, 5)
    with pytest.raises(Refused) as caught:
        apart.keyd.api("GET", f"/v1/ledger/keys/{key}/impact")
    assert caught.value.status == 404
    refuses(apart.store.command("keyd", "--config", apart.store.file), "has no token")
    refuses(apart.store.command("hsm", "test", "--config", apart.store.file), "has no token")


def test_a_policy_names_a_user_of_a_store_in_a_condition_and_not_by_arn(apart, once):
    """By the statement of the guide."""
    key, kms = apart.key("one user"), apart.keyd.kms()
    made = apart.store.api("POST", "/v1/users", {"name": "one user", "role": "user"})
    user = apart.store.as_user(made["access_key_id"], made["secret_access_key"]).s3(retries={"total_max_attempts": 1})
    allow = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"}, "Action": "kms:*", "Resource": "*"}

    def put(statement):
        document = {"Version": "2012-10-17", "Statement": [allow, statement]}
        kms.put_key_policy(KeyId=key, Policy=json.dumps(document))

    arn = f"arn:aws:iam::000000000000:user/{made['access_key_id']}"
    with pytest.raises(ClientError, match="MalformedPolicyDocument"):
        put({**allow, "Principal": {"AWS": arn}})
    with pytest.raises(ClientError):
        kms.create_grant(KeyId=key, GranteePrincipal=arn, Operations=["Decrypt"])
    guide = (ROOT / "docs/keyd.md").read_text()
    [statement] = [text for text in re.findall(r"```json\n(.*?)```", guide, re.S) if "aws:userid" in text]
    put(json.loads(statement.replace("SRAKOBYXE43UOV3HO6DZ", made["access_key_id"])))
    once.create_bucket(Bucket="one-user")
    options = {"Bucket": "one-user", "ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}
    user.put_object(Key="o", Body=b"x", **options)
    assert bodies(user, "one-user", "o") == b"x"
    assert refusal(once.get_object, Bucket="one-user", Key="o") == (403, "AccessDenied")
    assert refusal(once.put_object, Key="p", Body=b"x", **options) == (403, "AccessDenied")


def test_a_rotated_key_reads_the_old_and_writes_the_new(apart, once):
    key = apart.key("rotated")
    once.create_bucket(Bucket="rotated")
    options = {"Bucket": "rotated", "ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key, "BucketKeyEnabled": True}
    once.put_object(Key="old", Body=b"old", **options)
    apart.keyd.api("POST", f"/v1/keys/{key}/rotate")

    def version(name):
        once.put_object(Key=name, Body=b"new", **options)
        shown = apart.store.cli("objects", "keys", f"s3://rotated/{name}", json_output=True)
        return '"version": 2' in json.dumps(shown)

    until("the new version is used", lambda: version("new"))
    assert bodies(once, "rotated", "old") == b"old" and bodies(once, "rotated", "new") == b"new"


def test_what_is_compromised_at_the_key_daemon_is_rewrapped_in_the_store(apart, once):
    key = apart.key("compromised")
    once.create_bucket(Bucket="compromised")
    options = {"Bucket": "compromised", "ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}
    for name, bucket_key in (("direct", False), ("behind", True)):
        once.put_object(Key=name, Body=name.encode(), BucketKeyEnabled=bucket_key, **options)
    done = apart.keyd.cli("keys", "compromise", key, "--reason", "a test")
    assert done.returncode == 0

    def finished():
        jobs = apart.store.cli("keys", "rewrap", key, "--status", json_output=True)["rewraps"]
        return [(job["key_version"], job["state"], job["versions"]) for job in jobs] == [(1, "done", 2)]

    until("it is re-wrapped", finished)
    for name in ("direct", "behind"):
        shown = apart.store.cli("objects", "keys", f"s3://compromised/{name}", json_output=True)
        assert '"version": 2' in json.dumps(shown) and '"version": 1' not in json.dumps(shown)
        assert bodies(once, "compromised", name) == name.encode()


def test_one_way_fails_and_nothing_is_refused(apart, once):
    key = apart.key("two ways")
    once.create_bucket(Bucket="ways")
    options = {"Bucket": "ways", "ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}
    for broken, mode in ((0, "cut"), (1, "hole"), (0, "hole")):
        apart.ways[broken].set(mode)
        once.put_object(Key="o", Body=mode.encode(), **options)
        assert bodies(once, "ways", "o") == mode.encode()
        assert apart.readiness()[1]["link"]["url"].rstrip("/") == apart.ways[1 - broken].url
        apart.ways[broken].set("cut")
        apart.ways[broken].set("pass")


def test_a_slow_link_serves(apart, once):
    key = apart.key("slow")
    once.create_bucket(Bucket="slow")
    options = {"Bucket": "slow", "ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}
    for way in apart.ways:
        way.delay_s = 0.03
    once.put_object(Key="o", Body=b"x", **options)
    assert bodies(once, "slow", "o") == b"x"
    for way in apart.ways:
        way.delay_s = 0


def test_without_the_key_daemon_reads_go_on_for_the_stated_time_and_no_longer(apart, once):
    key, customer = apart.key("away"), CustomerKey()
    once.create_bucket(Bucket="away")
    options = {"Bucket": "away", "ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key, "BucketKeyEnabled": True}
    once.put_object(Key="o", Body=b"x", **options)
    once.put_object(Bucket="away", Key="managed", Body=b"x")
    once.put_object(Bucket="away", Key="customer", Body=b"x", **customer.headers)
    apart.keyd.kill()
    # A bucket key that is open needs nobody.
    assert bodies(once, "away", "managed") == b"x"
    until("the store says that it is not ready", lambda: apart.readiness()[0] == 503)
    told = apart.readiness()[1]
    assert not told["ready"] and told["key_daemon"] != "ready" and told["link"]["url"] is None
    for name in ("o", "managed"):
        assert refusal(once.get_object, Bucket="away", Key=name) == (503, "ServiceUnavailable")
    assert refusal(once.put_object, Key="p", Body=b"x", **options) == (503, "ServiceUnavailable")
    assert refusal(once.put_object, Bucket="away", Key="p", Body=b"x") == (503, "ServiceUnavailable")
    until("the keys are dropped", lambda: apart.store.metric("strongroom_bucket_keys_opened") == 0)
    # What needs no key of the key daemon goes on.
    assert once.get_object(Bucket="away", Key="customer", **customer.headers)["Body"].read() == b"x"
    assert {found["Key"] for found in once.list_objects_v2(Bucket="away")["Contents"]} == {"o", "managed", "customer"}
    # A store that is started meanwhile says what is wrong.
    apart.store.stop()
    apart.store.refuses_to_start("key daemon is not available", "custody.urls")

    start(apart.keyd)
    apart.lead()
    apart.store.start()
    assert bodies(once_of(apart), "away", "o") == b"x"
    # And one that was there finds it by itself.
    apart.keyd.kill()
    until("the store says that it is not ready", lambda: apart.readiness()[0] == 503)
    start(apart.keyd)
    apart.lead()
    until("the store is ready", lambda: apart.readiness()[0] == 200)
    assert bodies(once_of(apart), "away", "o") == b"x"
    assert apart.store.metric("strongroom_custody_link_silences_total") >= 1


def test_only_an_enrolled_store_with_a_valid_certificate_is_let_in(apart, tmp_path):
    ours, others = apart.authority, Authority(tmp_path / "others", "others")
    url = [apart.keyd.link_url]
    for number, (certificate, trusted, words) in enumerate([
        (ours.issue("other-name", "store-2.example"), ours, ("is not of a store that this key daemon knows", "link.stores")),
        (ours.issue("by-common-name", "x.example", common_name="store-1.example"), ours, ("is not of a store",)),
        (ours.issue("wildcard", "*.wide.example"), ours, ("is not of a store",)),
        (ours.issue("expired", "store-1.example", expired=True), ours, ("key daemon is not available", "CertificateExpired")),
        (others.issue("forged", "store-1.example"), ours, ("key daemon is not available", "received fatal alert")),
        (ours.issue("good", "store-1.example"), others, ("key daemon is not available", "UnknownIssuer")),
    ]):
        store = store_apart(tmp_path / f"store-{number}", trusted, url, certificate)
        refuses(store.init(blank=False), *words, "see that it runs")
    good = ours.issue("good-again", "store-1.example")
    # The key daemon must be who the URL says.
    port = apart.keyd.link_url.rpartition(":")[2]
    store = store_apart(tmp_path / "store-by-name", ours, [f"https://localhost:{port}"], good)
    refuses(store.init(blank=False), "key daemon is not available", "not valid for name")
    # A key of the store that others can read.
    good[1].chmod(0o644)
    refuses(store_apart(tmp_path / "store-readable", ours, url, good).init(blank=False), "may be read by others", "chmod 600")
    # Its own API is no link, and the link no API.
    good[1].chmod(0o600)
    plain = store_apart(tmp_path / "store-at-api", ours, [apart.keyd.ready["api_url"].replace("http:", "https:")], good)
    refuses(plain.init(blank=False), "key daemon is not available")


def test_nobody_without_a_certificate_gets_an_answer(apart):
    host, port = apart.keyd.link_url.removeprefix("https://").split(":")
    trust = ssl.create_default_context(cafile=str(apart.authority.certificate))
    for path in ("/", "/v1/custody/changes", "/v1/keys", "/metrics", "/healthz"):
        link = http.client.HTTPSConnection(host, int(port), context=trust, timeout=10)
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
            link.request("POST", path, body=b"{}")
            link.getresponse()
        link.close()
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert b"HTTP" not in raw.recv(1000)
    # With the certificate of the store it is the link and nothing else.
    certificate = apart.authority.directory / "store.pem", apart.authority.directory / "store.key"
    trust.load_cert_chain(*map(str, certificate))
    link = http.client.HTTPSConnection(host, int(port), context=trust, timeout=10)
    for path in ("/v1/keys", "/metrics", "/v1/users"):
        link.request("GET", path)
        answer = link.getresponse()
        assert answer.status == 404 and json.loads(answer.read())["__type"] == "UnknownOperationException"
    link.close()
