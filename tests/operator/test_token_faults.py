"""Tokens that are missing, locked, unreachable or hung: one clear error, and service again as soon as
the token is back."""

import os
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from deployment import assert_no_panic, children, refuses, run

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def counting_module(tmp_path_factory):
    """A module before SoftHSM that counts logins."""
    module = tmp_path_factory.mktemp("module") / "counting.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-fvisibility=hidden", "-o", module, HERE / "module.c", "-ldl"], check=True)
    return module


@pytest.fixture
def counted(deploy, counting_module):
    """A deployment whose logins to the token are counted."""
    deployment = deploy()
    assert deployment.init().returncode == 0
    token = deployment.tables["token"]
    count = deployment.directory / "logins"
    token["environment"] += [f"COUNT_LOGINS_IN={count}", f"BEHIND={token['module']}"]
    deployment.set("token.module", str(counting_module))

    def logins():
        told = count.read_text().count("login") if count.exists() else 0
        count.unlink(missing_ok=True)
        return told

    deployment.logins = logins
    return deployment


def answers_until(call, wanted, within_s=20):
    """Calls until `wanted` says of an answer, or a refusal, that it is the right one; gives all others."""
    others, end = [], time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            answer = call()
        except ClientError as refusal:
            answer = refusal
        if wanted(answer):
            return others
        others.append(answer)
        time.sleep(0.1)
    raise AssertionError(f"not within {within_s} s: {others[-3:]}")


def is_done(answer):
    return not isinstance(answer, ClientError)


def status_of(refusal):
    return refusal.response["ResponseMetadata"]["HTTPStatusCode"], refusal.response["Error"]["Code"]


# At start.


def test_a_module_that_is_not_there_or_no_module_is_named(deploy):
    deployment = deploy()
    deployment.init()
    for module, words in (
        ("/nowhere/libmodule.so", "there is no such file"),
        ("/etc/passwd", "/etc/passwd"),
        (str(deployment.file), "strongroom.toml"),
    ):
        deployment.set("token.module", module)
        for command in (["serve"], ["keyd"], ["hsm", "test"]):
            done = deployment.command(*command, "--config", deployment.file)
            refuses(done, module, words, "set `token.module`")
    # A library that is no PKCS#11 module.
    library = next(path for path in Path("/lib").glob("*/libm.so.6"))
    deployment.set("token.module", str(library))
    deployment.refuses_to_start("C_GetFunctionList", "set `token.module`")


def test_a_token_that_is_not_there_is_named(deploy):
    deployment = deploy()
    deployment.init()
    deployment.set("token.label", "another")
    deployment.refuses_to_start("no token labelled another", "token.label")
    deployment.set("token.label", "strongroom")
    deployment.set("token.environment", ["SOFTHSM2_CONF=/nowhere"])
    deployment.refuses_to_start("token.environment")


def test_another_token_of_the_same_name_is_not_taken_for_the_old_one(deploy):
    """Its keys are others: the log would be signed by somebody else, and nothing would open."""
    deployment = deploy().up()
    deployment.stop()
    shutil.rmtree(deployment.hsm / "tokens")
    (deployment.hsm / "tokens").mkdir(mode=0o700)
    deployment.refuses_to_start("no token labelled strongroom")
    refuses(deployment.init())
    deployment.refuses_to_start()


@pytest.mark.parametrize(
    "content, mode, words, logins",
    [
        ("87654321", 0o600, ["refused the PIN (incorrect)", "`token.pin_file`"], 1),
        ("", 0o600, ["user.pin is empty"], 0),
        ("\n", 0o600, ["user.pin is empty"], 0),
        (None, 0o644, ["may be read by others (mode 644)", "chmod 600"], 0),
        (None, 0o640, ["may be read by others (mode 640)", "chmod 600"], 0),
    ],
    ids=["wrong", "empty", "a bare line", "for everybody", "for the group"],
)
def test_a_pin_that_is_not_right_is_tried_once_at_most_and_not_printed(counted, content, mode, words, logins):
    pin = counted.hsm / "user.pin"
    right = pin.read_text()
    for command in (["serve"], ["keyd"], ["hsm", "test"], ["init"]):
        if content is not None:
            pin.write_text(content)
        pin.chmod(mode)
        counted.logins()
        done = counted.command(*command, "--config", counted.file)
        refuses(done, *words)
        assert counted.logins() == logins, command
        for secret in (right, content):
            assert not (secret and secret.strip()) or secret not in done.stdout + done.stderr
    pin.write_text(right)
    pin.chmod(0o600)
    counted.start()


def test_a_pin_file_that_is_not_there_is_named(deploy):
    deployment = deploy()
    deployment.init()
    (deployment.hsm / "user.pin").unlink()
    deployment.refuses_to_start("cannot read", "user.pin")


def test_a_locked_token_is_told_from_a_wrong_pin_and_asked_once(counted):
    counted.tables["token"]["environment"].append("LOCKED=yes")
    counted.write()
    counted.refuses_to_start("refused the PIN (locked)", "security officer")
    assert counted.logins() == 1


# While it serves.


def test_a_pin_that_is_changed_under_a_running_daemon_is_tried_once(counted):
    counted.start()
    kms = counted.kms()
    kms.create_key()
    counted.logins()
    # The PIN of the token is changed, and its process has to log in anew.
    change_pin(counted)
    for child in children(counted.pid):
        os.kill(child, signal.SIGKILL)
    refused = []
    for _ in range(5):
        with pytest.raises(ClientError) as caught:
            kms.create_key()
        refused.append(status_of(caught.value))
    assert set(refused) == {(500, "KeyUnavailableException")}, refused
    assert counted.logins() == 1, "a token locks after a few wrong PINs"
    assert counted.stop() == 0
    text = counted.log.read_text()
    assert_no_panic(text)
    assert (counted.hsm / "user.pin").read_text() not in text


