"""The life of a key, from outside: what it protects, its compromise, its destruction, its last use."""

import datetime
import json
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def kms(daemon):
    return daemon.kms()


@pytest.fixture
def key_id(kms):
    return kms.create_key(Description="a life")["KeyMetadata"]["KeyId"]


@pytest.fixture
def bucket(daemon):
    name = f"b-{uuid.uuid4().hex[:16]}"
    daemon.s3().create_bucket(Bucket=name)
    daemon.s3().put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


def put(s3, bucket, key_id, name, body, through=True, **more):
    s3.put_object(Bucket=bucket, Key=name, Body=body, ServerSideEncryption="aws:kms", SSEKMSKeyId=key_id, BucketKeyEnabled=through, **more)


def wait_for(what, seconds=30):
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)
    return found


def archived(daemon, bucket, name):
    """Archives an object and waits until its bytes are in the cold tier."""
    daemon.cli("objects", "archive", f"s3://{bucket}/{name}")
    wait_for(lambda: daemon.s3().head_object(Bucket=bucket, Key=name).get("StorageClass") == "GLACIER")


def rewrapped(daemon, key_id, version):
    def done():
        (job,) = [job for job in daemon.cli("keys", "rewrap", key_id, "--status", json_output=True)["rewraps"] if job["key_version"] == version]
        assert job["error"] is None, job
        return job if job["state"] == "done" else None

    return wait_for(done)


def now(daemon):
    return datetime.datetime.fromisoformat(daemon.api("GET", "/v1/clock")["now"])


def groups(impact):
    return {(group["key_version"], group["storage_class"], group["tier"]): (group["versions"], group["size_bytes"]) for group in impact["groups"]}


def test_what_a_key_protects_is_counted(daemon, kms, key_id, bucket):
    s3 = daemon.s3()
    for number, through in enumerate((True, False, True)):
        put(s3, bucket, key_id, f"object-{number}", b"x" * 100, through)
    put(s3, bucket, key_id, "object-0", b"x" * 11)
    put(s3, bucket, key_id, "cold", b"x" * 1000)
    archived(daemon, bucket, "cold")
    kms.rotate_key_on_demand(KeyId=key_id)
    put(s3, bucket, key_id, "new", b"x" * 7)
    s3.create_multipart_upload(Bucket=bucket, Key="long", ServerSideEncryption="aws:kms", SSEKMSKeyId=key_id)
    impact = daemon.cli("keys", "impact", key_id, json_output=True)
    assert groups(impact) == {
        (1, "STANDARD", "warm"): (4, 311),
        (1, "GLACIER", "cold"): (1, 1000),
        (2, "STANDARD", "warm"): (1, 7),
    }
    assert (impact["versions"], impact["size_bytes"], impact["uploads"]) == (6, 1318, 1)
    assert {group["bucket"] for group in impact["groups"]} == {bucket}
    told = daemon.cli("keys", "impact", key_id).stdout
    assert "GLACIER" in told and "(all)" in told and "1318" in told
    s3.delete_object(Bucket=bucket, Key="new", VersionId=s3.head_object(Bucket=bucket, Key="new")["VersionId"])
    assert daemon.api("GET", f"/v1/ledger/keys/{key_id}/impact")["versions"] == 5
    assert daemon.cli("keys", "impact", "alias/none", check=False).returncode == 1


def test_an_old_version_is_given_up(daemon, kms, key_id, bucket):
    s3 = daemon.s3()
    for through in (True, False):
        put(s3, bucket, key_id, f"object-{through}", b"kept", through)
    assert daemon.cli("keys", "rewrap", key_id, json_output=True)["rewraps"] == []
    kms.rotate_key_on_demand(KeyId=key_id)
    daemon.cli("keys", "rewrap", key_id, "--version", "1")
    job = rewrapped(daemon, key_id, 1)
    assert (job["level"], job["bucket_keys"], job["versions"], job["left"]) == ("bucket-keys", 1, 1, 0)
    assert set(group[0] for group in groups(daemon.cli("keys", "impact", key_id, json_output=True))) == {2}
    for through in (True, False):
        assert s3.get_object(Bucket=bucket, Key=f"object-{through}")["Body"].read() == b"kept"
    assert daemon.cli("keys", "rewrap", key_id, "--version", "2", check=False).returncode == 1
    assert daemon.cli("keys", "rewrap", key_id, "--version", "9", check=False).returncode == 1


