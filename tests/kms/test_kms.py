"""The AWS KMS protocol, driven by boto3."""

import datetime
import uuid

import pytest
from botocore.exceptions import ClientError
from daemon import Refused

DAY = datetime.timedelta(days=1)


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


def now(daemon):
    return datetime.datetime.fromisoformat(daemon.api("GET", "/v1/clock")["now"])


def rotations(kms, key_id, **paging):
    pages = kms.get_paginator("list_key_rotations").paginate(KeyId=key_id, PaginationConfig=paging)
    return [rotation for page in pages for rotation in page["Rotations"]]


def tags_of(kms, key_id, **paging):
    pages = kms.get_paginator("list_resource_tags").paginate(KeyId=key_id, PaginationConfig=paging)
    return {tag["TagKey"]: tag["TagValue"] for page in pages for tag in page["Tags"]}


def tags(**pairs):
    return [{"TagKey": key, "TagValue": value} for key, value in pairs.items()]


def put_objects(s3, bucket, key_id, name):
    """One object directly under a key, and one through a bucket key."""
    for through in (False, True):
        s3.put_object(
            Bucket=bucket, Key=f"{name}-{through}", Body=name.encode(), ServerSideEncryption="aws:kms", SSEKMSKeyId=key_id, BucketKeyEnabled=through
        )


def version_of(daemon, bucket, name):
    (version,) = daemon.cli("objects", "keys", f"s3://{bucket}/{name}", json_output=True)["versions"]
    return version["protection"]["version"]


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


NOBODY_S = "5a1e4d3c-0f27-4b8e-9c61-d2a7b3f08e94"


@pytest.mark.parametrize("reference", [NOBODY_S, "alias/none", f"arn:aws:kms:us-east-1:000000000000:key/{NOBODY_S}"])
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


def test_a_key_is_described_anew(daemon, kms, key_id):
    kms.update_key_description(KeyId=key_id, Description="said anew ä")
    assert kms.describe_key(KeyId=key_id)["KeyMetadata"]["Description"] == "said anew ä"
    kms.update_key_description(KeyId=key_id, Description="")
    kms.update_key_description(KeyId=key_id, Description="ä" * 8192)
    free = daemon.kms(parameter_validation=False)
    refused("ValidationException", free.update_key_description, KeyId=key_id, Description="x" * 8193)
    assert kms.describe_key(KeyId=key_id)["KeyMetadata"]["Description"] == "ä" * 8192


def test_tags_come_and_go(daemon, kms):
    key_id = kms.create_key(Tags=tags(team="imaging", Team=""))["KeyMetadata"]["KeyId"]
    assert tags_of(kms, key_id) == {"team": "imaging", "Team": ""}
    kms.tag_resource(KeyId=key_id, Tags=tags(team="films", cost="ä/7"))
    kms.untag_resource(KeyId=key_id, TagKeys=["Team", "never"])
    assert tags_of(kms, key_id, PageSize=1) == {"team": "films", "cost": "ä/7"}
    arn = kms.describe_key(KeyId=key_id)["KeyMetadata"]["Arn"]
    assert tags_of(kms, arn) == tags_of(kms, key_id)
    logged = [event for event in daemon.events() if event.get("use") == "tag-key"][-1]
    assert logged["key"]["arn"] == arn and logged["detail"] == {"tags": ["cost", "team"]}


def test_tags_keep_the_rules_of_aws(daemon, kms, key_id):
    free = daemon.kms(parameter_validation=False)
    refused("TagException", kms.tag_resource, KeyId=key_id, Tags=[{"TagKey": "aws:x", "TagValue": ""}])
    refused("TagException", kms.tag_resource, KeyId=key_id, Tags=tags(a="1") + tags(a="2"))
    refused("TagException", kms.create_key, Tags=tags(a="1") + tags(a="2"))
    refused("TagException", kms.untag_resource, KeyId=key_id, TagKeys=["aws:x"])
    refused("ValidationException", free.tag_resource, KeyId=key_id, Tags=[{"TagKey": "", "TagValue": ""}])
    refused("ValidationException", free.tag_resource, KeyId=key_id, Tags=[{"TagKey": "x" * 129, "TagValue": ""}])
    refused("ValidationException", free.tag_resource, KeyId=key_id, Tags=[{"TagKey": "x", "TagValue": "x" * 257}])
    kms.tag_resource(KeyId=key_id, Tags=tags(**{f"tag{number}": "" for number in range(50)}))
    refused("LimitExceededException", kms.tag_resource, KeyId=key_id, Tags=tags(more=""))
    kms.tag_resource(KeyId=key_id, Tags=tags(tag7="changed"))
    found = tags_of(kms, key_id, PageSize=7)
    assert len(found) == 50 and found["tag7"] == "changed"
    refused("InvalidMarkerException", kms.list_resource_tags, KeyId=key_id, Marker="not one!")
    refused("ValidationException", kms.list_resource_tags, KeyId=key_id, Limit=51)