def change_pin(deployment):
    """Changes the user's PIN on the token, as its officer."""
    import ctypes

    module = ctypes.CDLL(deployment.tables["token"]["environment"][-1].partition("=")[2])
    officer = (deployment.hsm / "officer.pin").read_text().encode()
    # SoftHSM reads its configuration from the environment of the process; a child has its own.
    pid = os.fork()
    if pid == 0:
        os.environ["SOFTHSM2_CONF"] = str(deployment.hsm / "softhsm2.conf")
        slots, count, session = (ctypes.c_ulong * 16)(), ctypes.c_ulong(16), ctypes.c_ulong()
        steps = [
            lambda: module.C_Initialize(None),
            lambda: module.C_GetSlotList(ctypes.c_ubyte(1), slots, ctypes.byref(count)),
            lambda: module.C_OpenSession(slots[0], ctypes.c_ulong(6), None, None, ctypes.byref(session)),
            lambda: module.C_Login(session, ctypes.c_ulong(0), officer, ctypes.c_ulong(len(officer))),
            lambda: module.C_InitPIN(session, b"another pin", ctypes.c_ulong(11)),
        ]
        os._exit(1 if any(step() != 0 for step in steps) else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def ready(deployment):
    try:
        with urllib.request.urlopen(deployment.ready["api_url"] + "/readyz", timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        assert b"token" in error.read()
        return error.code


def test_a_token_that_goes_away_and_comes_back_costs_errors_that_may_be_retried(deploy):
    deployment = deploy(settings={"token.call_timeout_s": 2}).up()
    kms, s3 = deployment.kms(), deployment.s3(connect_timeout=5, read_timeout=60)
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    sealed = kms.encrypt(KeyId=key, Plaintext=b"secret")["CiphertextBlob"]
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="o", Body=b"kept", ServerSideEncryption="aws:kms", SSEKMSKeyId=key)
    assert ready(deployment) == 200
    away = deployment.hsm / "away"
    (deployment.hsm / "tokens").rename(away)
    for child in children(deployment.pid):
        os.kill(child, signal.SIGKILL)

    put = {"Bucket": "kept", "Key": "new", "Body": b"x", "ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}
    for call, status, codes in (
        (lambda: kms.decrypt(CiphertextBlob=sealed), 500, {"KeyUnavailableException"}),
        (lambda: s3.put_object(**put), 503, {"ServiceUnavailable", "SlowDown"}),
        (lambda: s3.get_object(Bucket="kept", Key="o"), 503, {"ServiceUnavailable", "SlowDown"}),
    ):
        with pytest.raises(ClientError) as caught:
            call()
        assert status_of(caught.value)[0] == status and status_of(caught.value)[1] in codes, caught.value.response
        assert (deployment.hsm / "user.pin").read_text() not in str(caught.value.response)
    assert ready(deployment) == 503
    with urllib.request.urlopen(deployment.ready["api_url"] + "/healthz") as alive:
        assert alive.status == 200

    away.rename(deployment.hsm / "tokens")
    answers_until(lambda: kms.decrypt(CiphertextBlob=sealed), is_done)
    assert kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"secret"
    s3.put_object(**put)
    assert s3.get_object(Bucket="kept", Key="o")["Body"].read() == b"kept"
    assert ready(deployment) == 200
    assert deployment.stop() == 0
    assert_no_panic(deployment.log.read_text())


def test_a_token_that_hangs_is_started_again_within_its_time(deploy):
    deployment = deploy(settings={"token.call_timeout_s": 1}).up()
    kms = deployment.kms(read_timeout=50)
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    sealed = kms.encrypt(KeyId=key, Plaintext=b"secret")["CiphertextBlob"]
    stopped = children(deployment.pid)
    assert stopped
    for child in stopped:
        os.kill(child, signal.SIGSTOP)
    begun = time.monotonic()
    answers = []
    askers = [threading.Thread(target=lambda: answers.append(kms.decrypt(CiphertextBlob=sealed)["Plaintext"])) for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert answers == [b"secret"] * 4, "the calls are made again"
    assert time.monotonic() - begun < 15
    assert deployment.metric("strongroom_hsm_hangs_total") >= 1
    assert deployment.metric("strongroom_hsm_call_duration_seconds_count", function="open") >= 4
    assert deployment.metric("strongroom_hsm_calls_in_flight") == 0
    assert not set(stopped) & set(children(deployment.pid))
    assert deployment.stop() == 0


def test_a_token_whose_process_dies_does_not_stop_the_daemon(deploy):
    deployment = deploy().up()
    kms = deployment.kms()
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    for _ in range(3):
        for child in children(deployment.pid):
            os.kill(child, signal.SIGKILL)
        assert kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    assert deployment.metric("strongroom_hsm_restarts_total") >= 3
    deployment.kill()
    time.sleep(0.5)
    assert run("hsm", "test", "--config", deployment.file).returncode == 0, "no process of the token is left"


def test_the_conformance_test_leaves_nothing_on_the_token(deploy):
    deployment = deploy()
    deployment.init()
    before = sorted(path.name for path in (deployment.hsm / "tokens").rglob("*.object"))
    done = deployment.command("hsm", "test", "--config", deployment.file)
    assert done.returncode == 0 and "strongroom" in done.stdout
    assert sorted(path.name for path in (deployment.hsm / "tokens").rglob("*.object")) == before
