"""Disks that are full, damaged, missing or taken: one clear error, never wrong bytes, nothing lost."""

import http.client
import json
import os
import random
import shutil
import subprocess
import time
import urllib.parse

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError
from daemon import BINARY, CustomerKey, Daemon
from deployment import assert_no_panic, refuses, run

# Damage in the first chunks is refused; behind them the connection breaks, and when the head of the
# answer has not left yet, it goes with it.
BREAKS_OFF = (
    ClientError, ConnectionClosedError, IncompleteReadError, ResponseStreamingError, ReadTimeoutError,
    http.client.HTTPException, ConnectionError,
)


def content(name, size):
    return random.Random(name).randbytes(size)


SIZES = {"small": 3_000, "middle": 300_000, "large": 5_000_000}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The directory of a stopped daemon that holds a few objects; the tests work on copies."""
    daemon = Daemon(tmp_path_factory.mktemp("written") / "daemon", clock="real").start()
    s3 = daemon.s3()
    s3.create_bucket(Bucket="kept")
    for name, size in SIZES.items():
        s3.put_object(Bucket="kept", Key=name, Body=content(name, size))
    daemon.customer_key = CustomerKey()
    s3.put_object(Bucket="kept", Key="customer", Body=content("customer", 40_000), **daemon.customer_key.headers)
    assert daemon.stop() == 0
    return daemon


@pytest.fixture
def copy(written, tmp_path):
    """A daemon over a copy of the directory."""
    shutil.copytree(written.data, tmp_path / "copy/data")
    conf = tmp_path / "copy/data/token/softhsm2.conf"
    conf.write_text(conf.read_text().replace(str(written.data.resolve()), str((tmp_path / "copy/data").resolve())))
    daemon = Daemon(tmp_path / "copy", clock="real")
    yield daemon
    daemon.kill()
    if daemon.log.exists():
        assert_no_panic(daemon.log.read_text(errors="replace"))


def dev(daemon):
    """A start that is to fail."""
    return run("dev", "--data", daemon.data, "--s3", "127.0.0.1:0", "--api", "127.0.0.1:0")


def fsck(daemon, *more):
    return run("fsck", "--data", daemon.data, *more)


def flip(path, at, count=1):
    with open(path, "r+b") as file:
        file.seek(at)
        old = file.read(count)
        file.seek(at)
        file.write(bytes(byte ^ 0xFF for byte in old))


def records(path):
    """The records of a volume: where the bytes of each begin, and how many there are."""
    data = path.read_bytes()
    found, at = [], 4096
    while at < len(data):
        if data[at : at + 4] == b"SRrc":
            length = int.from_bytes(data[at + 24 : at + 32], "big")
            found.append((at + 64, length))
            at += (64 + length + 4095) // 4096 * 4096
        else:
            at += 4096
    return found


def payload(daemon, name):
    """Where the sealed bytes of an object are: the volume, the first byte, the length."""
    volumes = (daemon.data / "volumes").glob("*.volume")
    fitting = [(length, at, path) for path in volumes for at, length in records(path) if length > SIZES[name]]
    length, at, path = min(fitting)
    assert length < SIZES[name] * 1.02 + 100
    return path, at, length


def all_read(daemon, but=()):
    s3 = daemon.s3()
    for name, size in SIZES.items():
        if name not in but:
            assert s3.get_object(Bucket="kept", Key=name)["Body"].read() == content(name, size), name


# A disk that is full.


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 224 MiB, of which the daemon keeps the last 128 for itself."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=224m", "tmpfs", place], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


class Ballast:
    """Fills a disk to its last byte, as somebody else would."""

    def __init__(self, disk):
        self.path = disk / "ballast"
        with open(self.path, "wb", buffering=0) as file:
            for piece in (1 << 20, 4096, 1):
                try:
                    while file.write(bytes(piece)) == piece:
                        pass
                except OSError:
                    pass

    def remove(self):
        self.path.unlink()


def fill(s3, key):
    """Writes until each size is refused; gives what was acknowledged, and the refusals."""
    acknowledged, refusals = {}, []
    for size in (8_000_000, 100_000):
        for number in range(300):
            name = f"{size}-{number}"
            try:
                s3.put_object(Bucket="full", Key=name, Body=content(name, size), **key.headers)
                acknowledged[name] = size
            except ClientError as refusal:
                refusals.append(refusal)
                break
        else:
            raise AssertionError("the disk never was full")
    return acknowledged, refusals


def assert_tells_full(refusal):
    """An error that says that the service cannot, and not where its disk is."""
    assert refusal.response["ResponseMetadata"]["HTTPStatusCode"] in (500, 503, 507), refusal.response
    error = refusal.response["Error"]
    assert error["Code"] in ("InternalError", "ServiceUnavailable", "SlowDown", "InsufficientStorage"), error
    assert error["Message"] and "/" not in error["Message"], error


def put_when_there_is_room(s3, name, body, key, within_s=15):
    end = time.monotonic() + within_s
    while True:
        try:
            return s3.put_object(Bucket="full", Key=name, Body=body, **key.headers)
        except ClientError as refusal:
            assert_tells_full(refusal)
            assert time.monotonic() < end, "room was made, and writes do not go on"
            time.sleep(0.2)


def all_there(s3, acknowledged, key):
    for name, size in acknowledged.items():
        assert s3.get_object(Bucket="full", Key=name, **key.headers)["Body"].read() == content(name, size), name
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="full")
    assert {found["Key"] for page in pages for found in page.get("Contents", [])} == set(acknowledged)


def test_a_full_disk_refuses_writes_and_keeps_everything_else(fresh_daemon, small_disk, key):
    daemon = fresh_daemon()
    daemon.data = small_disk / "data"
    daemon.start()
    s3 = daemon.s3()
    s3.create_bucket(Bucket="full")
    acknowledged, refusals = fill(s3, key)
    assert len(acknowledged) > 3
    for refusal in refusals:
        assert_tells_full(refusal)
    all_there(s3, acknowledged, key)

    # Deleting makes room, and writes go on in the same process.
    for name in [name for name, size in acknowledged.items() if size > 1_000_000][:3]:
        s3.delete_object(Bucket="full", Key=name)
        del acknowledged[name]
    put_when_there_is_room(s3, "after", content("after", 8_000_000), key)
    acknowledged["after"] = 8_000_000
    all_there(s3, acknowledged, key)

    # So does a restart.
    assert daemon.stop() == 0
    daemon.start()
    s3 = daemon.s3()
    all_there(s3, acknowledged, key)
    daemon.api("POST", "/v1/audit/checkpoint")
    assert daemon.stop() == 0
    checked = fsck(daemon)
    assert checked.returncode == 0 and "0 findings" in checked.stdout, checked.stdout + checked.stderr
    assert run("audit", "verify", "--directory", daemon.data / "audit").returncode == 0
    assert_no_panic(daemon.log.read_text())


def test_a_disk_that_somebody_else_fills_to_the_last_byte_is_no_loss(fresh_daemon, small_disk, key):
    daemon = fresh_daemon()
    daemon.data = small_disk / "data"
    daemon.start()
    s3 = daemon.s3()
    s3.create_bucket(Bucket="full")
    acknowledged = {f"before {number}": 200_000 for number in range(5)}
    for name, size in acknowledged.items():
        s3.put_object(Bucket="full", Key=name, Body=content(name, size), **key.headers)
    ballast = Ballast(small_disk)
    for number in range(5):
        with pytest.raises(ClientError) as caught:
            s3.put_object(Bucket="full", Key=f"never {number}", Body=content("never", 1_000_000), **key.headers)
        assert_tells_full(caught.value)
    ballast.remove()
    put_when_there_is_room(s3, "after", content("after", 1_000_000), key)
    acknowledged["after"] = 1_000_000
    all_there(s3, acknowledged, key)
    daemon.kill()
    daemon.start()
    all_there(daemon.s3(), acknowledged, key)
    daemon.api("POST", "/v1/audit/checkpoint")
    assert daemon.stop() == 0
    assert "0 findings" in fsck(daemon).stdout
    assert run("audit", "verify", "--directory", daemon.data / "audit").returncode == 0
    assert_no_panic(daemon.log.read_text())


def test_a_disk_that_is_full_at_start_is_named(deploy, small_disk):
    deployment = deploy(settings={"data_dir": str(small_disk / "data")})
    deployment.data = small_disk / "data"
    ballast = Ballast(small_disk)
    refuses(deployment.init(), "No space left on device", "make room")
    ballast.remove()
    assert deployment.init(blank=False).returncode == 0
    deployment.start()
    deployment.s3().create_bucket(Bucket="after")
    assert deployment.stop() == 0
    ballast = Ballast(small_disk)
    deployment.refuses_to_start("make room")
    ballast.remove()
    deployment.start()
    assert deployment.s3().list_buckets()["Buckets"][0]["Name"] == "after"


# Metadata.


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda path: flip(path, 0, 4096), ["is damaged"]),
        (lambda path: path.write_bytes(os.urandom(100_000)), ["is damaged"]),
        (lambda path: os.truncate(path, 5_000), ["is damaged"]),
        (lambda path: path.write_bytes(path.read_bytes()[:8192] + bytes(path.stat().st_size - 8192)), ["is damaged"]),
    ],
    ids=["its head", "another file", "cut off", "all pages zero"],
)
def test_damaged_metadata_is_named_and_left_as_it_is(copy, spoil, words):
    metadata = copy.data / "metadata.redb"
    spoil(metadata)
    damaged = metadata.read_bytes()
    refuses(fsck(copy), "metadata.redb cannot be opened", *words, "backup")
    refuses(dev(copy), "metadata.redb cannot be opened", *words, "backup")
    assert metadata.read_bytes() == damaged


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: os.truncate(path, 0)], ids=["gone", "empty"])
def test_missing_metadata_is_not_begun_anew_over_stored_objects(copy, spoil):
    metadata = copy.data / "metadata.redb"
    whole = metadata.read_bytes()
    volumes = {path: path.read_bytes() for path in (copy.data / "volumes").iterdir()}
    spoil(metadata)
    refuses(dev(copy), "the metadata is missing", "put it back")
    assert {path: path.read_bytes() for path in (copy.data / "volumes").iterdir()} == volumes
    metadata.write_bytes(whole)
    copy.start()
    all_read(copy)


def test_a_damaged_row_costs_what_it_describes_and_no_more(copy):
    """The pages of rows are damaged here and there; whatever is answered is right or an error."""
    metadata = copy.data / "metadata.redb"
    chance = random.Random(3)
    for at in chance.sample(range(16_384, metadata.stat().st_size), 40):
        flip(metadata, at)
    done = fsck(copy)
    assert done.returncode in (0, 1)
    assert_no_panic(done.stderr)
    try:
        copy.start()
    except RuntimeError:
        refuses(dev(copy))
        return
    s3 = copy.s3()
    for name, size in SIZES.items():
        try:
            assert s3.get_object(Bucket="kept", Key=name)["Body"].read() == content(name, size)
        except BREAKS_OFF:
            pass


# Volumes.


def test_bytes_changed_in_a_payload_are_never_handed_out(copy, written):
    path, at, length = payload(copy, "large")
    flip(path, at + length // 2)
    copy.start()
    all_read(copy, but=["large"])
    s3 = copy.s3(read_timeout=10)
    received = b""
    with pytest.raises(BREAKS_OFF):
        body = s3.get_object(Bucket="kept", Key="large")["Body"]
        while piece := body.read(65_536):
            received += piece
    whole = content("large", SIZES["large"])
    assert len(received) < len(whole) and whole.startswith(received), "no wrong byte was handed out"
    # What lies before and after the damage can be read.
    tail = s3.get_object(Bucket="kept", Key="large", Range="bytes=-100000")["Body"].read()
    assert tail == whole[-100_000:]
    head = s3.get_object(Bucket="kept", Key="large", Range="bytes=0-99999")["Body"].read()
    assert head == whole[:100_000]
    with pytest.raises(BREAKS_OFF):
        s3.get_object(Bucket="kept", Key="large", Range=f"bytes={SIZES['large'] // 2}-{SIZES['large'] // 2 + 10}")["Body"].read()
    customer = s3.get_object(Bucket="kept", Key="customer", **written.customer_key.headers)["Body"].read()
    assert customer == content("customer", 40_000)
    # Written again, it reads again.
    s3.put_object(Bucket="kept", Key="large", Body=whole)
    all_read(copy)


def test_every_byte_of_a_small_payload_counts(copy):
    path, at, length = payload(copy, "small")
    copy.start()
    s3 = copy.s3()
    for spoiled in (0, 1, 31, 32, 100, length // 2, length - 17, length - 1):
        flip(path, at + spoiled)
        with pytest.raises(BREAKS_OFF):
            assert s3.get_object(Bucket="kept", Key="small")["Body"].read() == b"an error is due"
        flip(path, at + spoiled)
        assert s3.get_object(Bucket="kept", Key="small")["Body"].read() == content("small", SIZES["small"])
    all_read(copy)


def test_a_volume_that_is_cut_off_is_found_by_fsck_and_scrub(copy):
    path, at, _ = payload(copy, "large")
    beyond = [record for record in records(path) if record[0] >= at]
    os.truncate(path, at + 200_000)
    done = fsck(copy)
    refuses(done, "findings", "backup")
    assert f"{len(beyond)} findings" in done.stdout and "ends within a blob" in done.stdout, done.stdout
    told = json.loads(fsck(copy, "--json").stdout)
    assert len(told["findings"]) == len(beyond) and told["versions"] == 4
    copy.start()
    scrubbed = copy.cli("scrub", check=False)
    refuses(scrubbed, "missing", "backup")
    assert f"{len(beyond)} findings" in scrubbed.stdout, scrubbed.stdout
    told = json.loads(copy.cli("scrub", "--json", check=False).stdout)
    assert told["whole"] == 4 - len(beyond) and len(told["damaged"]) == len(beyond)
    with pytest.raises(BREAKS_OFF):
        copy.s3(read_timeout=10).get_object(Bucket="kept", Key="large")["Body"].read()


@pytest.mark.parametrize("left", ["nothing", "an empty directory"])
def test_missing_volumes_are_named_and_nothing_is_written_in_their_place(copy, left):
    """A disk that was not mounted: what would be written would be covered later."""
    (copy.data / "volumes").rename(copy.data / "elsewhere")
    if left == "an empty directory":
        (copy.data / "volumes").mkdir()
    for attempt in (dev(copy), fsck(copy)):
        refuses(attempt, "the volumes are missing", "mount")
    if left == "an empty directory":
        assert not list((copy.data / "volumes").iterdir())
        (copy.data / "volumes").rmdir()
    (copy.data / "elsewhere").rename(copy.data / "volumes")
    copy.start()
    all_read(copy)


@pytest.mark.parametrize("left", ["nothing", "an empty directory"])
def test_a_missing_cold_tier_is_named_and_nothing_is_archived_in_its_place(copy, left):
    (copy.data / "cold").rename(copy.data / "elsewhere")
    if left == "an empty directory":
        (copy.data / "cold").mkdir()
    refuses(dev(copy), "the cold tier is missing", str(copy.data / "cold"), "mount it")
    if left == "an empty directory":
        (copy.data / "cold").rmdir()
    assert not (copy.data / "cold").exists()
    (copy.data / "elsewhere").rename(copy.data / "cold")
    copy.start()
    all_read(copy)


def test_a_scrub_of_many_pages_adds_them_up(copy):
    copy.start()
    s3 = copy.s3()
    for number in range(3):
        s3.create_bucket(Bucket=f"more-{number}")
    for number in range(30):
        s3.put_object(Bucket=f"more-{number % 2}", Key=f"a/b {number}", Body=b"x")
    cursor, pages, whole = None, 0, 0
    while True:
        query = urllib.parse.urlencode({"limit": 7, **({"cursor": cursor} if cursor else {})})
        page = copy.api("POST", f"/v1/scrub?{query}")
        pages, whole, cursor = pages + 1, whole + page["whole"], page["next"]
        if cursor is None:
            break
    assert whole == 34 and pages >= 6
    assert copy.cli("scrub", json_output=True) == {"whole": 34, "damaged": []}
    assert copy.cli("scrub").stdout == "34 versions have all their stored bytes; 0 findings\n"


# Directories.


def test_fsck_of_a_good_directory_finds_nothing(copy):
    done = fsck(copy)
    assert done.returncode == 0 and done.stdout == "4 versions and 4 payloads checked, 0 findings\n"
    assert json.loads(fsck(copy, "--json").stdout) == {"versions": 4, "payloads": 4, "findings": []}


def test_a_directory_that_is_in_use_is_not_shared(copy):
    copy.start()
    refuses(dev(copy), "is in use by another process", str(copy.data))
    refuses(fsck(copy), "is in use by another process", str(copy.data))
    all_read(copy)


def test_what_is_not_a_data_directory_is_named(tmp_path):
    refuses(run("fsck", "--data", "/nowhere"), "/nowhere is not a data directory")
    refuses(run("fsck", "--data", tmp_path), "is not a data directory")
    assert not list(tmp_path.iterdir())
    file = tmp_path / "file"
    file.write_text("x")
    refuses(run("dev", "--data", file, "--s3", "127.0.0.1:0", "--api", "127.0.0.1:0"), str(file))
    assert file.read_text() == "x"


def test_a_directory_that_cannot_be_written_is_named(small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    done = run("dev", "--data", small_disk / "data", "--s3", "127.0.0.1:0", "--api", "127.0.0.1:0")
    refuses(done, str(small_disk / "data"), "Read-only file system", "can be written")


def test_a_directory_of_somebody_else_is_named(copy):
    """As a user who may not write there; root may write anywhere."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("another user cannot be played")
    place = copy.directory / "closed"
    place.mkdir(mode=0o755)
    binary = place / "strongroom"
    shutil.copy(BINARY, binary)
    for above in place.parents:
        if os.stat(above).st_mode & 0o001 == 0:
            above.chmod(os.stat(above).st_mode | 0o001)
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", binary, "dev", "--data", place / "data", "--s3", "127.0.0.1:0", "--api", "127.0.0.1:0"],
        capture_output=True, text=True, timeout=60,
    )
    refuses(done, "closed/data", "Permission denied")


