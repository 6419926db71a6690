"""The audit log: every key use is on it, and an outsider finds a single changed byte."""

import shutil

import pytest


def verify(daemon, directory, check=True):
    return daemon.cli("audit", "verify", "--directory", directory, "--verifier-key", daemon.data / "audit.vkey", check=check)


def superseded(path):
    """Whether a partial tile is held whole by a wider one, or by the full one."""
    if not path.parent.name.endswith(".p"):
        return False
    wider = any(int(other.name) > int(path.name) for other in path.parent.iterdir())
    return wider or path.parent.with_suffix("").exists()


def test_every_key_use_is_on_the_log_and_no_key_is(daemon, s3, bucket, key, other_key):
    s3.put_object(Bucket=bucket, Key="o", Body=b"x", **key.headers)
    s3.get_object(Bucket=bucket, Key="o", **key.headers)
    with pytest.raises(Exception):
        s3.get_object(Bucket=bucket, Key="o", **other_key.headers)
    s3.copy_object(Bucket=bucket, Key="o", CopySource={"Bucket": bucket, "Key": "o"}, **key.source_headers, **other_key.headers)
    uses = daemon.key_uses(bucket=bucket)
    assert [(event["use"], event["outcome"]) for event in uses[:3]] == [("create", "granted"), ("open", "granted"), ("open", "refused")]
    assert any(event["use"] == "rewrap" for event in uses[3:])
    assert all(event["principal"] == daemon.ready["access_key_id"] and event["request_id"] for event in uses)
    text = str(uses)
    assert key.base64 not in text and key.raw.hex() not in text


def test_the_log_verifies_offline_and_over_http(daemon, s3, bucket, key, tmp_path):
    for number in range(300):
        s3.put_object(Bucket=bucket, Key=f"o{number}", Body=b"", **key.headers)
    daemon.api("POST", "/v1/audit/checkpoint")
    copy = tmp_path / "audit"
    shutil.copytree(daemon.data / "audit", copy)
    told = verify(daemon, copy).stdout
    assert "entries" in told
    checkpoint = daemon.get_text("/audit/checkpoint")
    assert checkpoint.splitlines()[1].isdigit() and int(checkpoint.splitlines()[1]) >= 300
    assert daemon.api("GET", "/v1/audit/proofs/7")["proof"].startswith("c2sp.org/tlog-proof@v1")


def test_one_changed_removed_or_reordered_byte_is_found(daemon, s3, bucket, key, tmp_path):
    for number in range(20):
        s3.put_object(Bucket=bucket, Key=f"o{number}", Body=b"", **key.headers)
    daemon.api("POST", "/v1/audit/checkpoint")
    kept = tmp_path / "kept"
    shutil.copytree(daemon.data / "audit", kept)
    verify(daemon, kept)
    files = [path.relative_to(kept) for path in kept.rglob("*") if path.is_file() and ("tile" in path.parts or path.name == "checkpoint")]
    assert files
    for name in files:
        for spoil in ("change", "shorten", "remove", "swap"):
            changed = tmp_path / "changed"
            shutil.rmtree(changed, ignore_errors=True)
            shutil.copytree(kept, changed)
            content = bytearray((changed / name).read_bytes())
            if spoil == "change":
                content[len(content) // 2] ^= 1
            elif spoil == "shorten":
                del content[-1]
            elif spoil == "swap":
                if content[0] == content[-1]:
                    continue
                content[0], content[-1] = content[-1], content[0]
            (changed / name).write_bytes(content)
            if spoil == "remove":
                if superseded(changed / name):
                    # A partial tile that a wider one has replaced may be pruned (C2SP tlog-tiles).
                    continue
                (changed / name).unlink()
            done = verify(daemon, changed, check=False)
            assert done.returncode == 1, f"{spoil} {name}: {done.stdout}"
            assert "panicked" not in done.stderr


def test_the_log_stays_consistent_over_a_kill(fresh_daemon, key):
    daemon = fresh_daemon().start()
    s3 = daemon.s3()
    s3.create_bucket(Bucket="kept")
    for number in range(50):
        s3.put_object(Bucket="kept", Key=f"o{number}", Body=b"", **key.headers)
    daemon.kill()
    daemon.start()
    daemon.api("POST", "/v1/audit/checkpoint")
    assert len(daemon.key_uses(use="create", bucket="kept")) == 50
    verify(daemon, daemon.data / "audit")
