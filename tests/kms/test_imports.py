"""Bring your own key: imported by boto3, wrapped by a cryptographic library of its own."""

import datetime
import hashlib
import hmac
import os
import subprocess
import uuid

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import padding

DAY_S = 86_400
FOR_GOOD = {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}
SIMPLE = ("RSAES_OAEP_SHA_1", "RSA_2048")
# A token that does not know a wrapping has it undone in the process of its module.
UNWRAPPED = {
    "RSAES_OAEP_SHA_1": "in-token", "RSA_AES_KEY_WRAP_SHA_1": "in-token",
    "RSAES_OAEP_SHA_256": "in-module-process", "RSA_AES_KEY_WRAP_SHA_256": "in-module-process",
}


@pytest.fixture(scope="module")
def kms(daemon):
    return daemon.kms()


@pytest.fixture
def key_id(kms):
    return kms.create_key(Origin="EXTERNAL", Description="brought")["KeyMetadata"]["KeyId"]


def refused(code, call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response
    assert error["Error"]["Code"] == code, error
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 400


def oaep(algorithm):
    by = hashes.SHA1() if algorithm.endswith("SHA_1") else hashes.SHA256()
    return padding.OAEP(mgf=padding.MGF1(by), algorithm=by, label=None)


def wrapped(public_der, algorithm, material):
    public = serialization.load_der_public_key(public_der)
    if algorithm.startswith("RSAES"):
        return public.encrypt(material, oaep(algorithm))
    transport = os.urandom(32)
    return public.encrypt(transport, oaep(algorithm)) + keywrap.aes_key_wrap_with_padding(transport, material)


def parameters(kms, key_id, algorithm=SIMPLE[0], key_spec=SIMPLE[1]):
    return kms.get_parameters_for_import(KeyId=key_id, WrappingAlgorithm=algorithm, WrappingKeySpec=key_spec)


def sound(kms, key_id, material, algorithm=SIMPLE[0], key_spec=SIMPLE[1]):
    """What an import of material asks for, but for its expiry."""
    made = parameters(kms, key_id, algorithm, key_spec)
    return {"KeyId": key_id, "ImportToken": made["ImportToken"], "EncryptedKeyMaterial": wrapped(made["PublicKey"], algorithm, material)}


def described(kms, key_id):
    return kms.describe_key(KeyId=key_id)["KeyMetadata"]


def material_id(key_id, material):
    return hmac.digest(material, b"strongroom/key-material/v1\0" + uuid.UUID(key_id).bytes, hashlib.sha256).hex()


def now(daemon):
    return datetime.datetime.fromisoformat(daemon.api("GET", "/v1/clock")["now"])


def pass_time(daemon, seconds):
    daemon.api("POST", "/v1/clock/advance", {"seconds": seconds})
    return daemon.api("POST", "/v1/keys/run", {})


@pytest.mark.parametrize(("algorithm", "key_spec"), [
    SIMPLE, ("RSAES_OAEP_SHA_256", "RSA_2048"), ("RSA_AES_KEY_WRAP_SHA_1", "RSA_3072"), ("RSA_AES_KEY_WRAP_SHA_256", "RSA_4096"),
])
def test_a_key_is_brought_by_each_wrapping(daemon, kms, key_id, algorithm, key_spec):
    before = described(kms, key_id)
    assert (before["Origin"], before["KeyState"], before["Enabled"]) == ("EXTERNAL", "PendingImport", False)
    assert "ExpirationModel" not in before and "CurrentKeyMaterialId" not in before
    refused("KMSInvalidStateException", kms.encrypt, KeyId=key_id, Plaintext=b"x")
    made = parameters(kms, key_id, algorithm, key_spec)
    assert made["KeyId"] == before["Arn"]
    assert serialization.load_der_public_key(made["PublicKey"]).key_size == int(key_spec[-4:])
    left = made["ParametersValidTo"] - now(daemon)
    assert datetime.timedelta(hours=23, minutes=59) < left <= datetime.timedelta(hours=24)
    material = os.urandom(32)
    imported = kms.import_key_material(
        KeyId=key_id, ImportToken=made["ImportToken"], EncryptedKeyMaterial=wrapped(made["PublicKey"], algorithm, material), **FOR_GOOD)
    assert imported["KeyId"] == before["Arn"]
    assert imported["KeyMaterialId"] == material_id(key_id, material)
    after = described(kms, key_id)
    assert (after["KeyState"], after["Enabled"], after["ExpirationModel"]) == ("Enabled", True, "KEY_MATERIAL_DOES_NOT_EXPIRE")
    assert after["CurrentKeyMaterialId"] == imported["KeyMaterialId"]
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"text")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"text"
    (kept,) = daemon.cli("keys", "material", key_id, json_output=True)["material"]
    assert kept["unwrapped"] == UNWRAPPED[algorithm]
    # The key that was brought is the key that encrypts.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    bound = b"strongroom/kms-ciphertext/v1\0" + blob[1:21]
    assert AESGCM(material).decrypt(blob[21:33], blob[33:], bound) == b"text"


