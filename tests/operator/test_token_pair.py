"""Two tokens that hold the same keys and serve as one; and a token behind a server that comes and goes."""

import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from deployment import PROVISION, assert_no_panic, children, refuses


def second_hsm(deployment):
    """Provisions a second token, and names it in the configuration."""
    directory = deployment.directory / "second-hsm"
    provisioned = subprocess.run(["sh", PROVISION, directory], capture_output=True, text=True, check=True)
    for line in provisioned.stdout.splitlines()[1:]:
        name, _, value = line.partition(" = ")
        deployment.set(f"second_token.{name}", json.loads(value))
    return directory


def make_pair(deployment, second, *options):
    return deployment.command(
        "hsm", "pair", "--config", deployment.file, *options, "--blank-tokens",
        "--so-pin-file", deployment.hsm / "officer.pin", "--second-so-pin-file", second / "officer.pin",
    )


@pytest.fixture
def pair(deploy):
    """A deployment that serves on two tokens."""
    deployment = deploy(settings={"token.call_timeout_s": 2})
    deployment.second_hsm = second_hsm(deployment)
    made = make_pair(deployment, deployment.second_hsm)
    assert made.returncode == 0, made.stderr
    initialised = deployment.init(blank=False)
    assert initialised.returncode == 0, initialised.stderr
    return deployment.start()


