"""Killed with SIGKILL in the middle of writes: what was acknowledged is there and opens; nothing
half-written is seen.

Method: writers note each acknowledgement; the daemon is killed at a moment that differs each
round, started again, and everything noted is read back and everything listed is opened.
"""

import hashlib
import random
import threading
import time

import pytest
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError


def content_of(name, size):
    return hashlib.shake_128(name.encode()).digest(size)


@pytest.mark.parametrize("rounds", [4])
def test_acknowledged_objects_survive_a_kill(fresh_daemon, key, rounds):
    daemon = fresh_daemon().start()
    daemon.s3().create_bucket(Bucket="crash")
    daemon.s3().put_bucket_versioning(Bucket="crash", VersioningConfiguration={"Status": "Enabled"})
    acknowledged = {}
    chance = random.Random(7)
    for turn in range(rounds):
        stop = threading.Event()

        def write(worker):
            s3 = daemon.s3(retries={"max_attempts": 1})
            number = 0
            while not stop.is_set():
                name = f"{turn}-{worker}-{number}"
                size = (100, 70_000, 3_000_000)[number % 3]
                try:
                    s3.put_object(Bucket="crash", Key=name, Body=content_of(name, size), **key.headers)
                    acknowledged[name] = size
                    if number % 5 == 4:
                        s3.delete_object(Bucket="crash", Key=name)
                        acknowledged[name] = None
                except (BotoCoreError, ClientError, HTTPClientError, OSError):
                    # It is not known whether this one was written; it is not held against anybody.
                    acknowledged.pop(name, None)
                    return
                number += 1

        writers = [threading.Thread(target=write, args=(worker,)) for worker in range(6)]
        for writer in writers:
            writer.start()
        time.sleep(0.4 + chance.random())
        daemon.kill()
        stop.set()
        for writer in writers:
            writer.join()
        daemon.start()
        s3 = daemon.s3()
        assert acknowledged
        for name, size in acknowledged.items():
            if size is None:
                with pytest.raises(ClientError):
                    s3.get_object(Bucket="crash", Key=name, **key.headers)
            else:
                assert s3.get_object(Bucket="crash", Key=name, **key.headers)["Body"].read() == content_of(name, size), name
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket="crash"):
            for found in page.get("Contents", []):
                body = s3.get_object(Bucket="crash", Key=found["Key"], **key.headers)["Body"].read()
                assert body == content_of(found["Key"], found["Size"]), "something half-written is visible"
    daemon.api("POST", "/v1/audit/checkpoint")
    daemon.cli("audit", "verify", "--directory", daemon.data / "audit")
    assert daemon.stop() == 0
    checked = daemon.cli("fsck", "--data", daemon.data)
    assert "0 findings" in checked.stdout, checked.stdout


def test_the_token_process_is_killed_in_the_middle_of_traffic(fresh_daemon):
    """Costs a retry, never an error to a client or a wrong answer."""
    import os
    import signal
    from pathlib import Path

    daemon = fresh_daemon().start()
    kms = daemon.kms()
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    sealed = kms.encrypt(KeyId=key_id, Plaintext=b"secret")["CiphertextBlob"]
    stop = threading.Event()
    failures, answers = [], []

    def ask():
        client = daemon.kms()
        while not stop.is_set():
            try:
                answers.append(client.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"secret")
            except Exception as error:
                failures.append(error)

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()

    def children():
        found = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                if int(status.read_text().rpartition(")")[2].split()[1]) == daemon.pid:
                    found.append(int(status.parent.name))
            except (OSError, ValueError):
                pass
        return found

    for _ in range(5):
        time.sleep(0.4)
        assert children(), "the module runs in a child process"
        for child in children():
            os.kill(child, signal.SIGKILL)
    time.sleep(1)
    stop.set()
    for asker in askers:
        asker.join()
    assert not failures, failures[:3]
    assert len(answers) > 50 and all(answers)
