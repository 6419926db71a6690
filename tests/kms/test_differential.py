"""The same requests to this service and to moto's KMS, compared answer by answer.

Both sides make their own keys, so a request names them by what they were called here, and of an answer the form is
compared: the status, the name of a refusal, which members there are, of which type; and the value of those members
that do not depend on which key it was. Where moto differs from AWS it is not asked: it rotates key pairs, says of a wrong
signature only that it is not valid, and denies access to a ciphertext that it cannot read.
"""

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

ACCOUNT = "000000000000"

# Members whose values are the same for the same request.
COMPARED = {
    "Description", "KeyUsage", "KeySpec", "CustomerMasterKeySpec", "KeyState", "Enabled", "Origin", "KeyManager", "MultiRegion",
    "EncryptionAlgorithms", "SigningAlgorithms", "MacAlgorithms", "KeyRotationEnabled", "EncryptionAlgorithm", "SigningAlgorithm",
    "MacAlgorithm", "MacValid", "SignatureValid", "AliasName", "PolicyNames", "Operations", "Constraints", "Name", "Tags",
    "SourceEncryptionAlgorithm", "DestinationEncryptionAlgorithm", "KeyPairSpec", "PolicyName", "RotationPeriodInDays",
}
# What moto leaves out of the answers of some operations, and what AWS has had in some only since then.
LEFT_OUT_BY_MOTO = {
    "create_key": {"MultiRegion"},
    "describe_key": {"MultiRegion"},
    "encrypt": {"EncryptionAlgorithm"},
    "decrypt": {"EncryptionAlgorithm"},
    "re_encrypt": {"SourceEncryptionAlgorithm", "DestinationEncryptionAlgorithm"},
    "list_aliases": {"CreationDate", "LastUpdatedDate"},
    "get_key_rotation_status": {"KeyId", "NextRotationDate", "RotationPeriodInDays"},
    "get_key_policy": {"PolicyName"},
    "list_grants": {"CreationDate", "IssuingAccount"},
    "get_public_key": {"KeySpec"},
    "schedule_key_deletion": {"KeyState", "PendingWindowInDays"},
}
LEFT_OUT_HERE = {
    "ResponseMetadata", "KeyMaterialId", "CurrentKeyMaterialId", "SourceKeyMaterialId", "DestinationKeyMaterialId",
}


