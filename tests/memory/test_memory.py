"""What is in the daemon's memory: no key once a request is over, and never a whole body."""

import base64
import http.client
import os
import threading
import time
import urllib.parse
from pathlib import Path

import pytest
import stored
from daemon import CustomerKey


def memory_image(pid):
    """All memory of a process that can be read, piece by piece."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights, *_ = line.split()
            if "r" not in rights or line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            first, last = (int(end, 16) for end in span.split("-"))
            try:
                memory.seek(first)
                yield line, memory.read(last - first)
            except (OSError, ValueError, OverflowError):
                continue


def found_in_memory(pid, secrets):
    return [
        (name, place.split(maxsplit=5)[-1])
        for place, content in memory_image(pid)
        for name, secret in secrets.items()
        if secret in content
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="reading another process's memory needs root")
def test_no_key_stays_in_memory_after_a_burst(fresh_daemon):
    daemon = fresh_daemon().start()
    daemon.s3().create_bucket(Bucket="burst")
    keys = [CustomerKey() for _ in range(8)]
    body = os.urandom(1 << 20)

    def burst(key):
        s3 = daemon.s3()
        for number in range(20):
            name = f"{key.md5[:4].encode().hex()}-{number}"
            s3.put_object(Bucket="burst", Key=name, Body=body[: 1000 + number * 50_000], **key.headers)
            s3.get_object(Bucket="burst", Key=name, **key.headers)["Body"].read()
            s3.copy_object(Bucket="burst", Key=name, CopySource={"Bucket": "burst", "Key": name}, **key.source_headers, **key.headers, MetadataDirective="REPLACE")
        # The connections stay open: what an idle one holds counts too.
        held.append(s3)

    held = []
    workers = [threading.Thread(target=burst, args=(key,)) for key in keys]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    time.sleep(5)
    secrets = {}
    for number, key in enumerate(keys):
        secrets[f"customer key {number}, raw"] = key.raw
        secrets[f"customer key {number}, base64"] = base64.b64encode(key.raw)
        secrets[f"customer key {number}, front of the base64"] = base64.b64encode(key.raw)[:24]
        secrets[f"customer key {number}, front half"] = key.raw[:16]
        secrets[f"customer key {number}, back half"] = key.raw[16:]
    opened = stored.open_all(daemon.data, daemon.key_uses(bucket="burst"), [key.raw for key in keys])
    # The burst wrote 160 objects and copied each; every one of them gives up its keys here.
    assert len({version.key for version in opened}) == 160
    assert all(body.startswith(version.first_chunk) for version in opened)
    for number, version in enumerate(opened):
        secrets[f"data key {number}"] = version.data_key
        secrets[f"wrapping key {number}"] = version.wrapping_key
        secrets[f"chunk key {number}"] = version.chunk_key
    assert found_in_memory(daemon.pid, secrets) == []
    # The method itself is checked: what is certainly there is found.
    assert found_in_memory(daemon.pid, {"access key id": daemon.ready["access_key_id"].encode()})


@pytest.mark.slow
def test_five_gibibytes_go_through_in_little_memory(fresh_daemon, key):
    daemon = fresh_daemon().start()
    s3 = daemon.s3(read_timeout=600)
    s3.create_bucket(Bucket="large")
    size = 5 << 30

    class Zeros:
        """A body of `size` bytes that nobody holds."""

        def __init__(self):
            self.left = size
            self.chunk = bytes(1 << 20)

        def read(self, count=-1):
            count = self.left if count < 0 else min(count, self.left, len(self.chunk))
            self.left -= count
            return self.chunk[:count]

    url = s3.generate_presigned_url(
        "put_object", Params={"Bucket": "large", "Key": "o", "SSECustomerAlgorithm": "AES256", "SSECustomerKey": key.raw}, ExpiresIn=3600
    )
    parts = urllib.parse.urlsplit(url)
    headers = {
        "Content-Length": str(size),
        "x-amz-server-side-encryption-customer-algorithm": "AES256",
        "x-amz-server-side-encryption-customer-key": key.base64,
        "x-amz-server-side-encryption-customer-key-MD5": key.md5,
    }
    connection = http.client.HTTPConnection(parts.netloc, timeout=600, blocksize=1 << 20)
    connection.request("PUT", f"{parts.path}?{parts.query}", body=Zeros(), headers=headers)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    answer.read()
    got = s3.get_object(Bucket="large", Key="o", **key.headers)["Body"]
    read = 0
    for chunk in got.iter_chunks(1 << 20):
        assert not any(chunk[::65_537])
        read += len(chunk)
    assert read == size
    peak = next(int(line.split()[1]) for line in Path(f"/proc/{daemon.pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    assert peak < 256 * 1024, f"{peak} KiB resident at the peak"


def test_no_core_is_ever_written(fresh_daemon):
    daemon = fresh_daemon().start()
    limits = Path(f"/proc/{daemon.pid}/limits").read_text()
    line = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert line.split()[4:6] == ["0", "0"], line