def test_a_compromise_forces_everything_under_another_version(daemon, kms, key_id, bucket):
    s3 = daemon.s3()
    put(s3, bucket, key_id, "cold", b"cold")
    archived(daemon, bucket, "cold")
    for through in (True, False):
        put(s3, bucket, key_id, f"object-{through}", b"1", through)
        put(s3, bucket, key_id, f"object-{through}", b"2", through)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="long", ServerSideEncryption="aws:kms", SSEKMSKeyId=key_id)["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="long", UploadId=upload, PartNumber=1, Body=b"p" * (5 * MIB))
    sealed = kms.encrypt(KeyId=key_id, Plaintext=b"secret")["CiphertextBlob"]
    marked = daemon.cli("keys", "compromise", key_id, "--reason", "a laptop was stolen", json_output=True)
    assert marked["current_version"] == 2
    job = rewrapped(daemon, key_id, 1)
    assert (job["level"], job["versions"], job["uploads"], job["left"]) == ("data-keys", 5, 1, 0)
    assert set(group[0] for group in groups(daemon.cli("keys", "impact", key_id, json_output=True))) == {2}
    history = daemon.cli("keys", "history", key_id, json_output=True)["versions"]
    assert [version["state"] for version in history] == ["compromised", "active"] and history[0]["compromised"]
    # It decrypts still, for whoever has to encrypt again what he keeps.
    assert kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"secret"
    for through in (True, False):
        versions = s3.list_object_versions(Bucket=bucket, Prefix=f"object-{through}")["Versions"]
        read = {s3.get_object(Bucket=bucket, Key=found["Key"], VersionId=found["VersionId"])["Body"].read() for found in versions}
        assert read == {b"1", b"2"}
    s3.complete_multipart_upload(Bucket=bucket, Key="long", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    assert len(s3.get_object(Bucket=bucket, Key="long")["Body"].read()) == 5 * MIB
    s3.restore_object(Bucket=bucket, Key="cold", RestoreRequest={"Days": 1})
    daemon.advance(days=1)
    wait_for(lambda: 'ongoing-request="false"' in s3.head_object(Bucket=bucket, Key="cold").get("Restore", ""))
    assert s3.get_object(Bucket=bucket, Key="cold")["Body"].read() == b"cold"
    uses = [event["use"] for event in daemon.events() if str(event.get("key", {}).get("arn", "")).endswith(key_id)]
    assert "compromise-key-version" in uses and "rewrap-batch" in uses
    wrong = daemon.cli("keys", "compromise", key_id, "--version", "3", "--reason", "x", check=False)
    assert wrong.returncode == 1 and "has no version 3" in wrong.stderr


def test_a_rewrap_survives_being_killed(fresh_daemon):
    daemon = fresh_daemon().start()
    key_id = daemon.kms().create_key()["KeyMetadata"]["KeyId"]
    daemon.s3().create_bucket(Bucket="killed")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: put(daemon.s3(), "killed", key_id, f"object-{number}", str(number).encode(), number % 2 == 0), range(60)))
    for version in (1, 2, 3):
        daemon.cli("keys", "compromise", key_id, "--reason", "a drill")
        time.sleep(0.01 * version)
        daemon.kill()
        daemon.restart()
        rewrapped(daemon, key_id, version)
    impact = daemon.cli("keys", "impact", key_id, json_output=True)
    assert groups(impact) == {(4, "STANDARD", "warm"): (60, sum(len(str(number)) for number in range(60)))}
    s3 = daemon.s3()
    for number in range(60):
        assert s3.get_object(Bucket="killed", Key=f"object-{number}")["Body"].read() == str(number).encode()


def test_the_key_of_the_service_can_be_given_up(daemon, bucket):
    s3 = daemon.s3()
    s3.put_object(Bucket=bucket, Key="managed", Body=b"managed")
    before = daemon.api("GET", "/v1/keys/alias%2Fstrongroom%2Fs3")["current_version"]
    daemon.cli("keys", "compromise", "alias/strongroom/s3", "--reason", "a drill")
    rewrapped(daemon, "alias/strongroom/s3", before)
    (version,) = daemon.cli("objects", "keys", f"s3://{bucket}/managed", json_output=True)["versions"]
    assert version["protection"]["version"] == before + 1
    assert s3.get_object(Bucket=bucket, Key="managed")["Body"].read() == b"managed"
    refused = daemon.cli("keys", "compromise", "alias/strongroom/system", "--reason", "x", check=False)
    assert refused.returncode == 1