def script():
    """Requests in order, each after what a member of its answer is to be called. `$name` is what was called so."""
    yield ("key", "KeyMetadata.KeyId"), "create_key", {"KeyUsage": "ENCRYPT_DECRYPT", "Description": "one", "Tags": [{"TagKey": "a", "TagValue": "b"}]}
    yield ("other", "KeyMetadata.KeyId"), "create_key", {"KeyUsage": "ENCRYPT_DECRYPT"}
    yield ("pair", "KeyMetadata.KeyId"), "create_key", {"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}
    yield ("rsa", "KeyMetadata.KeyId"), "create_key", {"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"}
    for key in ("key", "pair", "rsa"):
        yield ("arn", "KeyMetadata.Arn"), "describe_key", {"KeyId": f"${key}"}
    yield None, "describe_key", {"KeyId": "$arn"}
    yield None, "describe_key", {"KeyId": "00000000-0000-4000-8000-000000000000"}
    yield None, "describe_key", {"KeyId": "alias/none"}

    yield ("blob", "CiphertextBlob"), "encrypt", {"KeyId": "$key", "Plaintext": b"text", "EncryptionContext": {"a": "b"}}
    yield None, "decrypt", {"CiphertextBlob": "$blob", "EncryptionContext": {"a": "b"}}
    yield None, "decrypt", {"CiphertextBlob": "$blob", "EncryptionContext": {"a": "b"}, "KeyId": "$key"}
    yield None, "decrypt", {"CiphertextBlob": "$blob", "EncryptionContext": {"a": "c"}}
    yield ("moved", "CiphertextBlob"), "re_encrypt", {
        "CiphertextBlob": "$blob", "SourceEncryptionContext": {"a": "b"}, "DestinationKeyId": "$other", "DestinationEncryptionContext": {"c": "d"},
    }
    yield None, "decrypt", {"CiphertextBlob": "$moved", "EncryptionContext": {"c": "d"}}
    yield None, "generate_data_key", {"KeyId": "$key", "KeySpec": "AES_256"}
    yield None, "generate_data_key", {"KeyId": "$key", "NumberOfBytes": 64}
    yield None, "generate_data_key_without_plaintext", {"KeyId": "$key", "KeySpec": "AES_128"}
    yield None, "generate_random", {"NumberOfBytes": 32}

    yield None, "create_alias", {"AliasName": "alias/one", "TargetKeyId": "$key"}
    yield None, "create_alias", {"AliasName": "alias/one", "TargetKeyId": "$other"}
    yield None, "list_aliases", {"KeyId": "$key"}
    yield None, "describe_key", {"KeyId": "alias/one"}
    yield None, "update_alias", {"AliasName": "alias/one", "TargetKeyId": "$other"}
    yield None, "delete_alias", {"AliasName": "alias/one"}
    yield None, "delete_alias", {"AliasName": "alias/one"}

    yield None, "list_resource_tags", {"KeyId": "$key"}
    yield None, "tag_resource", {"KeyId": "$key", "Tags": [{"TagKey": "c", "TagValue": "d"}]}
    yield None, "untag_resource", {"KeyId": "$key", "TagKeys": ["a"]}
    yield None, "list_resource_tags", {"KeyId": "$key"}
    yield None, "update_key_description", {"KeyId": "$key", "Description": "two"}

    yield None, "get_key_rotation_status", {"KeyId": "$key"}
    yield None, "enable_key_rotation", {"KeyId": "$key", "RotationPeriodInDays": 100}
    yield None, "get_key_rotation_status", {"KeyId": "$key"}
    yield None, "disable_key_rotation", {"KeyId": "$key"}

    yield None, "list_key_policies", {"KeyId": "$key"}
    yield None, "get_key_policy", {"KeyId": "$key", "PolicyName": "default"}
    yield None, "get_key_policy", {"KeyId": "$key", "PolicyName": "another"}
    yield None, "put_key_policy", {"KeyId": "$key", "PolicyName": "another", "Policy": "{}"}

    grant = {"KeyId": "$key", "GranteePrincipal": f"arn:aws:iam::{ACCOUNT}:root", "RetiringPrincipal": f"arn:aws:iam::{ACCOUNT}:role/admin"}
    yield ("grant", "GrantId"), "create_grant", {**grant, "Operations": ["Decrypt"], "Name": "one", "Constraints": {"EncryptionContextSubset": {"a": "b"}}}
    yield ("token", "GrantToken"), "create_grant", {**grant, "Operations": ["Encrypt", "DescribeKey"]}
    yield None, "list_grants", {"KeyId": "$key", "GrantId": "$grant"}
    yield None, "list_retirable_grants", {"RetiringPrincipal": f"arn:aws:iam::{ACCOUNT}:role/user"}
    yield None, "revoke_grant", {"KeyId": "$key", "GrantId": "$grant"}
    yield None, "retire_grant", {"GrantToken": "$token"}
    yield None, "list_grants", {"KeyId": "$key"}

    sign = {"Message": b"text", "SigningAlgorithm": "ECDSA_SHA_256"}
    yield ("signature", "Signature"), "sign", {"KeyId": "$pair", **sign}
    yield None, "verify", {"KeyId": "$pair", "Signature": "$signature", **sign}
    yield None, "get_public_key", {"KeyId": "$pair"}
    for algorithm in ("RSASSA_PSS_SHA_256", "RSASSA_PKCS1_V1_5_SHA_512"):
        yield ("signature", "Signature"), "sign", {"KeyId": "$rsa", "Message": b"text", "SigningAlgorithm": algorithm}
        yield None, "verify", {"KeyId": "$rsa", "Message": b"text", "Signature": "$signature", "SigningAlgorithm": algorithm}
    make = {"KeyId": "$mac", "Message": b"text", "MacAlgorithm": "HMAC_SHA_256"}
    yield ("made", "Mac"), "generate_mac", make
    yield None, "verify_mac", {**make, "Mac": "$made"}
    yield None, "verify_mac", {**make, "Mac": b"0" * 32}

    yield None, "disable_key", {"KeyId": "$key"}
    yield None, "describe_key", {"KeyId": "$key"}
    yield None, "enable_key", {"KeyId": "$key"}
    yield None, "schedule_key_deletion", {"KeyId": "$other", "PendingWindowInDays": 7}
    yield None, "describe_key", {"KeyId": "$other"}
    yield None, "cancel_key_deletion", {"KeyId": "$other"}
    yield None, "list_keys", {}


class Side:
    """One service, and what its answers were called."""

    def __init__(self, client):
        self.client = client
        self.called = {}

    def ask(self, call, operation, arguments):
        filled = {name: self.called[value[1:]] if isinstance(value, str) and value.startswith("$") else value for name, value in arguments.items()}
        try:
            answer = getattr(self.client, operation)(**filled)
        except ClientError as error:
            return error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        if call:
            name, path = call
            found = answer
            for member in path.split("."):
                found = found[member]
            self.called[name] = found
        return form(answer, LEFT_OUT_HERE | LEFT_OUT_BY_MOTO.get(operation, set()))


def form(value, left_out, name=None):
    """What is compared of an answer."""
    if name in COMPARED:
        return sorted(value) if (name or "").endswith("Algorithms") else value
    if isinstance(value, dict):
        return {member: form(inner, left_out, member) for member, inner in sorted(value.items()) if member not in left_out and not (member == "SigningAlgorithms" and inner == [])}
    if isinstance(value, list):
        return [form(inner, left_out) for inner in value[:1]]
    return type(value).__name__


@pytest.fixture(scope="module")
def sides(daemon):
    ours = Side(daemon.kms())
    with mock_aws():
        motos = Side(boto3.client("kms", region_name=daemon.ready["region"]))
        for side in (ours, motos):
            # Of an HMAC key moto says that it encrypts.
            made = side.client.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
            side.called["mac"] = made["KeyMetadata"]["KeyId"]
        yield ours, motos


def test_the_answers_have_the_form_of_motos(sides):
    different = []
    for call, operation, arguments in script():
        ours, motos = (side.ask(call, operation, arguments) for side in sides)
        if ours != motos:
            different.append(f"{operation} {arguments}\n  here: {ours}\n  moto: {motos}")
    assert not different, "\n".join(different)
