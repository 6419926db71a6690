"""Archive and restore: no key for any move, and AWS's answers at every stage.

The clock is simulated; `daemon.advance` moves it and lets what became due happen.
"""

import pytest
from refusals import refused

STATE = "The operation is not valid for the object's storage class"


def restore(s3, bucket, name, *, days=2, tier=None, **arguments):
    request = {"Days": days}
    if tier:
        request["GlacierJobParameters"] = {"Tier": tier}
    return s3.restore_object(Bucket=bucket, Key=name, RestoreRequest=request, **arguments)["ResponseMetadata"]["HTTPStatusCode"]


def archived(daemon, s3, bucket, key, *, name="o", storage_class="GLACIER", content=b"kept for years" * 100):
    s3.put_object(Bucket=bucket, Key=name, Body=content, StorageClass=storage_class, **key.headers)
    daemon.run_lifecycle()
    return content


@pytest.mark.parametrize(
    "storage_class, tier, hours",
    [("GLACIER", None, 5), ("GLACIER", "Expedited", 1), ("GLACIER", "Bulk", 12), ("DEEP_ARCHIVE", "Standard", 12), ("DEEP_ARCHIVE", "Bulk", 48)],
)
def test_an_archived_object_is_restored_in_its_time_and_goes_again(daemon, s3, bucket, key, storage_class, tier, hours):
    content = archived(daemon, s3, bucket, key, storage_class=storage_class)
    where = {"Bucket": bucket, "Key": "o"}
    with refused(403, "InvalidObjectState", Message=STATE, StorageClass=storage_class):
        s3.get_object(**where, **key.headers)
    head = s3.head_object(**where, **key.headers)
    assert head["StorageClass"] == storage_class and "Restore" not in head
    assert restore(s3, bucket, "o", tier=tier) == 202
    assert s3.head_object(**where, **key.headers)["Restore"] == 'ongoing-request="true"'
    with refused(409, "RestoreAlreadyInProgress"):
        restore(s3, bucket, "o", tier=tier)
    with refused(403, "InvalidObjectState", StorageClass=storage_class):
        s3.get_object(**where, **key.headers)
    daemon.advance(hours=hours, minutes=1)
    head = s3.head_object(**where, **key.headers)
    assert head["Restore"].startswith('ongoing-request="false", expiry-date="') and head["Restore"].endswith(' 00:00:00 GMT"')
    assert head["StorageClass"] == storage_class
    assert s3.get_object(**where, **key.headers)["Body"].read() == content
    assert s3.get_object(**where, Range="bytes=3-9", **key.headers)["Body"].read() == content[3:10]
    assert restore(s3, bucket, "o", days=3, tier=tier) == 200
    daemon.advance(days=5)
    with refused(403, "InvalidObjectState", StorageClass=storage_class):
        s3.get_object(**where, **key.headers)
    assert "Restore" not in s3.head_object(**where, **key.headers)


def test_it_is_not_restored_before_its_time(daemon, s3, bucket, key):
    archived(daemon, s3, bucket, key, storage_class="DEEP_ARCHIVE")
    restore(s3, bucket, "o", tier="Standard")
    daemon.advance(hours=11)
    with refused(403, "InvalidObjectState"):
        s3.get_object(Bucket=bucket, Key="o", **key.headers)


def test_a_faster_tier_may_be_asked_for_while_under_way(daemon, s3, bucket, key):
    content = archived(daemon, s3, bucket, key)
    assert restore(s3, bucket, "o", tier="Bulk") == 202
    assert restore(s3, bucket, "o", tier="Expedited") == 202
    daemon.advance(minutes=10)
    assert s3.get_object(Bucket=bucket, Key="o", **key.headers)["Body"].read() == content


