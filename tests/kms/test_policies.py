"""Key policies and grants, driven by boto3 with the access keys of several users."""

import json
import uuid

import pytest
from botocore.exceptions import ClientError

ACCOUNT = "000000000000"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"


def role(name):
    return f"arn:aws:iam::{ACCOUNT}:role/{name}"


def arn(user):
    return f"arn:aws:iam::{ACCOUNT}:user/{user['access_key_id']}"


def statement(principal, actions, effect="Allow", **more):
    return {"Effect": effect, "Principal": {"AWS": principal}, "Action": actions, "Resource": "*", **more}


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


OPEN = statement(ROOT, "kms:*")


@pytest.fixture(scope="module")
def kms(daemon):
    return daemon.kms()


@pytest.fixture
def key_id(kms):
    return kms.create_key()["KeyMetadata"]["KeyId"]


@pytest.fixture(scope="module")
def make_user(daemon):
    def make(role="user"):
        return daemon.cli("user", "create", f"a {role}", "--role", role, json_output=True)

    return make


@pytest.fixture(scope="module")
def ann(make_user):
    return make_user()


@pytest.fixture(scope="module")
def ben(make_user):
    return make_user()


def refused(code, call, status=400, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response
    assert error["Error"]["Code"] == code, error
    assert error["ResponseMetadata"]["HTTPStatusCode"] == status
    return error["Error"]["Message"]


def denied(call, **arguments):
    return refused("AccessDeniedException", call, **arguments)


def test_a_key_has_the_default_policy_until_it_gets_another(kms, key_id):
    found = kms.get_key_policy(KeyId=key_id)
    assert found["PolicyName"] == "default"
    (only,) = json.loads(found["Policy"])["Statement"]
    assert (only["Principal"], only["Action"], only["Effect"]) == ({"AWS": ROOT}, "kms:*", "Allow")
    assert kms.list_key_policies(KeyId=key_id)["PolicyNames"] == ["default"]
    mine = policy(OPEN, statement(role("user"), "kms:Encrypt", "Deny"))
    kms.put_key_policy(KeyId=key_id, PolicyName="default", Policy=mine)
    assert kms.get_key_policy(KeyId=key_id, PolicyName="default")["Policy"] == mine
    made = kms.create_key(Policy=mine)["KeyMetadata"]
    assert kms.get_key_policy(KeyId=made["Arn"])["Policy"] == mine
    refused("NotFoundException", kms.get_key_policy, KeyId=key_id, PolicyName="another")
    refused("NotFoundException", kms.put_key_policy, KeyId=key_id, PolicyName="another", Policy=mine)
    refused("NotFoundException", kms.get_key_policy, KeyId=str(uuid.uuid4()))
    refused("NotFoundException", kms.list_key_policies, KeyId="alias/none")


def test_policies_that_cannot_be_are_refused(daemon, kms, key_id, make_user):
    free = daemon.kms(parameter_validation=False)
    other = make_user("admin")
    for wrong in (
        "{", "{}", '"*"', policy(), policy({**OPEN, "Effect": "Perhaps"}), policy({**OPEN, "Else": 1}),
        policy({"Effect": "Allow", "Action": "kms:*", "Resource": "*"}),
        policy(OPEN, statement(f"arn:aws:iam::{ACCOUNT}:user/SRAKAAAAAAAAAAAAAAAA", "kms:*")),
        policy(OPEN, statement("arn:aws:iam::111122223333:root", "kms:*")),
        policy({**OPEN, "Condition": {"StringIs": {"kms:ViaService": "x"}}}),
    ):
        refused("MalformedPolicyDocumentException", kms.put_key_policy, KeyId=key_id, Policy=wrong)
        refused("MalformedPolicyDocumentException", kms.create_key, Policy=wrong)
    # Nobody shuts himself out by mistake.
    closed = policy(statement(arn(other), "kms:*"))
    assert "in the future" in refused("MalformedPolicyDocumentException", kms.put_key_policy, KeyId=key_id, Policy=closed)
    refused("LimitExceededException", kms.put_key_policy, KeyId=key_id, Policy=policy(OPEN) + " " * 32768)
    refused("ValidationException", free.put_key_policy, KeyId=key_id, Policy="")
    refused("ValidationException", free.put_key_policy, KeyId=key_id, Policy=policy(OPEN) + "\u0100")
    kms.put_key_policy(KeyId=key_id, Policy=closed, BypassPolicyLockoutSafetyCheck=True)
    denied(kms.put_key_policy, KeyId=key_id, Policy=policy(OPEN))
    denied(kms.describe_key, KeyId=key_id)
    daemon.client("kms", user=other).put_key_policy(KeyId=key_id, Policy=policy(statement(arn(other), "kms:*"), OPEN))
    kms.describe_key(KeyId=key_id)


def test_a_denied_user_gets_nothing_by_any_way(daemon, s3, bucket, kms, key_id, ann, ben):
    clients = {name: (daemon.client("kms", user=user), daemon.client("s3", user=user)) for name, user in (("ann", ann), ("ben", ben))}
    sealed = kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    for through in (False, True):
        s3.put_object(
            Bucket=bucket, Key=f"there-{through}", Body=b"there", ServerSideEncryption="aws:kms", SSEKMSKeyId=key_id, BucketKeyEnabled=through
        )
    kms.put_key_policy(KeyId=key_id, Policy=policy(OPEN, statement(arn(ann), "kms:*", "Deny")))
    message = denied(clients["ann"][0].encrypt, KeyId=key_id, Plaintext=b"x")
    assert arn(ann) in message and "kms:Encrypt" in message and key_id in message and "explicit deny" in message
    denied(clients["ann"][0].decrypt, CiphertextBlob=sealed)
    denied(clients["ann"][0].generate_data_key, KeyId=key_id, KeySpec="AES_256")
    denied(clients["ann"][0].describe_key, KeyId=key_id)
    assert clients["ben"][0].decrypt(CiphertextBlob=sealed)["Plaintext"] == b"x"
    for through in (False, True):
        put = {"Bucket": bucket, "Key": "new", "Body": b"x", "ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key_id, "BucketKeyEnabled": through}
        there = {"Bucket": bucket, "Key": f"there-{through}"}
        # The bucket key is open for others.
        assert clients["ben"][1].get_object(**there)["Body"].read() == b"there"
        refused("AccessDenied", clients["ann"][1].get_object, status=403, **there)
        refused("AccessDenied", clients["ann"][1].put_object, status=403, **put)
        refused("AccessDenied", clients["ann"][1].copy_object, status=403, Bucket=bucket, Key="copy", CopySource=there)
        clients["ben"][1].put_object(**put)
    clients["ann"][1].put_object(Bucket=bucket, Key="own", Body=b"SSE-S3 asks no policy")
    refusals = [use for use in daemon.key_uses(outcome="refused", reason="access-denied", principal=ann["access_key_id"])]
    assert {"encrypt", "decrypt", "open", "create", "rewrap"} <= {use["use"] for use in refusals}


def test_conditions_look_at_the_context_and_the_service(daemon, s3, bucket, kms, key_id, ann):
    client, store = daemon.client("kms", user=ann), daemon.client("s3", user=ann)
    kms.put_key_policy(KeyId=key_id, Policy=policy(
        statement(role("admin"), "kms:*"),
        statement(arn(ann), ["kms:Encrypt", "kms:Decrypt"], Condition={"StringEquals": {"kms:EncryptionContext:dept": "radiology"}}),
        statement(arn(ann), "kms:GenerateDataKey", Condition={
            "StringEquals": {"kms:ViaService": f"s3.{daemon.ready['region']}.amazonaws.com"},
            "StringLike": {"kms:EncryptionContext:aws:s3:arn": f"arn:aws:s3:::{bucket}*"},
        }),
    ))
    context = {"dept": "radiology", "ward": "7"}
    sealed = client.encrypt(KeyId=key_id, Plaintext=b"x", EncryptionContext=context)["CiphertextBlob"]
    assert client.decrypt(CiphertextBlob=sealed, EncryptionContext=context)["Plaintext"] == b"x"
    for wrong in ({}, {"dept": "cardiology"}, {"ward": "7"}):
        denied(client.encrypt, KeyId=key_id, Plaintext=b"x", EncryptionContext=wrong)
    denied(client.generate_data_key, KeyId=key_id, KeySpec="AES_256", EncryptionContext={"aws:s3:arn": f"arn:aws:s3:::{bucket}"})
    put = {"Key": "a", "Body": b"x", "ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key_id}
    store.put_object(Bucket=bucket, **put)
    other = f"b-{uuid.uuid4().hex[:16]}"
    s3.create_bucket(Bucket=other)
    refused("AccessDenied", store.put_object, status=403, Bucket=other, **put)


def test_roles_count_where_the_account_is_allowed(daemon, kms, key_id, ann, make_user):
    user, auditor = daemon.client("kms", user=ann), daemon.client("kms", user=make_user("auditor"))
    user.encrypt(KeyId=key_id, Plaintext=b"x")
    for call, arguments in (
        (user.create_key, {}), (user.disable_key, {"KeyId": key_id}), (user.schedule_key_deletion, {"KeyId": key_id}),
        (user.put_key_policy, {"KeyId": key_id, "Policy": policy(OPEN)}), (user.get_key_policy, {"KeyId": key_id}),
        (user.create_alias, {"AliasName": "alias/mine", "TargetKeyId": key_id}), (user.list_grants, {"KeyId": key_id}),
        (auditor.encrypt, {"KeyId": key_id, "Plaintext": b"x"}), (auditor.generate_random, {"NumberOfBytes": 8}),
        (auditor.disable_key, {"KeyId": key_id}),
    ):
        denied(call, **arguments)
    assert key_id in [key["KeyId"] for page in user.get_paginator("list_keys").paginate() for key in page["Keys"]]
    assert auditor.describe_key(KeyId=key_id)["KeyMetadata"]["KeyId"] == key_id
    assert "kms:*" in auditor.get_key_policy(KeyId=key_id)["Policy"]
    kms.put_key_policy(KeyId=key_id, Policy=policy(OPEN, statement(role("user"), "kms:DisableKey")))
    user.disable_key(KeyId=key_id)
    # No policy lets an auditor use a key.
    kms.put_key_policy(KeyId=key_id, Policy=policy(OPEN, statement("*", "kms:*")))
    kms.enable_key(KeyId=key_id)
    denied(auditor.encrypt, KeyId=key_id, Plaintext=b"x")


def test_the_key_of_the_service_is_used_through_the_store_only(daemon, bucket, kms, ann):
    key_id = kms.describe_key(KeyId="alias/strongroom/s3")["KeyMetadata"]["KeyId"]
    assert "kms:ViaService" in kms.get_key_policy(KeyId=key_id)["Policy"]
    denied(kms.put_key_policy, KeyId=key_id, Policy=policy(OPEN))
    denied(kms.create_grant, KeyId=key_id, GranteePrincipal=ROOT, Operations=["Decrypt"])
    store = daemon.client("s3", user=ann)
    store.put_object(Bucket=bucket, Key="a", Body=b"x", ServerSideEncryption="aws:kms")
    assert store.get_object(Bucket=bucket, Key="a")["Body"].read() == b"x"


def test_a_grant_holds_until_it_is_revoked(daemon, bucket, kms, key_id, ann):
    client, store = daemon.client("kms", user=ann), daemon.client("s3", user=ann)
    kms.put_key_policy(KeyId=key_id, Policy=policy(statement(role("admin"), "kms:*")))
    denied(client.encrypt, KeyId=key_id, Plaintext=b"x")
    made = kms.create_grant(
        KeyId=key_id, GranteePrincipal=arn(ann), Operations=["Encrypt", "Decrypt", "GenerateDataKey", "DescribeKey"],
        Constraints={"EncryptionContextSubset": {"dept": "radiology"}}, Name="for-ann",
    )
    context = {"dept": "radiology", "ward": "7"}
    sealed = client.encrypt(KeyId=key_id, Plaintext=b"x", EncryptionContext=context, GrantTokens=[made["GrantToken"]])["CiphertextBlob"]
    assert client.decrypt(CiphertextBlob=sealed, EncryptionContext=context)["Plaintext"] == b"x"
    client.describe_key(KeyId=key_id)
    denied(client.encrypt, KeyId=key_id, Plaintext=b"x", EncryptionContext={"ward": "7"})
    (use,) = daemon.key_uses(use="decrypt", outcome="granted", grant=made["GrantId"])
    assert use["principal"] == ann["access_key_id"]
    (found,) = kms.list_grants(KeyId=key_id)["Grants"]
    assert (found["GrantId"], found["Name"], found["GranteePrincipal"], found["IssuingAccount"]) == (made["GrantId"], "for-ann", arn(ann), ROOT)
    assert found["Operations"] == ["Decrypt", "Encrypt", "GenerateDataKey", "DescribeKey"]
    assert found["Constraints"] == {"EncryptionContextSubset": {"dept": "radiology"}}
    put = {"Bucket": bucket, "Key": "a", "Body": b"x", "ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key_id}
    refused("AccessDenied", store.put_object, status=403, **put)
    for_store = kms.create_grant(KeyId=key_id, GranteePrincipal=role("user"), Operations=["GenerateDataKey", "Decrypt"])
    store.put_object(BucketKeyEnabled=True, **put)
    assert store.get_object(Bucket=bucket, Key="a")["Body"].read() == b"x"
    assert daemon.key_uses(use="open", bucket=bucket, grant=for_store["GrantId"])
    kms.revoke_grant(KeyId=key_id, GrantId=for_store["GrantId"])
    refused("AccessDenied", store.get_object, status=403, Bucket=bucket, Key="a")
    kms.revoke_grant(KeyId=key_id, GrantId=made["GrantId"])
    denied(client.decrypt, CiphertextBlob=sealed, EncryptionContext=context)
    refused("NotFoundException", kms.revoke_grant, KeyId=key_id, GrantId=made["GrantId"])
    refused("InvalidGrantTokenException", client.encrypt, KeyId=key_id, Plaintext=b"x", GrantTokens=[made["GrantToken"]])
    refused("InvalidGrantIdException", kms.revoke_grant, KeyId=key_id, GrantId="not one")


def test_grants_are_retired(daemon, kms, key_id, ann, ben):
    client = daemon.client("kms", user=ann)
    key_arn = kms.describe_key(KeyId=key_id)["KeyMetadata"]["Arn"]
    new = {"KeyId": key_id, "GranteePrincipal": arn(ben), "RetiringPrincipal": arn(ann), "Operations": ["Encrypt"]}
    first, second = kms.create_grant(**new), kms.create_grant(**new)
    assert first["GrantId"] != second["GrantId"]
    found = [grant["GrantId"] for page in client.get_paginator("list_retirable_grants").paginate(RetiringPrincipal=arn(ann), PaginationConfig={"PageSize": 1}) for grant in page["Grants"]]
    assert sorted(found) == sorted([first["GrantId"], second["GrantId"]])
    denied(daemon.client("kms", user=ben).retire_grant, GrantToken=first["GrantToken"])
    client.retire_grant(GrantToken=first["GrantToken"])
    client.retire_grant(KeyId=key_arn, GrantId=second["GrantId"])
    assert client.list_retirable_grants(RetiringPrincipal=arn(ann))["Grants"] == []
    refused("InvalidGrantTokenException", client.retire_grant, GrantToken=first["GrantToken"])
    refused("InvalidGrantTokenException", client.retire_grant, GrantToken="nonsense")
    refused("InvalidArnException", client.retire_grant, KeyId=key_id, GrantId=second["GrantId"])
    refused("ValidationException", client.retire_grant)


def test_grants_keep_the_rules_of_aws(daemon, kms, key_id, ann):
    free = daemon.kms(parameter_validation=False)
    new = {"KeyId": key_id, "GranteePrincipal": arn(ann), "Operations": ["Encrypt"]}
    once, again = kms.create_grant(Name="same", **new), kms.create_grant(Name="same", **new)
    assert once["GrantId"] == again["GrantId"] and once["GrantToken"] != again["GrantToken"]
    refused("ValidationException", free.create_grant, **{**new, "Operations": []})
    refused("ValidationException", free.create_grant, **{**new, "Operations": ["Destroy"]})
    refused("ValidationException", kms.create_grant, **{**new, "Operations": ["Sign"]})
    refused("ValidationException", free.create_grant, Name="a b", **new)
    refused("ValidationException", kms.create_grant, Constraints={"EncryptionContextSubset": {}, "EncryptionContextEquals": {}}, **new)
    refused("InvalidArnException", kms.create_grant, **{**new, "GranteePrincipal": "arn:aws:iam::111122223333:root"})
    refused("InvalidArnException", kms.create_grant, RetiringPrincipal=f"arn:aws:iam::{ACCOUNT}:user/SRAKAAAAAAAAAAAAAAAA", **new)
    refused("NotFoundException", kms.create_grant, **{**new, "KeyId": "alias/none"})
    for number in range(5):
        kms.create_grant(Name=f"n{number}", **new)
    pages = kms.get_paginator("list_grants").paginate(KeyId=key_id, PaginationConfig={"PageSize": 2})
    assert len([grant for page in pages for grant in page["Grants"]]) == 6
    assert len(kms.list_grants(KeyId=key_id, GrantId=once["GrantId"])["Grants"]) == 1
    assert len(kms.list_grants(KeyId=key_id, GranteePrincipal=arn(ann))["Grants"]) == 6
    assert kms.list_grants(KeyId=key_id, GranteePrincipal=ROOT)["Grants"] == []
    refused("ValidationException", kms.list_grants, KeyId=key_id, Limit=101)
    refused("InvalidMarkerException", kms.list_grants, KeyId=key_id, Marker="nonsense")
    refused("InvalidMarkerException", kms.list_retirable_grants, RetiringPrincipal=ROOT, Marker="nonsense")
    kms.disable_key(KeyId=key_id)
    refused("DisabledException", kms.create_grant, **new)
    kms.schedule_key_deletion(KeyId=key_id)
    refused("KMSInvalidStateException", kms.create_grant, **new)
    kms.revoke_grant(KeyId=key_id, GrantId=once["GrantId"])
    assert len(kms.list_grants(KeyId=key_id)["Grants"]) == 5


def test_policies_and_grants_stay_over_a_restart(fresh_daemon):
    daemon = fresh_daemon().start()
    kms = daemon.kms()
    key_id = kms.create_key(Policy=policy(statement(role("admin"), "kms:*")))["KeyMetadata"]["KeyId"]
    user = daemon.cli("user", "create", "somebody", json_output=True)
    kms.create_grant(KeyId=key_id, GranteePrincipal=arn(user), Operations=["Encrypt"])
    daemon.restart()
    client = daemon.client("kms", user=user)
    client.encrypt(KeyId=key_id, Plaintext=b"x")
    denied(client.generate_data_key, KeyId=key_id, KeySpec="AES_256")