def test_a_key_is_rotated_on_demand(daemon, s3, bucket, kms, key_id):
    context = {"a": "b"}
    sealed = kms.encrypt(KeyId=key_id, Plaintext=b"old", EncryptionContext=context)["CiphertextBlob"]
    put_objects(s3, bucket, key_id, "old")
    assert kms.rotate_key_on_demand(KeyId=key_id)["KeyId"] == key_id
    put_objects(s3, bucket, key_id, "new")
    for through in (False, True):
        for name, version in (("old", 1), ("new", 2)):
            assert s3.get_object(Bucket=bucket, Key=f"{name}-{through}")["Body"].read() == name.encode()
            assert version_of(daemon, bucket, f"{name}-{through}") == version
    assert kms.decrypt(CiphertextBlob=sealed, EncryptionContext=context)["Plaintext"] == b"old"
    # A copy onto itself brings an object under the newest version, without a byte of it moving.
    s3.copy_object(
        Bucket=bucket, Key="old-True", CopySource={"Bucket": bucket, "Key": "old-True"}, MetadataDirective="REPLACE",
        ServerSideEncryption="aws:kms", SSEKMSKeyId=key_id, BucketKeyEnabled=True,
    )
    assert version_of(daemon, bucket, "old-True") == 2
    status = kms.get_key_rotation_status(KeyId=key_id)
    assert status["KeyRotationEnabled"] is False
    assert not {"RotationPeriodInDays", "NextRotationDate", "OnDemandRotationStartDate"} & set(status)
    (rotation,) = rotations(kms, key_id)
    assert (rotation["KeyId"], rotation["RotationType"]) == (key_id, "ON_DEMAND")
    assert kms.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"] == "Enabled"


def test_on_demand_rotations_are_limited(kms, key_id):
    for _ in range(25):
        kms.rotate_key_on_demand(KeyId=key_id)
    refused("LimitExceededException", kms.rotate_key_on_demand, KeyId=key_id)
    assert [rotation["RotationType"] for rotation in rotations(kms, key_id, PageSize=7)] == ["ON_DEMAND"] * 25
    refused("InvalidMarkerException", kms.list_key_rotations, KeyId=key_id, Marker="nonsense")


def test_rotation_and_tags_need_a_key_by_itself(kms, key_id):
    alias = f"alias/{uuid.uuid4().hex}"
    kms.create_alias(AliasName=alias, TargetKeyId=key_id)
    alias_arn = kms.describe_key(KeyId=key_id)["KeyMetadata"]["Arn"].replace(f"key/{key_id}", alias)
    for call, arguments in (
        (kms.rotate_key_on_demand, {}),
        (kms.enable_key_rotation, {}),
        (kms.disable_key_rotation, {}),
        (kms.get_key_rotation_status, {}),
        (kms.list_key_rotations, {}),
        (kms.tag_resource, {"Tags": tags(a="b")}),
        (kms.untag_resource, {"TagKeys": ["a"]}),
        (kms.list_resource_tags, {}),
        (kms.update_key_description, {"Description": "x"}),
    ):
        refused("NotFoundException", call, KeyId=alias, **arguments)
        refused("NotFoundException", call, KeyId=str(uuid.uuid4()), **arguments)
        refused("InvalidArnException", call, KeyId=alias_arn, **arguments)
        refused("InvalidArnException", call, KeyId="arn:aws:kms:nonsense", **arguments)


