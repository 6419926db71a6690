"""Clients that others wrote, against the endpoint: the AWS Encryption SDK and the AWS CLI."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import aws_encryption_sdk
import pytest
from aws_encryption_sdk.exceptions import AWSEncryptionSDKClientError

AWS = Path(sys.executable).with_name("aws")


@pytest.fixture(scope="module")
def kms(daemon):
    return daemon.kms()


@pytest.fixture
def sdk(daemon, monkeypatch):
    """The Encryption SDK makes its clients itself, from the environment."""
    for name, value in daemon.aws_environment().items():
        monkeypatch.setenv(name, value)
    return aws_encryption_sdk.EncryptionSDKClient(
        commitment_policy=aws_encryption_sdk.CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT, max_encrypted_data_keys=3
    )


def provider(*arns):
    return aws_encryption_sdk.StrictAwsKmsMasterKeyProvider(key_ids=list(arns))


def test_the_encryption_sdk_goes_round_trip(daemon, kms, sdk):
    first, second = (kms.create_key()["KeyMetadata"] for _ in range(2))
    context = {"purpose": "test", "origin": "here"}
    message = bytes(range(256)) * 100
    sealed, header = sdk.encrypt(source=message, key_provider=provider(first["Arn"], second["Arn"]), encryption_context=context)
    assert {key.key_provider.key_info.decode() for key in header.encrypted_data_keys} == {first["Arn"], second["Arn"]}
    for key in (first, second):
        opened, header = sdk.decrypt(source=sealed, key_provider=provider(key["Arn"]))
        assert opened == message and context.items() <= header.encryption_context.items()
    kms.disable_key(KeyId=first["KeyId"])
    with pytest.raises(AWSEncryptionSDKClientError):
        sdk.decrypt(source=sealed, key_provider=provider(first["Arn"]))
    assert sdk.decrypt(source=sealed, key_provider=provider(second["Arn"]))[0] == message
    changed = bytearray(sealed)
    changed[-1] ^= 1
    with pytest.raises(Exception):
        sdk.decrypt(source=bytes(changed), key_provider=provider(second["Arn"]))
    uses = {use["use"] for use in daemon.key_uses(context={**context, **{name: value for name, value in header.encryption_context.items() if name not in context}})}
    assert {"generate-data-key", "decrypt"} <= uses


def test_the_encryption_sdk_is_refused_by_a_policy(kms, sdk):
    policy = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"}, "Action": "kms:*", "Resource": "*"},
        {"Effect": "Deny", "Principal": "*", "Action": "kms:GenerateDataKey", "Resource": "*", "Condition": {"StringNotEquals": {"kms:EncryptionContext:purpose": "test"}}},
    ]}
    key = kms.create_key(Policy=json.dumps(policy))["KeyMetadata"]
    sdk.encrypt(source=b"x", key_provider=provider(key["Arn"]), encryption_context={"purpose": "test"})
    with pytest.raises(AWSEncryptionSDKClientError):
        sdk.encrypt(source=b"x", key_provider=provider(key["Arn"]), encryption_context={"purpose": "else"})


def test_the_command_line_of_aws(daemon, tmp_path):
    def aws(*arguments, check=True):
        command = [str(AWS), "kms", *arguments, "--output", "json"]
        done = subprocess.run(command, capture_output=True, text=True, env=daemon.aws_environment(), timeout=120)
        assert (done.returncode == 0) is check, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else done.stderr

    key_id = aws("create-key", "--key-spec", "ECC_NIST_P256", "--key-usage", "SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    message = tmp_path / "message"
    message.write_bytes(b"a release")
    ask = ["--key-id", key_id, "--message", f"fileb://{message}", "--signing-algorithm", "ECDSA_SHA_256"]
    signature = tmp_path / "signature"
    signature.write_bytes(base64.b64decode(aws("sign", *ask)["Signature"]))
    assert aws("verify", *ask, "--signature", f"fileb://{signature}")["SignatureValid"] is True
    message.write_bytes(b"another")
    assert "KMSInvalidSignatureException" in aws("verify", *ask, "--signature", f"fileb://{signature}", check=False)
    policy = json.loads(aws("get-key-policy", "--key-id", key_id)["Policy"])
    assert policy["Id"] == "key-default-1"
    account = "arn:aws:iam::000000000000:root"
    grant = aws("create-grant", "--key-id", key_id, "--grantee-principal", account, "--operations", "Sign")["GrantId"]
    assert [found["GrantId"] for found in aws("list-grants", "--key-id", key_id)["Grants"]] == [grant]
    aws("revoke-grant", "--key-id", key_id, "--grant-id", grant)
    assert aws("list-grants", "--key-id", key_id)["Grants"] == []
