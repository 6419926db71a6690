"""The AWS KMS protocol, driven by boto3."""

import uuid

import pytest
from botocore.exceptions import ClientError


@pytest.fixture(scope="module")
def kms(daemon):
    return daemon.kms()


@pytest.fixture
def key_id(kms):
    return kms.create_key(Description="a test")["KeyMetadata"]["KeyId"]


def refused(code, call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response
    assert error["Error"]["Code"] == code, error
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 400
    return error


def test_a_key_is_made_and_described(kms, key_id):
    described = kms.describe_key(KeyId=key_id)["KeyMetadata"]
    assert (described["KeyState"], described["Enabled"], described["KeyUsage"]) == ("Enabled", True, "ENCRYPT_DECRYPT")
    assert described["Description"] == "a test" and described["Arn"].endswith(f":key/{key_id}")
    assert kms.describe_key(KeyId=described["Arn"])["KeyMetadata"]["KeyId"] == key_id
    assert key_id in [key["KeyId"] for page in kms.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 2}) for key in page["Keys"]]


def test_what_was_encrypted_opens_in_its_context_only(kms, key_id):
    context = {"project": "vault", "a": "b"}
    sealed = kms.encrypt(KeyId=key_id, Plaintext=b"secret", EncryptionContext=context)
    assert sealed["KeyId"].endswith(key_id) and b"secret" not in sealed["CiphertextBlob"]
    opened = kms.decrypt(CiphertextBlob=sealed["CiphertextBlob"], EncryptionContext=dict(reversed(context.items())))
    assert opened["Plaintext"] == b"secret" and opened["KeyId"] == sealed["KeyId"]
    for wrong in ({}, {"project": "vault"}, {"project": "Vault", "a": "b"}):
        refused("InvalidCiphertextException", kms.decrypt, CiphertextBlob=sealed["CiphertextBlob"], EncryptionContext=wrong)
    changed = bytearray(sealed["CiphertextBlob"])
    for place in (0, len(changed) // 2, len(changed) - 1):
        changed[place] ^= 1
        refused("InvalidCiphertextException", kms.decrypt, CiphertextBlob=bytes(changed), EncryptionContext=context)
        changed[place] ^= 1


def test_data_keys_open_again(kms, key_id):
    made = kms.generate_data_key(KeyId=key_id, KeySpec="AES_256")
    assert len(made["Plaintext"]) == 32
    assert kms.decrypt(CiphertextBlob=made["CiphertextBlob"])["Plaintext"] == made["Plaintext"]
    made = kms.generate_data_key_without_plaintext(KeyId=key_id, NumberOfBytes=64)
    assert "Plaintext" not in made and len(kms.decrypt(CiphertextBlob=made["CiphertextBlob"])["Plaintext"]) == 64
    assert len(kms.generate_random(NumberOfBytes=33)["Plaintext"]) == 33


def test_a_ciphertext_moves_to_another_key(kms, key_id):
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    sealed = kms.encrypt(KeyId=key_id, Plaintext=b"secret", EncryptionContext={"a": "1"})["CiphertextBlob"]
    moved = kms.re_encrypt(
        CiphertextBlob=sealed, SourceEncryptionContext={"a": "1"}, DestinationKeyId=other, DestinationEncryptionContext={"b": "2"}
    )
    assert moved["KeyId"].endswith(other) and moved["SourceKeyId"].endswith(key_id)
    assert kms.decrypt(CiphertextBlob=moved["CiphertextBlob"], EncryptionContext={"b": "2"})["Plaintext"] == b"secret"
    refused("IncorrectKeyException", kms.decrypt, CiphertextBlob=sealed, EncryptionContext={"a": "1"}, KeyId=other)


def test_aliases_come_and_go(kms, key_id):
    alias = f"alias/{uuid.uuid4().hex}"
    kms.create_alias(AliasName=alias, TargetKeyId=key_id)
    assert kms.describe_key(KeyId=alias)["KeyMetadata"]["KeyId"] == key_id
    refused("AlreadyExistsException", kms.create_alias, AliasName=alias, TargetKeyId=key_id)
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.update_alias(AliasName=alias, TargetKeyId=other)
    assert kms.describe_key(KeyId=alias)["KeyMetadata"]["KeyId"] == other
    assert alias in [found["AliasName"] for found in kms.list_aliases(KeyId=other)["Aliases"]]
    kms.delete_alias(AliasName=alias)
    refused("NotFoundException", kms.describe_key, KeyId=alias)


def test_a_disabled_key_does_nothing_until_enabled(kms, key_id):
    sealed = kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    kms.disable_key(KeyId=key_id)
    assert kms.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"] == "Disabled"
    refused("DisabledException", kms.encrypt, KeyId=key_id, Plaintext=b"x")
    refused("DisabledException", kms.decrypt, CiphertextBlob=sealed)
    refused("DisabledException", kms.generate_data_key, KeyId=key_id, KeySpec="AES_256")
    kms.enable_key(KeyId=key_id)
    assert kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"x"


def test_a_key_waits_for_its_deletion(kms, key_id):
    scheduled = kms.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)
    assert scheduled["KeyState"] == "PendingDeletion" and scheduled["PendingWindowInDays"] == 7
    refused("KMSInvalidStateException", kms.encrypt, KeyId=key_id, Plaintext=b"x")
    refused("KMSInvalidStateException", kms.enable_key, KeyId=key_id)
    kms.cancel_key_deletion(KeyId=key_id)
    assert kms.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"] == "Disabled"


@pytest.mark.parametrize("reference", [str(uuid.uuid4()), "alias/none", "arn:aws:kms:us-east-1:000000000000:key/" + str(uuid.uuid4())])
def test_a_key_that_is_not_there(kms, reference):
    refused("NotFoundException", kms.describe_key, KeyId=reference)


def test_limits_are_those_of_aws(daemon, kms, key_id):
    free = daemon.kms(parameter_validation=False)
    refused("ValidationException", free.encrypt, KeyId=key_id, Plaintext=b"x" * 4097)
    refused("ValidationException", free.encrypt, KeyId=key_id, Plaintext=b"")
    refused("ValidationException", free.generate_random, NumberOfBytes=1025)
    refused("ValidationException", free.generate_data_key, KeyId=key_id)
    refused("ValidationException", free.generate_data_key, KeyId=key_id, KeySpec="AES_256", NumberOfBytes=16)
    refused("ValidationException", free.schedule_key_deletion, KeyId=key_id, PendingWindowInDays=3)
    refused("ValidationException", free.create_alias, AliasName="no-prefix", TargetKeyId=key_id)
    kms.encrypt(KeyId=key_id, Plaintext=b"x" * 4096)


def test_what_is_not_offered_says_so(kms):
    refused("UnsupportedOperationException", kms.create_custom_key_store, CustomKeyStoreName="x")


def test_who_signs_wrongly_is_refused(daemon):
    import boto3

    for access, secret, code in (
        ("AKIAUNKNOWN000000000", "x", "UnrecognizedClientException"),
        (daemon.ready["access_key_id"], "wrong", "InvalidSignatureException"),
    ):
        client = boto3.client(
            "kms", endpoint_url=daemon.ready["api_url"], region_name=daemon.ready["region"], aws_access_key_id=access, aws_secret_access_key=secret
        )
        with pytest.raises(ClientError) as caught:
            client.list_keys()
        assert caught.value.response["Error"]["Code"] == code