@pytest.mark.parametrize("state", ["Disabled", "PendingDeletion"])
def test_what_a_key_that_is_not_enabled_refuses(kms, key_id, state):
    kms.enable_key_rotation(KeyId=key_id)
    if state == "Disabled":
        kms.disable_key(KeyId=key_id)
        code = "DisabledException"
    else:
        kms.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=30)
        code = "KMSInvalidStateException"
    refused(code, kms.rotate_key_on_demand, KeyId=key_id)
    refused(code, kms.enable_key_rotation, KeyId=key_id)
    refused(code, kms.disable_key_rotation, KeyId=key_id)
    status = kms.get_key_rotation_status(KeyId=key_id)
    assert status["KeyRotationEnabled"] is (state == "Disabled")
    assert rotations(kms, key_id) == [] and tags_of(kms, key_id) == {}
    if state == "Disabled":
        kms.tag_resource(KeyId=key_id, Tags=tags(a="b"))
        kms.untag_resource(KeyId=key_id, TagKeys=["a"])
        kms.update_key_description(KeyId=key_id, Description="x")
    else:
        refused(code, kms.tag_resource, KeyId=key_id, Tags=tags(a="b"))
        refused(code, kms.untag_resource, KeyId=key_id, TagKeys=["a"])
        refused(code, kms.update_key_description, KeyId=key_id, Description="x")
        kms.cancel_key_deletion(KeyId=key_id)
        assert kms.get_key_rotation_status(KeyId=key_id)["KeyRotationEnabled"] is True


def test_the_key_of_the_service_is_its_own_business(daemon, kms):
    key_id = kms.describe_key(KeyId="alias/strongroom/s3")["KeyMetadata"]["KeyId"]
    status = kms.get_key_rotation_status(KeyId=key_id)
    assert (status["KeyRotationEnabled"], status["RotationPeriodInDays"]) == (True, 365)
    refused("AccessDeniedException", kms.rotate_key_on_demand, KeyId=key_id)
    refused("AccessDeniedException", kms.disable_key_rotation, KeyId=key_id)
    refused("AccessDeniedException", kms.tag_resource, KeyId=key_id, Tags=tags(a="b"))
    with pytest.raises(Refused) as caught:
        daemon.api("POST", f"/v1/keys/{key_id}/rotate")
    assert caught.value.status == 403


def test_a_key_is_rotated_by_the_clock(fresh_daemon):
    daemon = fresh_daemon().start()
    kms, s3, bucket = daemon.kms(), daemon.s3(), "photos"
    s3.create_bucket(Bucket=bucket)
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    free = daemon.kms(parameter_validation=False)
    for wrong in (0, 89, 2561):
        refused("ValidationException", free.enable_key_rotation, KeyId=key_id, RotationPeriodInDays=wrong)
    begin = now(daemon)
    kms.enable_key_rotation(KeyId=key_id)
    status = kms.get_key_rotation_status(KeyId=key_id)
    assert (status["KeyRotationEnabled"], status["RotationPeriodInDays"]) == (True, 365)
    assert status["NextRotationDate"] == begin + 365 * DAY
    kms.enable_key_rotation(KeyId=key_id, RotationPeriodInDays=90)
    put_objects(s3, bucket, key_id, "v1")
    daemon.advance(days=89)
    assert rotations(kms, key_id) == []
    daemon.advance(days=1)
    put_objects(s3, bucket, key_id, "v2")
    kms.rotate_key_on_demand(KeyId=key_id)
    put_objects(s3, bucket, key_id, "v3")
    # Dates that were missed are not made up for; the schedule stays.
    daemon.advance(days=200)
    put_objects(s3, bucket, key_id, "v4")
    found = [(rotation["RotationType"], rotation["RotationDate"]) for rotation in rotations(kms, key_id, PageSize=2)]
    assert found == [("AUTOMATIC", begin + 90 * DAY), ("ON_DEMAND", begin + 90 * DAY), ("AUTOMATIC", begin + 290 * DAY)]
    assert kms.get_key_rotation_status(KeyId=key_id)["NextRotationDate"] == begin + 360 * DAY
    kms.disable_key_rotation(KeyId=key_id)
    assert kms.get_key_rotation_status(KeyId=key_id)["KeyRotationEnabled"] is False
    daemon.advance(days=400)
    assert len(rotations(kms, key_id)) == 3
    daemon.restart()
    s3 = daemon.s3()
    for version in (1, 2, 3, 4):
        for through in (False, True):
            name = f"v{version}-{through}"
            assert s3.get_object(Bucket=bucket, Key=name)["Body"].read() == f"v{version}".encode()
            assert version_of(daemon, bucket, name) == version
    kinds = [event["detail"]["rotation"] for event in daemon.events() if event.get("use") == "rotate-key" and event["key"]["arn"].endswith(key_id)]
    assert kinds == ["automatic", "on-demand", "automatic"]