def test_a_rule_moves_objects_and_no_key_is_used(daemon, s3, bucket, key):
    content = b"x" * 200_000
    s3.put_object(Bucket=bucket, Key="logs/a", Body=content, **key.headers)
    s3.put_object(Bucket=bucket, Key="else/b", Body=content, **key.headers)
    s3.put_bucket_lifecycle_configuration(
        Bucket=bucket,
        LifecycleConfiguration={"Rules": [
            {"ID": "cool", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Transitions": [{"Days": 3, "StorageClass": "DEEP_ARCHIVE"}]},
        ]},
    )
    uses = len(daemon.key_uses())
    daemon.advance(days=2)
    assert "StorageClass" not in s3.head_object(Bucket=bucket, Key="logs/a", **key.headers)
    daemon.advance(days=2)
    assert len(daemon.key_uses()) == uses + 1, "only the HEAD between used a key"
    assert s3.head_object(Bucket=bucket, Key="logs/a", **key.headers)["StorageClass"] == "DEEP_ARCHIVE"
    with refused(403, "InvalidObjectState", StorageClass="DEEP_ARCHIVE"):
        s3.get_object(Bucket=bucket, Key="logs/a", **key.headers)
    assert s3.get_object(Bucket=bucket, Key="else/b", **key.headers)["Body"].read() == content


def test_a_rule_expires_objects(daemon, s3, bucket, versioned, key):
    rule = {"ID": "end", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}
    s3.put_bucket_lifecycle_configuration(Bucket=versioned, LifecycleConfiguration={"Rules": [rule]})
    put = s3.put_object(Bucket=versioned, Key="o", Body=b"x", **key.headers)
    assert 'rule-id="end"' in put["Expiration"]
    daemon.advance(days=3)
    with refused(404, "NoSuchKey"):
        s3.get_object(Bucket=versioned, Key="o", **key.headers)
    listed = s3.list_object_versions(Bucket=versioned)
    assert len(listed["DeleteMarkers"]) == 1 and len(listed["Versions"]) == 1


def test_an_archived_object_is_rekeyed_without_a_restore(daemon, s3, bucket, key, other_key):
    content = archived(daemon, s3, bucket, key)
    source = {"Bucket": bucket, "Key": "o"}
    with refused(403, "ObjectNotInActiveTierError"):
        s3.copy_object(Bucket=bucket, Key="o", CopySource=source, **key.source_headers, **other_key.headers)
    s3.copy_object(
        Bucket=bucket, Key="o", CopySource=source, StorageClass="GLACIER", **key.source_headers, **other_key.headers
    )
    restore(s3, bucket, "o")
    daemon.advance(hours=6)
    with refused(403, "AccessDenied"):
        s3.get_object(Bucket=bucket, Key="o", **key.headers)
    assert s3.get_object(Bucket=bucket, Key="o", **other_key.headers)["Body"].read() == content


def test_a_direct_request_archives_an_object(daemon, s3, bucket, key):
    s3.put_object(Bucket=bucket, Key="o", Body=b"x", **key.headers)
    daemon.api("POST", "/v1/archives", {"bucket": bucket, "key": "o", "storage_class": "GLACIER"})
    daemon.run_lifecycle()
    with refused(403, "InvalidObjectState", StorageClass="GLACIER"):
        s3.get_object(Bucket=bucket, Key="o", **key.headers)
    assert list((daemon.data / "cold").rglob("*")), "the cold tier is a directory"


def test_what_cannot_be_restored_is_refused(daemon, s3, bucket, key):
    s3.put_object(Bucket=bucket, Key="warm", Body=b"x", **key.headers)
    with refused(403, "InvalidObjectState"):
        restore(s3, bucket, "warm")
    with refused(404, "NoSuchKey"):
        restore(s3, bucket, "nothing")
    archived(daemon, s3, bucket, key, storage_class="DEEP_ARCHIVE")
    with refused(400, "InvalidArgument"):
        restore(s3, bucket, "o", tier="Expedited")
    with refused(400, "InvalidArgument"):
        restore(s3, bucket, "o", days=0)


def test_jobs_and_restores_survive_a_restart(fresh_daemon, key):
    daemon = fresh_daemon().start()
    s3 = daemon.s3()
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="o", Body=b"content", StorageClass="GLACIER", **key.headers)
    daemon.kill()
    daemon.start()
    s3 = daemon.s3()
    daemon.run_lifecycle()
    restore(s3, "kept", "o", tier="Standard")
    daemon.kill()
    daemon.start()
    daemon.advance(hours=6)
    assert daemon.s3().get_object(Bucket="kept", Key="o", **key.headers)["Body"].read() == b"content"


@pytest.mark.parametrize("storage_class", ["STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "REDUCED_REDUNDANCY", "GLACIER_IR"])
def test_classes_that_are_not_archives_read_directly(s3, bucket, key, storage_class):
    s3.put_object(Bucket=bucket, Key="o", Body=b"x", StorageClass=storage_class, **key.headers)
    got = s3.get_object(Bucket=bucket, Key="o", **key.headers)
    assert got["Body"].read() == b"x" and got["StorageClass"] == storage_class


def test_an_unknown_class_is_refused(s3, bucket):
    with refused(400, "InvalidStorageClass"):
        s3.put_object(Bucket=bucket, Key="o", Body=b"x", StorageClass="FROZEN")