def test_what_is_wrong_is_refused_by_its_name(kms, key_id):
    good = sound(kms, key_id, os.urandom(32))
    call = kms.import_key_material
    refused("ValidationException", call, **good)
    refused("ValidationException", call, **good, ExpirationModel="KEY_MATERIAL_EXPIRES")
    refused("ValidationException", call, **good, **FOR_GOOD, ValidTo=4_000_000_000)
    refused("ValidationException", call, **good, ValidTo=1)
    refused("ValidationException", call, **good, ValidTo=4_000_000_000)
    refused("ValidationException", call, **good, **FOR_GOOD, ImportType="NEW_KEY_MATERIAL", KeyMaterialId="0" * 64)
    refused("IncorrectKeyMaterialException", call, **good, **FOR_GOOD, ImportType="EXISTING_KEY_MATERIAL")
    changed = bytearray(good["ImportToken"])
    changed[40] ^= 1
    refused("InvalidImportTokenException", call, **{**good, "ImportToken": bytes(changed)}, **FOR_GOOD)
    refused("InvalidImportTokenException", call, **{**good, "ImportToken": b"nonsense"}, **FOR_GOOD)
    refused("InvalidCiphertextException", call, **{**good, "EncryptedKeyMaterial": os.urandom(256)}, **FOR_GOOD)
    refused("InvalidCiphertextException", call, **{**good, "EncryptedKeyMaterial": b"short"}, **FOR_GOOD)
    other = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["KeyId"]
    refused("InvalidImportTokenException", call, **{**good, "KeyId": other}, **FOR_GOOD)
    for length in (16, 31, 33):
        refused("IncorrectKeyMaterialException", call, **sound(kms, key_id, os.urandom(length)), **FOR_GOOD)
    assert described(kms, key_id)["KeyState"] == "PendingImport"
    token_made = kms.create_key()["KeyMetadata"]["KeyId"]
    refused("UnsupportedOperationException", parameters, kms=kms, key_id=token_made)
    refused("UnsupportedOperationException", call, **{**good, "KeyId": token_made}, **FOR_GOOD)
    refused("UnsupportedOperationException", kms.delete_imported_key_material, KeyId=token_made)
    refused("UnsupportedOperationException", parameters, kms=kms, key_id=key_id, algorithm="RSAES_PKCS1_V1_5")
    refused("ValidationException", parameters, kms=kms, key_id=key_id, key_spec="RSA_1024")
    refused("UnsupportedOperationException", kms.create_key, Origin="EXTERNAL", KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    refused("UnsupportedOperationException", kms.create_key, Origin="AWS_CLOUDHSM")


def test_the_states_of_a_key_that_waits(kms, key_id):
    """AWS KMS Developer Guide, "Key states of AWS KMS keys", the column of pending import."""
    alias = f"alias/{uuid.uuid4()}"
    kms.create_alias(AliasName=alias, TargetKeyId=key_id)
    kms.tag_resource(KeyId=key_id, Tags=[{"TagKey": "a", "TagValue": "b"}])
    kms.update_key_description(KeyId=key_id, Description="waits")
    assert kms.get_key_rotation_status(KeyId=key_id)["KeyRotationEnabled"] is False
    assert kms.list_key_rotations(KeyId=key_id)["Rotations"] == []
    assert "KeyMaterialId" not in kms.delete_imported_key_material(KeyId=key_id)
    for call, arguments in (
        (kms.enable_key, {}), (kms.disable_key, {}), (kms.cancel_key_deletion, {}), (kms.rotate_key_on_demand, {}),
        (kms.generate_data_key, {"KeySpec": "AES_256"}), (kms.encrypt, {"Plaintext": b"x"}),
        (kms.create_grant, {"GranteePrincipal": "arn:aws:iam::000000000000:role/user", "Operations": ["Decrypt"]}),
    ):
        refused("KMSInvalidStateException", call, KeyId=key_id, **arguments)
    refused("UnsupportedOperationException", kms.enable_key_rotation, KeyId=key_id)
    refused("UnsupportedOperationException", kms.disable_key_rotation, KeyId=key_id)
    kms.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)
    refused("KMSInvalidStateException", parameters, kms=kms, key_id=key_id)
    kms.delete_imported_key_material(KeyId=key_id)
    kms.cancel_key_deletion(KeyId=key_id)
    assert described(kms, key_id)["KeyState"] == "Disabled"
    kms.enable_key(KeyId=key_id)
    assert described(kms, key_id)["KeyState"] == "PendingImport"


