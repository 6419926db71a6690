"""rclone and s3cmd do what their users would do with them."""

import hashlib
import os
import subprocess

import pytest


def ran(command, environment=None, check=True):
    # What is set for other clients of AWS is not meant for these.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=120, env={**inherited, **(environment or {})}
    )
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture
def tree(tmp_path):
    """A small tree of files, one of them large enough to go in parts."""
    root = tmp_path / "tree"
    for name, size in {"a.txt": 10, "dir/b c+d.bin": 100_000, "dir/deep/ü": 0, "large": 12 << 20}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(hashlib.shake_128(name.encode()).digest(size))
    return root


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def rclone(daemon):
    """rclone with the daemon as its remote `sr:`."""
    environment = {"RCLONE_CONFIG": "/dev/null"}
    for name, value in {
        "TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": daemon.ready["s3_url"], "REGION": daemon.ready["region"],
        "ACCESS_KEY_ID": daemon.ready["access_key_id"], "SECRET_ACCESS_KEY": daemon.ready["secret_access_key"],
        "FORCE_PATH_STYLE": "true", "CHUNK_SIZE": "5Mi", "UPLOAD_CUTOFF": "5Mi",
    }.items():
        environment[f"RCLONE_CONFIG_SR_{name}"] = value
    return lambda *arguments, check=True: ran(["rclone", *arguments], environment, check)


def test_rclone_synchronises_a_tree_both_ways(rclone, bucket, tree, tmp_path):
    rclone("sync", tree, f"sr:{bucket}/tree")
    rclone("check", "--download", tree, f"sr:{bucket}/tree")
    rclone("sync", f"sr:{bucket}/tree", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(tree)
    (tree / "a.txt").unlink()
    rclone("sync", tree, f"sr:{bucket}/tree")
    assert "a.txt" not in rclone("lsf", "-R", f"sr:{bucket}/tree").stdout


@pytest.fixture
def s3cmd(daemon, tmp_path):
    address = daemon.ready["s3_url"].removeprefix("http://")
    configuration = tmp_path / "s3cfg"
    configuration.write_text(
        f"[default]\naccess_key = {daemon.ready['access_key_id']}\nsecret_key = {daemon.ready['secret_access_key']}\n"
        f"host_base = {address}\nhost_bucket = {address}\nbucket_location = {daemon.ready['region']}\nuse_https = False\n"
        "signature_v2 = False\nmultipart_chunk_size_mb = 5\n"
    )
    return lambda *arguments, check=True: ran(["s3cmd", "-c", configuration, *arguments], check=check)


def test_s3cmd_puts_lists_gets_and_deletes(s3cmd, bucket, tree, tmp_path):
    s3cmd("put", "--recursive", f"{tree}/", f"s3://{bucket}/tree/")
    listed = s3cmd("ls", "--recursive", f"s3://{bucket}/tree/").stdout
    assert len(listed.splitlines()) == len(contents(tree))
    back = tmp_path / "back"
    back.mkdir()
    s3cmd("get", "--recursive", f"s3://{bucket}/tree/", f"{back}/")
    assert contents(back) == contents(tree)
    s3cmd("del", "--recursive", "--force", f"s3://{bucket}/tree/")
    assert s3cmd("ls", "--recursive", f"s3://{bucket}/").stdout == ""
