"""The AWS CLI does what a person would do with it."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def aws(daemon):
    command = str(Path(sys.executable).parent / "aws")

    def run(*arguments, check=True):
        done = subprocess.run([command, *map(str, arguments)], capture_output=True, text=True, env=daemon.aws_environment(), timeout=120)
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run


def test_copy_list_and_remove(aws, bucket, tmp_path):
    (tmp_path / "file").write_bytes(b"from a file" * 1000)
    aws("s3", "cp", tmp_path / "file", f"s3://{bucket}/dir/file")
    assert "dir/" in aws("s3", "ls", f"s3://{bucket}/").stdout
    aws("s3", "cp", f"s3://{bucket}/dir/file", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"from a file" * 1000
    aws("s3", "rm", "--recursive", f"s3://{bucket}/")
    assert aws("s3", "ls", f"s3://{bucket}/").stdout == ""


def test_a_large_file_goes_in_parts_under_a_customer_key(aws, bucket, tmp_path, key):
    (tmp_path / "key").write_bytes(key.raw)
    (tmp_path / "large").write_bytes(bytes(range(256)) * (20 << 12))
    sse = ("--sse-c", "AES256", "--sse-c-key", f"fileb://{tmp_path / 'key'}")
    aws("s3", "cp", tmp_path / "large", f"s3://{bucket}/large", *sse)
    refused = aws("s3", "cp", f"s3://{bucket}/large", tmp_path / "none", check=False)
    assert refused.returncode != 0 and "400" in refused.stderr
    aws("s3", "cp", f"s3://{bucket}/large", tmp_path / "back", *sse)
    assert (tmp_path / "back").read_bytes() == (tmp_path / "large").read_bytes()


def test_a_tree_is_synchronised(aws, bucket, tmp_path):
    for number in range(5):
        (tmp_path / "tree" / f"d{number}").mkdir(parents=True)
        (tmp_path / "tree" / f"d{number}" / "f").write_text(str(number))
    aws("s3", "sync", tmp_path / "tree", f"s3://{bucket}/tree")
    aws("s3", "sync", f"s3://{bucket}/tree", tmp_path / "again")
    assert sorted(p.read_text() for p in (tmp_path / "again").rglob("f")) == list("01234")


def test_the_key_service_encrypts_and_decrypts(aws, tmp_path):
    key_id = json.loads(aws("kms", "create-key").stdout)["KeyMetadata"]["KeyId"]
    (tmp_path / "plain").write_bytes(b"a small secret")
    sealed = json.loads(aws("kms", "encrypt", "--key-id", key_id, "--plaintext", f"fileb://{tmp_path / 'plain'}").stdout)
    (tmp_path / "sealed").write_bytes(base64.b64decode(sealed["CiphertextBlob"]))
    opened = json.loads(aws("kms", "decrypt", "--ciphertext-blob", f"fileb://{tmp_path / 'sealed'}").stdout)
    assert base64.b64decode(opened["Plaintext"]) == b"a small secret"


def test_restore_by_hand(aws, daemon, bucket, tmp_path):
    (tmp_path / "file").write_bytes(b"cold")
    aws("s3api", "put-object", "--bucket", bucket, "--key", "o", "--body", tmp_path / "file", "--storage-class", "GLACIER")
    daemon.run_lifecycle()
    aws("s3api", "restore-object", "--bucket", bucket, "--key", "o", "--restore-request", "Days=1,GlacierJobParameters={Tier=Expedited}")
    daemon.advance(minutes=6)
    aws("s3api", "get-object", "--bucket", bucket, "--key", "o", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"cold"