def test_material_expires_and_comes_back(daemon, kms, key_id, bucket):
    s3, material = daemon.s3(), os.urandom(32)
    until = now(daemon) + datetime.timedelta(days=10)
    imported = kms.import_key_material(**sound(kms, key_id, material), ValidTo=until, KeyMaterialDescription="vault 7")
    metadata = described(kms, key_id)
    assert metadata["ExpirationModel"] == "KEY_MATERIAL_EXPIRES"
    # The client sends whole seconds.
    assert abs(metadata["ValidTo"] - until) < datetime.timedelta(seconds=1)
    under = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key_id}
    s3.put_object(Bucket=bucket, Key="direct", Body=b"one", **under)
    s3.put_object(Bucket=bucket, Key="through", Body=b"two", BucketKeyEnabled=True, **under)
    pass_time(daemon, 10 * DAY_S + 1)
    for name in ("direct", "through"):
        refused("KMS.KMSInvalidStateException", s3.get_object, Bucket=bucket, Key=name)
    refused("KMS.KMSInvalidStateException", s3.put_object, Bucket=bucket, Key="new", Body=b"x", **under)
    metadata = described(kms, key_id)
    assert metadata["KeyState"] == "PendingImport" and metadata["CurrentKeyMaterialId"] == imported["KeyMaterialId"]
    (entry,) = kms.list_key_rotations(KeyId=key_id, IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]
    assert (entry["ImportState"], entry["KeyMaterialState"]) == ("PENDING_IMPORT", "CURRENT")
    assert entry["KeyMaterialDescription"] == "vault 7"
    refused("IncorrectKeyMaterialException", kms.import_key_material, **sound(kms, key_id, os.urandom(32)), **FOR_GOOD)
    again = kms.import_key_material(**sound(kms, key_id, material), **FOR_GOOD, KeyMaterialId=imported["KeyMaterialId"])
    assert again["KeyMaterialId"] == imported["KeyMaterialId"]
    assert s3.get_object(Bucket=bucket, Key="direct")["Body"].read() == b"one"
    assert s3.get_object(Bucket=bucket, Key="through")["Body"].read() == b"two"

    # Deleted at once, and what a bucket key in memory would open with it.
    deleted = kms.delete_imported_key_material(KeyId=key_id)
    assert deleted["KeyMaterialId"] == imported["KeyMaterialId"]
    refused("KMS.KMSInvalidStateException", s3.get_object, Bucket=bucket, Key="through")