def test_a_deletion_is_carried_out(daemon):
    kms, s3 = daemon.kms(), daemon.s3()
    key_id = kms.create_key(Description="doomed")["KeyMetadata"]["KeyId"]
    bucket, alias = f"b-{uuid.uuid4().hex[:16]}", f"alias/{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=bucket)
    kms.create_alias(AliasName=alias, TargetKeyId=key_id)
    put_objects(s3, bucket, key_id, "lost")
    s3.put_object(Bucket=bucket, Key="kept", Body=b"kept")
    kms.rotate_key_on_demand(KeyId=key_id)
    sealed = kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    kms.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)
    daemon.advance(days=6)
    assert kms.describe_key(KeyId=alias)["KeyMetadata"]["KeyState"] == "PendingDeletion"
    daemon.advance(days=1)

    for reference in (key_id, alias):
        refused("NotFoundException", kms.describe_key, KeyId=reference)
        refused("NotFoundException", kms.encrypt, KeyId=reference, Plaintext=b"x")
    refused("NotFoundException", kms.decrypt, CiphertextBlob=sealed)
    refused("NotFoundException", kms.cancel_key_deletion, KeyId=key_id)
    refused("NotFoundException", kms.get_key_rotation_status, KeyId=key_id)
    refused("NotFoundException", kms.list_key_rotations, KeyId=key_id)
    refused("NotFoundException", kms.list_resource_tags, KeyId=key_id)
    assert key_id not in [key["KeyId"] for page in kms.get_paginator("list_keys").paginate() for key in page["Keys"]]
    assert alias not in [found["AliasName"] for found in kms.list_aliases()["Aliases"]]
    for through in (False, True):
        for call, arguments in (
            (s3.get_object, {"Key": f"lost-{through}"}),
            (s3.put_object, {"Key": "new", "Body": b"x", "ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key_id, "BucketKeyEnabled": through}),
        ):
            refused("KMS.NotFoundException", call, Bucket=bucket, **arguments)
    assert s3.get_object(Bucket=bucket, Key="kept")["Body"].read() == b"kept"

    # What is left says what was lost.
    left = daemon.api("GET", f"/v1/keys/{key_id}")
    assert (left["state"], left["description"], left["current_version"]) == ("destroyed", "doomed", 2)
    states = [version["state"] for version in daemon.api("GET", f"/v1/keys/{key_id}/versions")["versions"]]
    assert states == ["destroyed", "destroyed"]
    lost = daemon.cli("keys", "versions", key_id, json_output=True)["versions"]
    assert sorted(version["key"] for version in lost) == ["lost-False", "lost-True"]
    assert version_of(daemon, bucket, "lost-True") == 1
    (event,) = [event for event in daemon.events() if event.get("use") == "destroy-key"]
    assert (event["outcome"], event["principal"]) in (("granted", "strongroom"), ("granted", "administrator"))
    assert event["detail"] == {"versions": 2, "object_versions": 2, "size_bytes": 8}
    s3.delete_object(Bucket=bucket, Key="lost-True")
    assert len(daemon.cli("keys", "versions", key_id, json_output=True)["versions"]) == 1


def test_the_command_line_rotates_and_deletes(daemon):
    key_id = daemon.cli("keys", "create", "--description", "by hand", json_output=True)["id"]
    rotated = daemon.cli("keys", "rotate", key_id, json_output=True)
    assert (rotated["current_version"], rotated["state"]) == (2, "enabled")
    states = [version["state"] for version in daemon.cli("keys", "history", key_id, json_output=True)["versions"]]
    assert states == ["deactivated", "active"]
    due = now(daemon) + 9 * DAY
    scheduled = daemon.cli("keys", "schedule-deletion", key_id, "--days", "9", json_output=True)
    assert scheduled["state"] == "pending-deletion" and datetime.datetime.fromisoformat(scheduled["deletion_date"]) == due
    assert daemon.cli("keys", "rotate", key_id, check=False).returncode == 1
    assert daemon.cli("keys", "schedule-deletion", key_id, "--days", "6", check=False).returncode == 1
    assert daemon.cli("keys", "cancel-deletion", key_id, json_output=True)["state"] == "disabled"
    report = daemon.run_keys()
    assert (report["rotated"], report["destroyed"], report["failed"]) == ([], [], [])
    assert datetime.datetime.fromisoformat(report["next"]) > now(daemon)
    paths = daemon.api("GET", "/v1/openapi.json")["paths"]
    assert {"/v1/keys/run", "/v1/keys/{key}/rotate", "/v1/keys/{key}/schedule-deletion", "/v1/keys/{key}/cancel-deletion", "/v1/keys/{key}/versions"} <= set(paths)