def test_a_root_ceremony_makes_a_pair_whose_keys_are_on_both(deploy, tmp_path):
    deployment = deploy()
    second = second_hsm(deployment)
    custodians, keys = [], []
    for name in ("ada", "ben"):
        keys += ["--key", tmp_path / name]
        made = deployment.command("custodian", "new", name, "--output", tmp_path / name)
        custodians += ["--custodian", made.stdout.strip()]
    transcript = tmp_path / "transcript"
    hold = ("hsm", "ceremony", "run", "--config", deployment.file, "--transcript", transcript, "--threshold", 2, *custodians, *keys)
    held = deployment.command(
        *hold, "--blank-tokens", "--so-pin-file", deployment.hsm / "officer.pin",
        "--second-so-pin-file", second / "officer.pin",
    )
    assert held.returncode == 0, held.stdout + held.stderr
    vkey = deployment.directory / "data/audit.vkey"
    verified = deployment.command("hsm", "ceremony", "verify", transcript, "--verifier-key", vkey, "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    told = json.loads(verified.stdout)
    assert told["signed_by"] == ["ada", "ben"] and told["doubts"] == []
    ids = {key["id"] for token in told["transcript"]["tokens"] for key in token["keys"]}
    assert len(told["transcript"]["tokens"]) == 2 and ids == {told["transcript"]["pair"]}


def readiness(deployment):
    """The status of /readyz, and how each token is."""
    try:
        with urllib.request.urlopen(deployment.ready["api_url"] + "/readyz", timeout=30) as answer:
            status, told = answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        status, told = error.code, json.load(error)
    return status, {token["name"]: token for token in told["tokens"]}


def until(deployment, states, within_s=30):
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        tokens = readiness(deployment)[1]
        if [token["state"] for token in tokens.values()] == states:
            return tokens
        time.sleep(0.05)
    raise AssertionError(f"not within {within_s} s: {tokens}")


def kill_process_of(deployment, hsm):
    """Kills the process that holds the module of a token."""
    killed = 0
    for child in children(deployment.pid):
        if str(hsm / "softhsm2.conf").encode() in Path(f"/proc/{child}/environ").read_bytes():
            os.kill(child, signal.SIGKILL)
            killed += 1
    assert killed == 1


class Traffic:
    """Threads that use keys without a pause, and what was refused to them."""

    def __init__(self, deployment):
        self.refused, self.rounds, self.over = [], 0, threading.Event()
        kms, s3 = deployment.kms(), deployment.s3()
        key = kms.create_key()["KeyMetadata"]["KeyId"]
        s3.create_bucket(Bucket="kept")

        def use(number):
            while not self.over.is_set():
                try:
                    text = f"{number} {self.rounds}".encode()
                    sealed = kms.encrypt(KeyId=key, Plaintext=text)["CiphertextBlob"]
                    assert kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == text
                    put = {"Bucket": "kept", "Key": str(number), "ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}
                    s3.put_object(**put, Body=text)
                    assert s3.get_object(Bucket="kept", Key=str(number))["Body"].read() == text
                    self.rounds += 1
                except Exception as refusal:  # noqa: BLE001
                    self.refused.append(refusal)
                    return

        self.threads = [threading.Thread(target=use, args=(number,)) for number in range(3)]
        for thread in self.threads:
            thread.start()

    def goes_on(self, rounds=10, within_s=60):
        """Waits for so many rounds more."""
        wanted, end = self.rounds + rounds, time.monotonic() + within_s
        while self.rounds < wanted and not self.refused and time.monotonic() < end:
            time.sleep(0.02)
        assert not self.refused and self.rounds >= wanted, (self.refused, self.rounds)

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join()
        assert not self.refused, self.refused


def test_one_token_dies_and_comes_back_and_nothing_is_refused(pair):
    tokens = until(pair, ["well", "well"])
    assert tokens["token"]["serves"] and not tokens["second_token"]["serves"]
    serials = {token["identity"]["serial"] for token in tokens.values()}
    assert len(serials) == 2

    traffic = Traffic(pair)
    try:
        traffic.goes_on()
        for hsm, states in ((pair.hsm, ["away", "well"]), (pair.second_hsm, ["well", "away"])):
            (hsm / "tokens").rename(hsm / "pulled")
            kill_process_of(pair, hsm)
            traffic.goes_on()
            tokens = until(pair, states)
            serving = [name for name, token in tokens.items() if token["serves"]]
            assert serving == ["second_token" if hsm == pair.hsm else "token"]
            assert readiness(pair)[0] == 200
            away = next(token for token in tokens.values() if token["state"] == "away")
            assert away["reason"]
            traffic.goes_on()
            (hsm / "pulled").rename(hsm / "tokens")
            assert until(pair, ["well", "well"])["token"]["serves"]
            traffic.goes_on()
    finally:
        traffic.stop()
    assert pair.metric("strongroom_hsm_failovers_total") >= 1
    for member in ("token", "second_token"):
        assert pair.metric("strongroom_hsm_member_well", member=member) == 1
        assert pair.metric("strongroom_hsm_member_calls_total", member=member) >= 10
    assert pair.stop() == 0
    verified = pair.command("audit", "verify", "--directory", pair.directory / "data/audit")
    assert verified.returncode == 0, verified.stderr
    text = pair.log.read_text()
    assert_no_panic(text)
    for hsm in (pair.hsm, pair.second_hsm):
        assert (hsm / "user.pin").read_text() not in text


def test_it_starts_with_one_token_and_takes_the_other_in(pair):
    kms = pair.kms()
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    sealed = kms.encrypt(KeyId=key, Plaintext=b"secret")["CiphertextBlob"]
    assert pair.stop() == 0
    (pair.hsm / "tokens").rename(pair.hsm / "pulled")
    (pair.hsm / "tokens").mkdir(mode=0o700)
    pair.start()
    assert until(pair, ["away", "well"])["second_token"]["serves"]
    assert pair.kms().decrypt(CiphertextBlob=sealed)["Plaintext"] == b"secret"
    (pair.hsm / "tokens").rmdir()
    (pair.hsm / "pulled").rename(pair.hsm / "tokens")
    assert until(pair, ["well", "well"])["token"]["serves"]
    assert pair.kms().decrypt(CiphertextBlob=sealed)["Plaintext"] == b"secret"
    # With neither there is nothing to serve with.
    assert pair.stop() == 0
    for hsm in (pair.hsm, pair.second_hsm):
        (hsm / "tokens").rename(hsm / "pulled")
        (hsm / "tokens").mkdir(mode=0o700)
    pair.refuses_to_start("cannot be used as a pair", "no token labelled strongroom")


def test_two_tokens_that_hold_other_keys_are_refused(deploy):
    deployment = deploy()
    assert deployment.init().returncode == 0
    second = second_hsm(deployment)
    # A token that is not there may come; until then it is told to be away.
    deployment.start()
    assert "no token labelled" in until(deployment, ["well", "away"])["second_token"]["reason"]
    assert deployment.stop() == 0
    # A token of its own, with keys of its own.
    other = deploy()
    assert other.init().returncode == 0
    (second / "tokens").rmdir()
    (other.hsm / "tokens").rename(second / "tokens")
    (second / "user.pin").write_text((other.hsm / "user.pin").read_text())
    deployment.refuses_to_start("are no pair", "is not the same on both", "strongroom hsm pair")
    refuses(deployment.command("init", "--config", deployment.file), "are no pair")
    done = deployment.command("hsm", "pair", "--config", deployment.file)
    refuses(done, "strongroom-root-kek-1 on the token already")
    # The same token under both names.
    for name, value in deployment.tables["token"].items():
        deployment.set(f"second_token.{name}", value)
    deployment.refuses_to_start("both settings lead to the token")


def test_the_ceremony_tells_what_it_did_and_what_it_needs(deploy):
    deployment = deploy()
    done = deployment.command("hsm", "pair", "--config", deployment.file)
    refuses(done, "names one token", "second_token")
    second = second_hsm(deployment)
    deployment.set("second_token.pin_file", str(second / "nowhere.pin"))
    refuses(make_pair(deployment, second), "nowhere.pin")
    deployment.set("second_token.pin_file", str(second / "user.pin"))
    told = json.loads(make_pair(deployment, second, "--json").stdout)
    assert told["first"]["serial"] != told["second"]["serial"]
    assert set(told["keys"].values()) == {"strongroom-root-kek-1", "strongroom-mac-1", "strongroom-audit-1"}
    assert re.fullmatch("[0-9a-f]{32}", told["id"]) and re.fullmatch("[0-9a-f]{64}", told["public_key"])
    assert deployment.init(blank=False).returncode == 0
    tested = deployment.command("hsm", "test", "--config", deployment.file, "--json")
    assert {name: report["passed"] for name, report in json.loads(tested.stdout).items()} == {
        "token": True, "second_token": True,
    }


# A module on another host.

CLIENT = next(Path("/usr/lib").glob("*/pkcs11/p11-kit-client.so"), Path("/usr/lib64/pkcs11/p11-kit-client.so"))


class Server:
    """`p11-kit server` before a token of SoftHSM."""

    def __init__(self, deployment, socket):
        self.socket = socket
        token = deployment.tables["token"]
        environment = dict(pair.split("=", 1) for pair in token["environment"])
        self.command = ["p11-kit", "server", "-f", "--provider", token["module"], "--name", str(socket), "pkcs11:"]
        self.environment = {**os.environ, **environment}

    def start(self):
        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(self.command, env=self.environment, stdout=subprocess.DEVNULL, start_new_session=True)
        end = time.monotonic() + 10
        while not self.socket.exists() and time.monotonic() < end:
            time.sleep(0.02)

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def test_a_token_behind_p11_kit_is_examined_as_any_other_and_missed_when_its_server_is_gone(deploy):
    """The p11-kit of Debian 12 carries too few mechanisms; what a lost server means to a running
    daemon is tested with a module that behaves as its client does."""
    deployment = deploy()
    assert deployment.init().returncode == 0
    server = Server(deployment, deployment.directory / "socket")
    server.start()
    try:
        deployment.set("token.module", str(CLIENT))
        deployment.set("token.environment", [f"P11_KIT_SERVER_ADDRESS=unix:path={server.socket}"])
        tested = deployment.command("hsm", "test", "--config", deployment.file)
        assert "PKCS#11 Kit" in tested.stdout
        deployment.refuses_to_start("conformance test", "missing: CKM_AES_KEY_WRAP, CKM_AES_GCM", "strongroom hsm test")
        server.kill()
        deployment.refuses_to_start("no token labelled strongroom")
        server.start()
        deployment.refuses_to_start("conformance test", "missing: CKM_AES_KEY_WRAP")
    finally:
        server.kill()
