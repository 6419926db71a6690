"""A token is lost for good, and another one of the owner takes its keys over from a backup."""

import json
import os
import shutil

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from deployment import Deployment, refuses


def done(finished):
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def escrow_token(directory):
    """A token with an escrow key, and the file with its public key."""
    escrow = Deployment(directory)
    public = directory / "escrow.pem"
    made = json.loads(done(escrow.command(
        "--json", "hsm", "escrow-key", "--config", escrow.file, "--output", public,
        "--blank-token", "--so-pin-file", escrow.hsm / "officer.pin",
    )))
    assert len(made["sha256"]) == 64
    # Once more gives the same key.
    again = json.loads(done(escrow.command("--json", "hsm", "escrow-key", "--config", escrow.file, "--output", public)))
    assert again == made
    return escrow, public


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A store with one of everything under its token, a backup of its keys, and what came after it."""
    directory = tmp_path_factory.mktemp("escrow")
    escrow, public = escrow_token(directory / "escrow")
    store = Deployment(directory / "store", settings={"escrow.public_key_file": str(public)})
    store.up()
    yield store, escrow, directory
    store.kill()


def objects_of(store, kms):
    """Objects under every kind of key, and how each is read."""
    s3 = store.s3()
    s3.create_bucket(Bucket="records")
    s3.put_bucket_encryption(Bucket="records", ServerSideEncryptionConfiguration={"Rules": [{
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BlockedEncryptionTypes": {"EncryptionType": ["NONE"]},
    }]})
    rotated = kms.create_key(Description="rotated")["KeyMetadata"]["KeyId"]
    written = {}

    def put(name, **how):
        s3.put_object(Bucket="records", Key=name, Body=name.encode(), **how)
        written[name] = how if "SSECustomerKey" in how else {}

    put("managed")
    put("first-version", ServerSideEncryption="aws:kms", SSEKMSKeyId=rotated)
    kms.rotate_key_on_demand(KeyId=rotated)
    put("second-version", ServerSideEncryption="aws:kms", SSEKMSKeyId=rotated, BucketKeyEnabled=True)
    return rotated, written


def read_all(store, written):
    for name, how in written.items():
        assert store.s3().get_object(Bucket="records", Key=name, **how)["Body"].read() == name.encode()


def imported(kms):
    key_id = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["KeyId"]
    made = kms.get_parameters_for_import(KeyId=key_id, WrappingAlgorithm="RSAES_OAEP_SHA_1", WrappingKeySpec="RSA_2048")
    by = padding.OAEP(mgf=padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)
    public = serialization.load_der_public_key(made["PublicKey"])
    kms.import_key_material(
        KeyId=key_id, ImportToken=made["ImportToken"], EncryptedKeyMaterial=public.encrypt(os.urandom(32), by),
        ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE",
    )
    return key_id


def test_a_lost_token_is_made_up_for(story, tmp_path):
    store, escrow, directory = story
    kms = store.kms()
    rotated, written = objects_of(store, kms)
    brought = imported(kms)
    blobs = [kms.encrypt(KeyId=key, Plaintext=b"text")["CiphertextBlob"] for key in (rotated, brought)]
    mac_key = kms.create_key(KeySpec="HMAC_512", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["KeyId"]
    signs = [kms.create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"] for spec in ("ECC_NIST_P384", "RSA_2048")]
    decrypts = kms.create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["KeyId"]
    mac = kms.generate_mac(KeyId=mac_key, MacAlgorithm="HMAC_SHA_512", Message=b"m")["Mac"]
    for_pair = kms.encrypt(KeyId=decrypts, EncryptionAlgorithm="RSAES_OAEP_SHA_256", Plaintext=b"p")["CiphertextBlob"]
    publics = [kms.get_public_key(KeyId=key)["PublicKey"] for key in signs]
    waits = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["KeyId"]

    # The backup, which is proved on the escrow token.
    backup = directory / "keys.backup"
    store.cli("keys", "backup", "--output", str(backup))
    assert backup.stat().st_mode & 0o777 == 0o600
    vkey = store.directory / "data/audit.vkey"
    kept_vkey = directory / "audit.vkey"
    shutil.copy(vkey, kept_vkey)
    drill = ("keys", "drill", backup, "--verifier-key", kept_vkey, "--config")
    drilled = json.loads(done(escrow.command("--json", *drill, escrow.file)))
    # The two keys of the service, and those made above, one of them in two versions.
    assert (drilled["passed"], drilled["versions"], drilled["failed"]) == (True, 9, [])
    other, _ = escrow_token(directory / "other")
    refuses(other.command(*drill, other.file), "escrow key of another token")
    written_over = store.command("keys", "backup", "--output", backup, "--api-url", store.ready["api_url"], "--admin-token-file", store.directory / "admin.token")
    refuses(written_over, "is there already")
    whole = json.loads(backup.read_text())
    assert b"text" not in backup.read_bytes()
    for change in (
        lambda pages: pages.clear(),
        lambda pages: pages[0].update(note=pages[0]["note"].replace('"version": 1', '"version": 2', 1)),
        lambda pages: pages.append(pages[0]),
    ):
        changed = json.loads(backup.read_text())
        change(changed["pages"])
        (tmp_path / "changed").write_text(json.dumps(changed))
        refuses(escrow.command("keys", "drill", tmp_path / "changed", "--verifier-key", kept_vkey, "--config", escrow.file), "to do")
    (entry,) = [entry for entry in events(store) if entry["use"] == "backup-keys"]
    assert entry["outcome"] == "granted" and f"{rotated}/2" in entry["detail"]["keys"]
    assert len(whole["pages"]) == 1

    # What comes after it is lost with the token.
    late = kms.create_key(Description="late")["KeyMetadata"]["KeyId"]
    late_blob = kms.encrypt(KeyId=late, Plaintext=b"lost")["CiphertextBlob"]
    locked = store.command("keys", "restore", backup, "--verifier-key", kept_vkey, "--config", store.file)
    refuses(locked, "in use by another process")
    assert store.stop() == 0
    shutil.rmtree(store.hsm)

    # Another token takes the keys over; the configuration names it from now on.
    store.tables["token"] = escrow.tables["token"]
    store.write()
    store.environment = escrow.environment
    store.refuses_to_start("audit")
    restore = ("--json", "keys", "restore", backup, "--verifier-key", kept_vkey, "--config", store.file)
    restored = json.loads(done(store.command(*restore)))
    assert restored["restored"] == 9 and restored["lost"] == [f"{late}/1"]
    assert json.loads(done(store.command(*restore)))["restored"] == 9, "it can be done again"
    store.start()
    kms = store.kms()
    read_all(store, written)
    assert [kms.decrypt(CiphertextBlob=blob)["Plaintext"] for blob in blobs] == [b"text"] * 2
    assert kms.verify_mac(KeyId=mac_key, MacAlgorithm="HMAC_SHA_512", Message=b"m", Mac=mac)["MacValid"]
    assert kms.decrypt(KeyId=decrypts, EncryptionAlgorithm="RSAES_OAEP_SHA_256", CiphertextBlob=for_pair)["Plaintext"] == b"p"
    for key, public, algorithm in zip(signs, publics, ("ECDSA_SHA_384", "RSASSA_PSS_SHA_256")):
        signature = kms.sign(KeyId=key, Message=b"m", SigningAlgorithm=algorithm)["Signature"]
        assert kms.verify(KeyId=key, Message=b"m", SigningAlgorithm=algorithm, Signature=signature)["SignatureValid"]
        assert kms.get_public_key(KeyId=key)["PublicKey"] == public
    with pytest.raises(ClientError):
        kms.decrypt(CiphertextBlob=late_blob)
    assert kms.describe_key(KeyId=waits)["KeyMetadata"]["KeyState"] == "PendingImport"
    fresh = kms.create_key()["KeyMetadata"]["KeyId"]
    assert kms.encrypt(KeyId=fresh, Plaintext=b"x")

    # The log goes on, and tells of it; both keys have signed where one takes the place of the other.
    (entry, _) = [entry for entry in events(store) if entry["use"] == "restore"]
    assert (entry["detail"]["restored"], entry["detail"]["lost"]) == (9, 1)
    assert store.stop() == 0
    log = store.directory / "data/audit"
    done(store.command("audit", "verify", "--directory", log, "--verifier-key", vkey))
    refuses(store.command("audit", "verify", "--directory", log, "--verifier-key", kept_vkey), "to do")
    (former,) = (store.directory / "data").glob("audit-*.vkey")
    assert former.read_text() == kept_vkey.read_text()
    (handed,) = (store.directory / "data").glob("audit-*.checkpoint")
    assert handed.read_text().count("\n\u2014 ") == 2


def events(store):
    return store.cli("audit", "events", "--directory", str(store.directory / "data/audit"), json_output=True)


def test_there_is_no_backup_without_an_escrow_key(deploy, tmp_path):
    store = deploy()
    store.up()
    refused = store.command("keys", "backup", "--output", tmp_path / "backup", "--api-url", store.ready["api_url"],
                            "--admin-token-file", store.directory / "admin.token")
    refuses(refused, "escrow.public_key_file")
    store.stop()
    (tmp_path / "nonsense.pem").write_text("nonsense")
    store.set("escrow.public_key_file", str(tmp_path / "nonsense.pem"))
    store.refuses_to_start("no RSA public key of 3,072 bits")
    store.set("escrow.public_key_file", str(tmp_path / "nowhere.pem"))
    store.refuses_to_start("nowhere.pem")


def test_custodians_are_taken_from_the_right_log_alone(tmp_path):
    escrow, public = escrow_token(tmp_path / "escrow")
    store = Deployment(tmp_path / "store", settings={"escrow.public_key_file": str(public)})
    store.up()
    try:
        log, vkey = store.directory / "data/audit", tmp_path / "audit.vkey"
        shutil.copy(store.directory / "data/audit.vkey", vkey)
        keys = []
        for name in ("ada", "ben"):
            keys.append(tmp_path / f"{name}.key")
            keys[-1].with_suffix(".vkey").write_text(done(store.command("custodian", "new", name, "--output", keys[-1])))
        store.api("POST", "/v1/audit/checkpoint")
        shutil.copytree(log, tmp_path / "older")
        store.cli("quorum", "set", "--threshold", 2, *(part for key in keys for part in ("--custodian", key.with_suffix(".vkey"))))
        backup = tmp_path / "keys.backup"
        assert store.cli("keys", "backup", "--output", backup, check=False).returncode == 1
        (proposal,) = store.cli("quorum", "list", json_output=True)["proposals"]
        for key in keys:
            store.cli("quorum", "approve", proposal["id"], "--key", key, "--yes")
        store.cli("keys", "backup", "--output", backup)
        assert store.stop() == 0
        shutil.rmtree(store.hsm)
        store.tables["token"] = escrow.tables["token"]
        store.write()
        store.environment = escrow.environment
        restore = ("keys", "restore", backup, "--verifier-key", vkey, "--config", store.file)

        # A log from before the backup would have no custodians.
        right = tmp_path / "right"
        log.rename(right)
        shutil.copytree(tmp_path / "older", log)
        refuses(store.command(*restore), "is not the one that tells of the backup", "newest copy")

        # One in which somebody has put others in their place does not hold.
        shutil.rmtree(log)
        shutil.copytree(right, log)
        ada = keys[0].with_suffix(".vkey").read_text().strip().encode()
        changed = 0
        for bundle in (log / "tile/entries").rglob("*"):
            if bundle.is_file() and ada in bundle.read_bytes() and b"change-quorum-rule" in bundle.read_bytes():
                bundle.write_bytes(bundle.read_bytes().replace(ada, ada[:-4] + b"AAAA"))
                changed += 1
        assert changed
        refuses(store.command(*restore), "audit verify")

        # The right one, and they have to agree as before.
        shutil.rmtree(log)
        shutil.copytree(right, log)
        assert "2 of 2 custodians have to agree, as before" in done(store.command(*restore))
        store.start()
        key = store.kms().create_key()["KeyMetadata"]["KeyId"]
        with pytest.raises(ClientError) as refused:
            store.kms().schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
        assert "send the same request again" in str(refused.value)
        assert store.stop() == 0
        vkey = store.directory / "data/audit.vkey"
        done(store.command("audit", "verify", "--directory", log, "--verifier-key", vkey))
    finally:
        store.kill()