def test_an_import_token_is_good_for_a_day(daemon, kms, key_id):
    late = sound(kms, key_id, os.urandom(32))
    pass_time(daemon, DAY_S)
    refused("ExpiredImportTokenException", kms.import_key_material, **late, **FOR_GOOD)


def test_a_key_is_rotated_to_new_material(kms, key_id):
    first, second = os.urandom(32), os.urandom(32)
    kms.import_key_material(**sound(kms, key_id, first), **FOR_GOOD)
    old = kms.encrypt(KeyId=key_id, Plaintext=b"old")["CiphertextBlob"]
    refused("KMSInvalidStateException", kms.rotate_key_on_demand, KeyId=key_id)
    refused("IncorrectKeyMaterialException", kms.import_key_material, **sound(kms, key_id, second), **FOR_GOOD)
    new = {**FOR_GOOD, "ImportType": "NEW_KEY_MATERIAL"}
    refused("IncorrectKeyMaterialException", kms.import_key_material, **sound(kms, key_id, first), **new)
    imported = kms.import_key_material(**sound(kms, key_id, second), **new)
    listed = kms.list_key_rotations(KeyId=key_id, IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]
    assert [entry["KeyMaterialState"] for entry in listed] == ["CURRENT", "PENDING_ROTATION"]
    assert [entry["KeyMaterialId"] for entry in listed] == [material_id(key_id, first), imported["KeyMaterialId"]]
    assert "RotationDate" not in listed[0] and "RotationDate" not in listed[1]
    kms.rotate_key_on_demand(KeyId=key_id)
    (rotation,) = kms.list_key_rotations(KeyId=key_id)["Rotations"]
    assert (rotation["RotationType"], rotation["KeyMaterialState"]) == ("ON_DEMAND", "CURRENT")
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"new")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=old)["Plaintext"] == b"old"
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"new"
    # The old material is needed as well.
    kms.delete_imported_key_material(KeyId=key_id, KeyMaterialId=material_id(key_id, first))
    refused("KMSInvalidStateException", kms.decrypt, CiphertextBlob=blob)


def test_the_command_line_leads_through_it(daemon, tmp_path):
    key = daemon.cli("keys", "create", "--external", "--description", "brought by hand", json_output=True)
    assert (key["state"], key["origin"]) == ("pending-import", "external")
    place, material = tmp_path / "import", tmp_path / "key.bin"
    daemon.cli("keys", "import-parameters", key["id"], "--output", str(place), "--key-spec", "RSA_2048")
    material.write_bytes(os.urandom(31))
    short = subprocess.run(["sh", place / "wrap", material], capture_output=True, text=True)
    assert short.returncode == 2 and "32 bytes" in short.stderr
    material.write_bytes(os.urandom(32))
    subprocess.run(["sh", place / "wrap", material], check=True)
    done = daemon.cli("keys", "import", key["id"], "--from", str(place), "--description", "vault 7", json_output=True)
    assert done["key"]["state"] == "enabled"
    assert done["material"]["key_material_id"] == material_id(key["id"], material.read_bytes())
    deleted = daemon.cli("keys", "delete-material", key["id"], json_output=True)
    assert deleted["state"] == "pending-import"
    daemon.cli("keys", "import", key["id"], "--from", str(place))
    (kept,) = daemon.cli("keys", "material", key["id"], json_output=True)["material"]
    assert (kept["present"], kept["unwrapped"], kept["description"]) == (True, "in-token", "vault 7")