# The audit log.


def refuses_log(copy, *words):
    done = dev(copy)
    refuses(done, "audit log", *words)
    return done


def journal(audit):
    return min((audit / "journal").iterdir())


def widest(audit):
    return max((audit / "tile/0/000.p").iterdir(), key=lambda path: int(path.name))


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda audit: flip(journal(audit), journal(audit).stat().st_size // 2), ["is damaged at byte", "audit verify"]),
        (lambda audit: flip(audit / "checkpoint", 90), ["checkpoint", "audit verify"]),
        (lambda audit: (audit / "checkpoint").unlink(), ["no checkpoint", "audit verify"]),
        (lambda audit: flip(widest(audit), 40), ["was signed for it", "audit verify"]),
        (lambda audit: shutil.rmtree(audit), ["is missing", "put the log back"]),
        (lambda audit: (shutil.rmtree(audit), audit.mkdir()), ["is missing", "put the log back"]),
    ],
    ids=["an entry", "the checkpoint", "no checkpoint", "a hash", "no log", "an empty log"],
)
def test_a_damaged_audit_log_stops_the_start_and_stays_as_it_is(copy, spoil, words):
    """Nothing may be done that is not on the log."""
    audit = copy.data / "audit"
    spoil(audit)
    damaged = {path: path.read_bytes() for path in audit.rglob("*") if path.is_file()}
    refuses_log(copy, *words)
    assert {path: path.read_bytes() for path in audit.rglob("*") if path.is_file()} == damaged


def test_a_log_of_another_key_is_not_gone_on_with(copy):
    verifier = copy.data / "audit.vkey"
    kept = verifier.read_text()
    verifier.write_text("strongroom.local/audit+00000000+AQ==\n")
    refuses(dev(copy), "is the verifier key of another log", "put the right token, key daemon or origin back")
    verifier.write_text(kept)
    copy.start()
    all_read(copy)


def test_a_record_that_a_power_cut_tore_is_taken_off_and_the_rest_holds(copy):
    copy.start()
    s3 = copy.s3()
    for number in range(20):
        s3.put_object(Bucket="kept", Key="torn", Body=b"x")
    copy.kill()
    end = max((copy.data / "audit/journal").iterdir())
    os.truncate(end, end.stat().st_size - 3)
    verified = json.loads(run("audit", "verify", "--directory", copy.data / "audit", "--json").stdout)
    assert verified["torn_len_bytes"] > 0 and verified["pending"] > 0
    copy.start()
    all_read(copy)
    copy.api("POST", "/v1/audit/checkpoint")
    copy.cli("audit", "verify", "--directory", copy.data / "audit")