def test_a_destruction_is_certified(daemon, kms, key_id, bucket, tmp_path):
    s3 = daemon.s3()
    put(s3, bucket, key_id, "warm", b"warm")
    put(s3, bucket, key_id, "cold", b"frozen")
    archived(daemon, bucket, "cold")
    assert daemon.cli("keys", "certificate", key_id, check=False).returncode == 1
    daemon.cli("keys", "schedule-deletion", key_id, "--days", "7")
    for name in ("warm", "cold"):
        with pytest.raises(ClientError) as caught:
            put(s3, bucket, key_id, "new", b"x")
        assert caught.value.response["Error"]["Code"] == "KMS.KMSInvalidStateException"
    daemon.advance(days=7)
    daemon.run_keys()
    file = tmp_path / "certificate.json"
    told = daemon.cli("keys", "certificate", key_id, "--output", file).stdout
    assert told.startswith("strongroom/destruction-certificate/v1\n")
    verifier_key = daemon.data / "audit.vkey"
    checked = daemon.cli("audit", "check-certificate", file, "--verifier-key", verifier_key).stdout
    assert key_id in checked and "2 object versions of 10 bytes" in checked
    statement = daemon.cli("audit", "check-certificate", file, "--verifier-key", verifier_key, json_output=True)["statement"]
    lost = {(group["bucket"], group["storage_class"]): group["size_bytes"] for group in statement["lost"]["groups"]}
    assert lost == {(bucket, "STANDARD"): 4, (bucket, "GLACIER"): 6}
    assert statement["scheduled"]["by"] == "administrator"
    forged = json.loads(file.read_text())
    forged["note"] = forged["note"].replace('"size_bytes": 10', '"size_bytes": 11')
    file.write_text(json.dumps(forged))
    refused = daemon.cli("audit", "check-certificate", file, "--verifier-key", verifier_key, check=False)
    assert refused.returncode == 1 and "the signature on the note is not valid" in refused.stderr
    file.write_text("{}")
    assert daemon.cli("audit", "check-certificate", file, "--verifier-key", verifier_key, check=False).returncode == 1

    # What was under it answers as AWS says, warm or cold, and a restored copy is as dead.
    s3.restore_object(Bucket=bucket, Key="cold", RestoreRequest={"Days": 1})
    daemon.advance(days=1)
    wait_for(lambda: 'ongoing-request="false"' in s3.head_object(Bucket=bucket, Key="cold").get("Restore", ""))
    for name in ("warm", "cold"):
        with pytest.raises(ClientError) as caught:
            s3.get_object(Bucket=bucket, Key=name)
        assert caught.value.response["Error"]["Code"] == "KMS.NotFoundException"


def test_the_last_use_of_a_key_is_told(daemon, kms, key_id, bucket):
    unused = kms.get_key_last_usage(KeyId=key_id)
    assert unused.get("KeyLastUsage", {}) == {} and unused["TrackingStartDate"] == unused["KeyCreationDate"]
    sealed = kms.encrypt(KeyId=key_id, Plaintext=b"x")
    used = kms.get_key_last_usage(KeyId=key_id)["KeyLastUsage"]
    assert used["Operation"] == "Encrypt" and used["KmsRequestId"] == sealed["ResponseMetadata"]["RequestId"]
    assert abs(used["Timestamp"].timestamp() - datetime.datetime.fromisoformat(daemon.api("GET", "/v1/clock")["now"]).timestamp()) < 60
    kms.rotate_key_on_demand(KeyId=key_id)
    daemon.advance(minutes=1)
    put(daemon.s3(), bucket, key_id, "object", b"x")
    assert kms.get_key_last_usage(KeyId=key_id)["KeyLastUsage"]["Operation"] == "GenerateDataKey"
    first, second = daemon.cli("keys", "history", key_id, json_output=True)["versions"]
    assert first["last_used"] < second["last_used"]
    with pytest.raises(ClientError) as caught:
        kms.get_key_last_usage(KeyId=str(uuid.uuid4()))
    assert caught.value.response["Error"]["Code"] == "NotFoundException"


def test_a_key_protects_within_its_limits_only(daemon, kms, key_id, bucket):
    s3 = daemon.s3()
    put(s3, bucket, key_id, "before", b"kept")
    shown = daemon.cli("keys", "limit", key_id, "--uses", "4", json_output=True)
    assert (shown["uses_max"], shown["uses"], shown["size_bytes_max"]) == (4, 1, None)
    sealed = [kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"] for _ in range(3)][-1]
    with pytest.raises(ClientError) as caught:
        kms.generate_data_key(KeyId=key_id, KeySpec="AES_256")
    assert caught.value.response["Error"]["Code"] == "KMSInvalidStateException"
    with pytest.raises(ClientError) as caught:
        put(s3, bucket, key_id, "direct", b"x", through=False)
    assert caught.value.response["Error"]["Code"] == "KMS.KMSInvalidStateException"
    assert kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"x"
    assert s3.get_object(Bucket=bucket, Key="before")["Body"].read() == b"kept"
    until = now(daemon) + datetime.timedelta(days=1)
    daemon.cli("keys", "limit", key_id, "--until", until.isoformat())
    kms.encrypt(KeyId=key_id, Plaintext=b"x")
    daemon.advance(days=1)
    with pytest.raises(ClientError) as caught:
        kms.encrypt(KeyId=key_id, Plaintext=b"x")
    assert caught.value.response["Error"]["Code"] == "KMSInvalidStateException"
    assert "no longer valid" in caught.value.response["Error"]["Message"]
    assert daemon.cli("keys", "limit", key_id, "--until", "tomorrow", check=False).returncode == 1
    daemon.cli("keys", "limit", key_id)
    kms.encrypt(KeyId=key_id, Plaintext=b"x")
    reasons = [event.get("reason") for event in daemon.events() if str(event.get("key", {}).get("arn", "")).endswith(key_id)]
    # What the object store asks for is refused by custody, and then by the half that asked.
    assert reasons.count("use-limited") == 4
