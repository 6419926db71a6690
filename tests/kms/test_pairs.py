"""HMAC keys and key pairs, driven by boto3 and checked with a cryptographic library of its own."""

import hashlib

import pytest
from botocore.exceptions import ClientError
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
CURVES = {
    "ECC_NIST_P256": (ec.SECP256R1, "256"), "ECC_NIST_P384": (ec.SECP384R1, "384"),
    "ECC_NIST_P521": (ec.SECP521R1, "512"), "ECC_SECG_P256K1": (ec.SECP256K1, "256"),
}


@pytest.fixture(scope="module")
def kms(daemon):
    return daemon.kms()


@pytest.fixture(scope="module")
def make_key(kms):
    made = {}

    def make(spec, usage, fresh=False):
        """A key of that spec: making one of 4,096 bits takes a while, so it is made once."""
        if fresh or (spec, usage) not in made:
            made[spec, usage] = kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]
        return made[spec, usage]

    return make


def refused(code, call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response
    assert error["Error"]["Code"] == code, error
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 400


def verifies(public, name, signature, digest):
    """Whether a signature of a digest verifies outside."""
    by = HASHES[name[-3:]]
    prehashed = utils.Prehashed(by)
    try:
        if name.startswith("ECDSA"):
            public.verify(signature, digest, ec.ECDSA(prehashed))
        elif "PSS" in name:
            public.verify(signature, digest, padding.PSS(padding.MGF1(by), by.digest_size), prehashed)
        else:
            public.verify(signature, digest, padding.PKCS1v15(), prehashed)
    except InvalidSignature:
        return False
    return True


@pytest.mark.parametrize("bits", ["224", "256", "384", "512"])
def test_macs(kms, make_key, bits):
    spec, algorithm = f"HMAC_{bits}", f"HMAC_SHA_{bits}"
    key = make_key(spec, "GENERATE_VERIFY_MAC")
    assert (key["KeySpec"], key["KeyUsage"], key["MacAlgorithms"]) == (spec, "GENERATE_VERIFY_MAC", [algorithm])
    assert not {"EncryptionAlgorithms", "SigningAlgorithms"} & set(key)
    ask = {"KeyId": key["KeyId"], "MacAlgorithm": algorithm}
    made = kms.generate_mac(Message=b"message", **ask)
    assert (made["KeyId"], made["MacAlgorithm"], len(made["Mac"])) == (key["Arn"], algorithm, int(bits) // 8)
    assert kms.generate_mac(Message=b"message", **ask)["Mac"] == made["Mac"]
    verified = kms.verify_mac(Message=b"message", Mac=made["Mac"], **ask)
    assert (verified["KeyId"], verified["MacValid"], verified["MacAlgorithm"]) == (key["Arn"], True, algorithm)
    for message, mac in ((b"massage", made["Mac"]), (b"message", made["Mac"][1:]), (b"message", bytes(len(made["Mac"])))):
        refused("KMSInvalidMacException", kms.verify_mac, Message=message, Mac=mac, **ask)
    other = "HMAC_SHA_256" if bits != "256" else "HMAC_SHA_512"
    refused("InvalidKeyUsageException", kms.generate_mac, Message=b"message", KeyId=key["KeyId"], MacAlgorithm=other)
    refused("InvalidKeyUsageException", kms.encrypt, KeyId=key["KeyId"], Plaintext=b"x")
    refused("InvalidKeyUsageException", kms.generate_data_key, KeyId=key["KeyId"], KeySpec="AES_256")
    refused("UnsupportedOperationException", kms.get_public_key, KeyId=key["KeyId"])


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521", "ECC_SECG_P256K1", "RSA_2048", "RSA_3072", "RSA_4096"])
def test_signatures(kms, make_key, spec):
    key = make_key(spec, "SIGN_VERIFY")
    assert (key["KeySpec"], key["KeyUsage"]) == (spec, "SIGN_VERIFY") and "EncryptionAlgorithms" not in key
    found = kms.get_public_key(KeyId=key["KeyId"])
    assert (found["KeyId"], found["KeySpec"], found["KeyUsage"]) == (key["Arn"], spec, "SIGN_VERIFY")
    assert found["SigningAlgorithms"] == key["SigningAlgorithms"]
    public = serialization.load_der_public_key(found["PublicKey"])
    if spec in CURVES:
        curve, bits = CURVES[spec]
        assert isinstance(public.curve, curve) and key["SigningAlgorithms"] == [f"ECDSA_SHA_{bits}"]
    else:
        assert public.key_size == int(spec[-4:]) and len(key["SigningAlgorithms"]) == 6
    for algorithm in key["SigningAlgorithms"]:
        digest = hashlib.new(f"sha{algorithm[-3:]}", b"message").digest()
        ask = {"KeyId": key["KeyId"], "SigningAlgorithm": algorithm}
        raw = kms.sign(Message=b"message", **ask)
        assert (raw["KeyId"], raw["SigningAlgorithm"]) == (key["Arn"], algorithm)
        of_digest = kms.sign(Message=digest, MessageType="DIGEST", **ask)["Signature"]
        for signature in (raw["Signature"], of_digest):
            assert verifies(public, algorithm, signature, digest)
            assert kms.verify(Message=b"message", Signature=signature, **ask)["SignatureValid"] is True
            assert kms.verify(Message=digest, MessageType="DIGEST", Signature=signature, **ask)["SignatureValid"] is True
            refused("KMSInvalidSignatureException", kms.verify, Message=b"massage", Signature=signature, **ask)
            refused("KMSInvalidSignatureException", kms.verify, Message=b"message", Signature=signature[:-1], **ask)
        refused("ValidationException", kms.sign, Message=digest[1:], MessageType="DIGEST", **ask)
    wrong = "RSASSA_PSS_SHA_256" if spec in CURVES else "ECDSA_SHA_256"
    refused("InvalidKeyUsageException", kms.sign, KeyId=key["KeyId"], Message=b"x", SigningAlgorithm=wrong)
    refused("UnsupportedOperationException", kms.sign, KeyId=key["KeyId"], Message=b"x", SigningAlgorithm="ED25519_SHA_512")
    refused("UnsupportedOperationException", kms.rotate_key_on_demand, KeyId=key["KeyId"])
    refused("UnsupportedOperationException", kms.enable_key_rotation, KeyId=key["KeyId"])
    refused("UnsupportedOperationException", kms.get_key_rotation_status, KeyId=key["KeyId"])


@pytest.mark.parametrize("spec", ["RSA_2048", "RSA_3072", "RSA_4096"])
def test_encryption_under_a_public_key(kms, make_key, spec):
    key = make_key(spec, "ENCRYPT_DECRYPT")
    assert key["EncryptionAlgorithms"] == ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"]
    public = serialization.load_der_public_key(kms.get_public_key(KeyId=key["KeyId"])["PublicKey"])
    for algorithm, by in (("RSAES_OAEP_SHA_1", hashes.SHA1()), ("RSAES_OAEP_SHA_256", hashes.SHA256())):
        ask = {"KeyId": key["KeyId"], "EncryptionAlgorithm": algorithm}
        made = kms.encrypt(Plaintext=b"secret", **ask)
        assert (made["KeyId"], made["EncryptionAlgorithm"]) == (key["Arn"], algorithm)
        outside = public.encrypt(b"secret", padding.OAEP(padding.MGF1(by), by, None))
        for ciphertext in (made["CiphertextBlob"], outside):
            opened = kms.decrypt(CiphertextBlob=ciphertext, **ask)
            assert (opened["Plaintext"], opened["KeyId"], opened["EncryptionAlgorithm"]) == (b"secret", key["Arn"], algorithm)
            changed = bytearray(ciphertext)
            changed[99] ^= 1
            for wrong in (bytes(changed), ciphertext[:-1], b"x"):
                refused("InvalidCiphertextException", kms.decrypt, CiphertextBlob=wrong, **ask)
        longest = int(spec[-4:]) // 8 - 2 * by.digest_size - 2
        assert kms.decrypt(CiphertextBlob=kms.encrypt(Plaintext=b"x" * longest, **ask)["CiphertextBlob"], **ask)["Plaintext"] == b"x" * longest
        refused("ValidationException", kms.encrypt, Plaintext=b"x" * (longest + 1), **ask)
        refused("ValidationException", kms.encrypt, Plaintext=b"x", EncryptionContext={"a": "b"}, **ask)
        refused("ValidationException", kms.decrypt, CiphertextBlob=outside, EncryptionAlgorithm=algorithm)
    refused("InvalidKeyUsageException", kms.encrypt, KeyId=key["KeyId"], Plaintext=b"x")
    refused("InvalidKeyUsageException", kms.sign, KeyId=key["KeyId"], Message=b"x", SigningAlgorithm="RSASSA_PSS_SHA_256")


@pytest.mark.parametrize("spec", [*CURVES, "ECC_NIST_EDWARDS25519", "RSA_2048", "RSA_3072"])
def test_data_key_pairs(kms, make_key, spec):
    key = make_key("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
    ask = {"KeyId": key["KeyId"], "KeyPairSpec": spec, "EncryptionContext": {"a": "b"}}
    made = kms.generate_data_key_pair(**ask)
    assert (made["KeyId"], made["KeyPairSpec"]) == (key["Arn"], spec)
    opened = kms.decrypt(CiphertextBlob=made["PrivateKeyCiphertextBlob"], EncryptionContext={"a": "b"})["Plaintext"]
    assert opened == made["PrivateKeyPlaintext"]
    refused("InvalidCiphertextException", kms.decrypt, CiphertextBlob=made["PrivateKeyCiphertextBlob"])
    private = serialization.load_der_private_key(opened, None)
    as_der = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert private.public_key().public_bytes(*as_der) == made["PublicKey"]
    without = kms.generate_data_key_pair_without_plaintext(**ask)
    assert "PrivateKeyPlaintext" not in without and without["PublicKey"] != made["PublicKey"]
    pair = make_key("ECC_NIST_P256", "SIGN_VERIFY")
    refused("InvalidKeyUsageException", kms.generate_data_key_pair, KeyId=pair["KeyId"], KeyPairSpec=spec)
    refused("UnsupportedOperationException", kms.generate_data_key_pair, KeyId=key["KeyId"], KeyPairSpec="SM2")


def test_specs_that_cannot_be_are_refused(daemon, kms):
    free = daemon.kms(parameter_validation=False)
    refused("ValidationException", kms.create_key, KeySpec="HMAC_256")
    refused("ValidationException", kms.create_key, KeySpec="HMAC_256", KeyUsage="SIGN_VERIFY")
    refused("ValidationException", kms.create_key, KeySpec="ECC_NIST_P256", KeyUsage="ENCRYPT_DECRYPT")
    refused("ValidationException", kms.create_key, KeySpec="SYMMETRIC_DEFAULT", KeyUsage="SIGN_VERIFY")
    refused("ValidationException", kms.create_key, KeySpec="RSA_2048", CustomerMasterKeySpec="RSA_3072", KeyUsage="SIGN_VERIFY")
    for spec, usage in (("ECC_NIST_EDWARDS25519", "SIGN_VERIFY"), ("ML_DSA_44", "SIGN_VERIFY"), ("SM2", "SIGN_VERIFY"), ("ECC_NIST_P256", "KEY_AGREEMENT")):
        refused("UnsupportedOperationException", kms.create_key, KeySpec=spec, KeyUsage=usage)
    key_id = kms.create_key(CustomerMasterKeySpec="HMAC_512", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["KeyId"]
    ask = {"KeyId": key_id, "MacAlgorithm": "HMAC_SHA_512"}
    refused("ValidationException", free.generate_mac, Message=b"", **ask)
    refused("ValidationException", free.generate_mac, Message=b"x" * 4097, **ask)
    refused("ValidationException", free.verify_mac, Message=b"x", Mac=b"", **ask)
    refused("ValidationException", free.generate_mac, Message=b"x", KeyId=key_id, MacAlgorithm="HMAC_SHA_1")
    refused("ValidationException", free.sign, KeyId=key_id, Message=b"x", SigningAlgorithm="NONE")
    refused("NotFoundException", kms.generate_mac, Message=b"x", KeyId="alias/none", MacAlgorithm="HMAC_SHA_512")


def test_grants_policies_and_states_hold_for_them_too(daemon, kms, make_key):
    user = daemon.cli("user", "create", "a signer", json_output=True)
    client, arn = daemon.client("kms", user=user), f"arn:aws:iam::000000000000:user/{user['access_key_id']}"
    pair = make_key("ECC_NIST_P256", "SIGN_VERIFY", fresh=True)
    admins = '{"Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:role/admin"},"Action":"kms:*","Resource":"*"}}'
    kms.put_key_policy(KeyId=pair["KeyId"], Policy=admins)
    ask = {"KeyId": pair["KeyId"], "Message": b"x", "SigningAlgorithm": "ECDSA_SHA_256"}
    refused("AccessDeniedException", client.sign, **ask)
    refused("ValidationException", kms.create_grant, KeyId=pair["KeyId"], GranteePrincipal=arn, Operations=["Encrypt"])
    refused("ValidationException", kms.create_grant, KeyId=pair["KeyId"], GranteePrincipal=arn, Operations=["Sign"], Constraints={"EncryptionContextSubset": {"a": "b"}})
    grant = kms.create_grant(KeyId=pair["KeyId"], GranteePrincipal=arn, Operations=["Sign", "GetPublicKey"])["GrantId"]
    signature = client.sign(**ask)["Signature"]
    client.get_public_key(KeyId=pair["KeyId"])
    refused("AccessDeniedException", client.verify, Signature=signature, **ask)
    (use,) = daemon.key_uses(use="sign", grant=grant)
    assert (use["principal"], use["key"]["arn"], use["outcome"]) == (user["access_key_id"], pair["Arn"], "granted")
    kms.disable_key(KeyId=pair["KeyId"])
    for call, arguments in ((kms.sign, ask), (kms.verify, {**ask, "Signature": signature}), (kms.get_public_key, {"KeyId": pair["KeyId"]})):
        refused("DisabledException", call, **arguments)
    kms.schedule_key_deletion(KeyId=pair["KeyId"])
    refused("KMSInvalidStateException", kms.sign, **ask)
    kms.cancel_key_deletion(KeyId=pair["KeyId"])
    kms.enable_key(KeyId=pair["KeyId"])
    assert kms.verify(Signature=signature, **ask)["SignatureValid"] is True


def test_objects_are_not_protected_by_them(s3, bucket, make_key):
    pair = make_key("ECC_NIST_P256", "SIGN_VERIFY")
    for through in (False, True):
        refused(
            "InvalidRequest", s3.put_object, Bucket=bucket, Key="a", Body=b"x", ServerSideEncryption="aws:kms",
            SSEKMSKeyId=pair["KeyId"], BucketKeyEnabled=through,
        )


def test_they_stay_over_a_restart_and_go_when_destroyed(fresh_daemon):
    daemon = fresh_daemon().start()
    kms = daemon.kms()
    pair = kms.create_key(KeySpec="ECC_NIST_P384", KeyUsage="SIGN_VERIFY")["KeyMetadata"]
    mac_key = kms.create_key(KeySpec="HMAC_384", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]
    sign = {"KeyId": pair["KeyId"], "Message": b"x", "SigningAlgorithm": "ECDSA_SHA_384"}
    make = {"KeyId": mac_key["KeyId"], "Message": b"x", "MacAlgorithm": "HMAC_SHA_384"}
    signature, mac = kms.sign(**sign)["Signature"], kms.generate_mac(**make)["Mac"]
    public = kms.get_public_key(KeyId=pair["KeyId"])["PublicKey"]
    daemon.restart()
    kms = daemon.kms()
    assert kms.verify(Signature=signature, **sign)["SignatureValid"] and kms.verify_mac(Mac=mac, **make)["MacValid"]
    assert kms.get_public_key(KeyId=pair["KeyId"])["PublicKey"] == public
    shown = daemon.cli("keys", "list", json_output=True)["keys"]
    assert {(key["spec"], key["usage"]) for key in shown} >= {("ECC_NIST_P384", "SIGN_VERIFY"), ("HMAC_384", "GENERATE_VERIFY_MAC")}
    for key in (pair, mac_key):
        kms.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=7)
    daemon.advance(days=7)
    for call, arguments in ((kms.sign, sign), (kms.get_public_key, {"KeyId": pair["KeyId"]}), (kms.generate_mac, make)):
        refused("NotFoundException", call, **arguments)
