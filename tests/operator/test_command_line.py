"""The command line: help that teaches, usage errors, output for people and for programs, no secret in
any of it."""

import json
import os
import pty
import re
import subprocess

import pytest
from daemon import BINARY, ROOT, CustomerKey
from deployment import assert_no_panic, refuses, run

COMMANDS = """
dev|serve|keyd|config|config check|config reference|init
user|user create|user list|user disable|user enable|user delete
keys|keys list|keys create|keys enable|keys disable|keys versions|keys impact|keys certificate
keys compromise|keys rewrap|keys limits|keys limit
objects|objects keys|objects archive|objects restore
lifecycle|lifecycle run|lifecycle jobs
audit|audit verify|audit events|audit entry|audit proof|audit check-proof|audit check-certificate
quorum|quorum rule|quorum set|quorum list|quorum show|quorum approve|quorum reject
custodian|custodian new|custodian key|custodian sign
hsm ceremony|hsm ceremony run|hsm ceremony sign|hsm ceremony verify
simulate|hsm|hsm test|fsck|scrub|completions
""".strip().replace("\n", "|").split("|")


@pytest.fixture(scope="module")
def stocked(daemon, s3):
    """A daemon with an object under each kind of key."""
    key = CustomerKey()
    made = daemon.cli("keys", "create", "--description", "for the command line", json_output=True)
    s3.create_bucket(Bucket="stock")
    s3.put_bucket_versioning(Bucket="stock", VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket="stock", Key="a/customer", Body=b"c", **key.headers)
    for body in (b"1", b"22"):
        s3.put_object(Bucket="stock", Key="a/kms", Body=body, ServerSideEncryption="aws:kms", SSEKMSKeyId=made["id"])
    s3.put_object(Bucket="stock", Key="managed", Body=b"m")
    daemon.key = made["id"]
    daemon.customer_key = key
    daemon.api("POST", "/v1/audit/checkpoint")
    return daemon


# Help and usage.


def test_every_command_is_in_this_list():
    listed = re.findall(r"^  ([a-z]+) ", run("--help").stdout.partition("Commands:")[2].partition("Options:")[0], re.M)
    assert set(listed) - {"help"} == {command.split()[0] for command in COMMANDS}


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_says_what_a_command_does_and_how(command):
    done = run(*command.split(), "--help")
    assert done.returncode == 0 and done.stderr == ""
    text = done.stdout
    assert "Usage: strongroom" in text and len(text.splitlines()[0]) > 10, text
    # Every argument and option is described.
    for number, line in enumerate(lines := text.splitlines()):
        if re.match(r"^ {2,6}(-\w, )?--[\w-]+( <\w+>)?$|^  <\w+>$", line):
            assert lines[number + 1].strip(), f"{line} of {command}"
    assert run(*command.split(), "-h").returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["nonsense"], ["dev", "--s3", "everywhere"], ["dev", "--clock", "sundial"], ["serve"], ["keyd"], ["init"],
        ["config"], ["config", "check"], ["user", "create"], ["user", "create", "x", "--role", "king"],
        ["keys", "versions"], ["objects", "keys", "bucket/key"], ["objects", "keys", "s3://bucket"],
        ["objects", "restore", "s3://b/k", "--days", "many"], ["objects", "restore", "s3://b/k", "--days", "-1"],
        ["audit", "proof"], ["audit", "proof", "first"], ["audit", "events", "--from", "-1"], ["audit", "check-proof", "p", "e"],
        ["simulate"], ["simulate", "x", "--seed", "x"], ["hsm", "test", "--config", "a", "--data", "b"],
        ["quorum", "set", "--threshold", "many"], ["quorum", "approve"], ["custodian", "new", "ada"],
        ["hsm", "ceremony", "run", "--config", "x"], ["completions", "cobol"], ["fsck", "--nonsense"], ["init", "--config", "x", "--blank-token"],
    ],
    ids=lambda arguments: " ".join(arguments) or "nothing",
)
def test_a_usage_error_ends_with_2_and_says_what_is_right(arguments):
    done = run(*arguments)
    assert done.returncode == 2 and done.stdout == "", done.stdout
    assert "Usage: " in done.stderr or "For more information" in done.stderr
    assert_no_panic(done.stderr)


def test_the_version_is_told():
    assert re.fullmatch(r"strongroom \d+\.\d+\.\d+\n", run("--version").stdout)


@pytest.mark.parametrize("shell, sign", [("bash", "complete -F"), ("zsh", "#compdef strongroom"), ("fish", "complete -c strongroom")])
def test_completions_are_scripts_that_their_shell_reads(shell, sign):
    done = run("completions", shell)
    assert done.returncode == 0 and sign in done.stdout and "check-proof" in done.stdout
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=done.stdout, text=True, check=True)


@pytest.mark.parametrize("arguments", [["completions", "bash"], ["config", "reference"], ["--help"]], ids=" ".join)
def test_a_reader_that_goes_away_is_no_panic(arguments):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        done = subprocess.run([BINARY, *arguments], stdout=closed, stderr=subprocess.PIPE, text=True, timeout=30)
    assert_no_panic(done.stderr)
    assert done.returncode in (0, 1)


# Output.


def printing(stocked):
    """Every command that prints data, with arguments that work, and what people must find in its output."""
    name, key, uri = stocked.ready["access_key_id"], stocked.key, "s3://stock/a/kms"
    log = ["--directory", stocked.data / "audit"]
    return {
        "user list": (["user", "list"], [name, "ACCESS KEY ID", "administrator", "true"]),
        "keys list": (["keys", "list"], ["KEY ID", key, "enabled", "for the command line"]),
        "keys disable": (["keys", "disable", key], [key, "disabled"]),
        "keys enable": (["keys", "enable", key], [key, "enabled"]),
        "keys versions": (["keys", "versions", key], ["BUCKET", "stock", "a/kms", "STANDARD"]),
        "keys impact": (["keys", "impact", key], ["BUCKET", "stock", "STANDARD", "warm", "(all)"]),
        "keys limit": (["keys", "limit", key, "--uses", "1000000"], ["USES", "1000000"]),
        "keys limits": (["keys", "limits", key], ["BYTES", "1000000"]),
        "keys history": (["keys", "history", key], ["LAST USED", "active"]),
        "keys rewrap": (["keys", "rewrap", key, "--status"], ["KEY VERSION", "PER SECOND"]),
        "quorum rule": (["quorum", "rule"], ["one administrator alone"]),
        "quorum list": (["quorum", "list"], ["PROPOSAL", "REQUESTER"]),
        "objects keys": (["objects", "keys", uri], ["SSE-KMS", key, "STANDARD"]),
        "lifecycle run": (["lifecycle", "run"], ["moves begun"]),
        "lifecycle jobs": (["lifecycle", "jobs"], ["CLASS", "ORIGIN", "LAST ERROR"]),
        "audit verify": (["audit", "verify", *log], ["entries hold under the signed checkpoint"]),
        "audit events": (["audit", "events", *log], ["key-use"]),
        "audit entry": (["audit", "entry", "0", *log], ["{"]),
        "audit proof": (["audit", "proof", "0"], ["c2sp.org/tlog-proof@v1"]),
        "hsm test": (["hsm", "test", "--data", stocked.data], ["strongroom-dev"]),
        "scrub": (["scrub"], ["have all their stored bytes; 0 findings"]),
    }


def test_what_is_printed_is_for_people_and_with_json_for_programs(stocked):
    secrets = [
        stocked.ready["secret_access_key"], stocked.ready["admin_token"], stocked.customer_key.base64,
        (stocked.data / "token/pin").read_text(), (stocked.data / "token/so-pin").read_text(),
    ]
    for name, (arguments, words) in printing(stocked).items():
        told = stocked.cli(*arguments)
        for word in words:
            assert word in told.stdout, f"{name}: {word!r} is not in\n{told.stdout}"
        answer = stocked.cli(*arguments, "--json")
        assert isinstance(json.loads(answer.stdout), (dict, list)), name
        first = stocked.cli("--json", *arguments)
        json.loads(first.stdout)
        for output in (told, answer):
            for secret in secrets:
                assert secret.strip() not in output.stdout + output.stderr, name
            assert "panicked" not in output.stderr and "\x1b" not in output.stdout + output.stderr, name


def test_a_secret_is_shown_once_when_a_user_is_made(stocked):
    told = stocked.cli("user", "create", "somebody").stdout
    name, secret = re.fullmatch(r"access key id      (\S+)\nsecret access key  (\S+)\n", told).groups()
    assert secret not in stocked.cli("user", "list", "--json").stdout
    made = stocked.cli("user", "create", "somebody else", json_output=True)
    assert {"access_key_id", "secret_access_key", "role"} <= made.keys() and made["role"] == "user"
    events = stocked.cli("audit", "events", "--directory", stocked.data / "audit", "--json").stdout
    assert secret not in events and made["secret_access_key"] not in events and name in events


def test_the_versions_under_a_key_and_the_keys_over_a_version(stocked):
    found = stocked.cli("keys", "versions", stocked.key, json_output=True)["versions"]
    assert [(one["key"], one["size_bytes"]) for one in found] in ([("a/kms", 1), ("a/kms", 2)], [("a/kms", 2), ("a/kms", 1)])
    over = stocked.cli("objects", "keys", "s3://stock/a/customer", json_output=True)["versions"][0]
    assert over["protection"]["mode"] == "SSE-C"
    fingerprint = over["protection"]["fingerprint"]
    under = stocked.cli("keys", "versions", fingerprint, json_output=True)["versions"]
    assert [one["key"] for one in under] == ["a/customer"]
    refuses(stocked.cli("keys", "versions", "no-such-key", check=False), "no-such-key", "400")
    refuses(stocked.cli("keys", "versions", "alias/none", check=False), "alias/none", "404")
    refuses(stocked.cli("objects", "keys", "s3://stock/none", check=False), "404")
    refuses(stocked.cli("objects", "keys", "s3://Not_A_Bucket/none", check=False), "400")


def test_an_object_is_archived_and_restored(stocked, s3):
    s3.put_object(Bucket="stock", Key="cold", Body=b"cold")
    assert stocked.cli("objects", "archive", "s3://stock/cold").stdout == "the object is being archived\n"
    jobs = stocked.cli("lifecycle", "jobs", json_output=True)["jobs"]
    assert [(job["key"], job["origin"]) for job in jobs] in ([("cold", "request")], []), jobs
    stocked.cli("lifecycle", "run")
    assert s3.head_object(Bucket="stock", Key="cold")["StorageClass"] == "GLACIER"
    stocked.cli("objects", "archive", "s3://stock/cold")
    assert stocked.cli("lifecycle", "jobs", json_output=True)["jobs"] == [], "it is there already"
    refuses(stocked.cli("objects", "restore", "s3://stock/managed", check=False), "409")
    refuses(stocked.cli("objects", "restore", "s3://stock/cold", "--days", "0", check=False), "days", "400")
    refuses(stocked.cli("objects", "restore", "s3://stock/cold", "--tier", "Quick", check=False), "Expedited, Standard or Bulk")
    refuses(stocked.cli("objects", "archive", "s3://stock/managed", "--class", "COLD", check=False), "GLACIER or DEEP_ARCHIVE")
    assert stocked.cli("objects", "restore", "s3://stock/cold", "--days", "2").stdout == "in progress\n"
    refuses(stocked.cli("objects", "restore", "s3://stock/cold", check=False), "in progress", "409")
    stocked.advance(hours=6)
    assert s3.get_object(Bucket="stock", Key="cold")["Body"].read() == b"cold"
    assert stocked.cli("objects", "restore", "s3://stock/cold", json_output=True)["state"] == "restored"


def test_a_disabled_key_is_a_refusal_and_enabling_it_undoes_that(stocked, s3):
    stocked.cli("keys", "disable", stocked.key)
    with pytest.raises(Exception, match="(?i)disabled"):
        s3.get_object(Bucket="stock", Key="a/kms")
    stocked.cli("keys", "enable", stocked.key)
    assert s3.get_object(Bucket="stock", Key="a/kms")["Body"].read() == b"22"
    refuses(stocked.cli("keys", "disable", "alias/none", check=False), "alias/none", "404")


# The audit log.


def test_an_entry_is_proven_offline_and_nothing_else_is(stocked, tmp_path):
    key = stocked.data / "audit.vkey"
    index = 3
    (tmp_path / "proof").write_text(stocked.cli("audit", "proof", index).stdout)
    entry = stocked.cli("audit", "entry", index, "--directory", stocked.data / "audit").stdout.encode()
    assert json.loads(entry) and not entry.endswith(b"\n")
    (tmp_path / "entry").write_bytes(entry)
    done = run("audit", "check-proof", tmp_path / "proof", tmp_path / "entry", "--verifier-key", key)
    assert done.returncode == 0 and done.stdout == f"the entry is number {index} of the log\n", done.stderr
    told = run("audit", "check-proof", tmp_path / "proof", tmp_path / "entry", "--verifier-key", key.read_text(), "--json")
    assert json.loads(told.stdout) == {"index": index}
    (tmp_path / "other").write_bytes(entry.replace(b'"', b"'", 1))
    refuses(run("audit", "check-proof", tmp_path / "proof", tmp_path / "other", "--verifier-key", key), "not proven")
    refuses(run("audit", "check-proof", tmp_path / "entry", tmp_path / "entry", "--verifier-key", key), "not proven")
    refuses(run("audit", "check-proof", tmp_path / "none", tmp_path / "entry", "--verifier-key", key), "cannot read")
    refuses(run("audit", "check-proof", tmp_path / "proof", tmp_path / "entry", "--verifier-key", "nonsense"))
    refuses(stocked.cli("audit", "proof", 10**9, check=False), "404")


def test_events_are_read_from_any_place_on(stocked):
    log = ["--directory", stocked.data / "audit"]
    events = stocked.cli("audit", "events", *log, json_output=True)
    assert [event["index"] for event in events] == list(range(len(events)))
    lines = stocked.cli("audit", "events", *log, "--from", len(events) - 2).stdout.splitlines()
    assert [json.loads(line)["index"] for line in lines] == [len(events) - 2, len(events) - 1]
    refuses(stocked.cli("audit", "entry", 10**9, *log, check=False), "has no entry 1000000000")
    assert stocked.cli("audit", "events", *log, "--from", 10**9).stdout == ""
    assert stocked.cli("audit", "events", *log, "--from", 10**9, json_output=True) == []


def test_a_log_that_is_not_there_or_not_of_the_key_is_named(stocked, tmp_path):
    for command in ("verify", "events"):
        refuses(run("audit", command, "--directory", tmp_path / "none"), "is not the directory of a log", "--directory")
    refuses(run("audit", "verify", "--directory", tmp_path), "no verifier key", "--verifier-key")
    log = stocked.data / "audit"
    refuses(run("audit", "verify", "--directory", log, "--verifier-key", "nonsense"), "does not hold")
    refuses(run("audit", "verify", "--directory", tmp_path, "--verifier-key", stocked.data / "audit.vkey"), "does not hold", "checkpoint")


# The simulator.

SCENARIO = """
name = "A small archive"
start = "2026-01-01"
years = 2
versioning = "Unversioned"
[[population]]
name = "images"
prefix = "images/"
objects = 2_000
created = { from_day = 0, to_day = 365 }
size = { kind = "uniform", min_bytes = 200_000, max_bytes = 400_000 }
keys = { kind = "spread", count = 4 }
[[rule]]
ID = "cold"
Status = "Enabled"
Filter = { Prefix = "images/" }
Transitions = [{ Days = 30, StorageClass = "GLACIER" }]
Expiration = { Days = 400 }
[[demand]]
population = "images"
restores_per_year = 0.2
retrieval_tier = "Bulk"
days = 3
"""


def test_a_rehearsal_is_the_same_to_the_byte_for_the_same_seed(tmp_path):
    (tmp_path / "small.toml").write_text(SCENARIO)
    answers = []
    for seed, name in ((1, "a"), (1, "b"), (2, "c")):
        done = run("simulate", tmp_path / "small.toml", "--seed", seed, "--svg", tmp_path / f"{name}.svg", "--json")
        assert done.returncode == 0, done.stderr
        answers.append((done.stdout, (tmp_path / f"{name}.svg").read_text()))
    assert answers[0] == answers[1] and answers[0][0] != answers[2][0]
    report = json.loads(answers[0][0])
    assert report["scenario"] == "A small archive" and report["seed"] == 1
    assert answers[0][1].startswith("<svg") and answers[0][1].rstrip().endswith("</svg>")
    told = run("simulate", tmp_path / "small.toml")
    assert "A small archive (seed 1)" in told.stdout and "GLACIER" in told.stdout


def test_the_example_of_the_documentation_runs():
    done = run("simulate", ROOT / "docs/examples/hospital-archive.toml", "--json")
    assert json.loads(done.stdout)["scenario"].startswith("Hospital archive")


@pytest.mark.parametrize(
    "text, words",
    [
        ("name = [", "line 1"), ("", "is not a scenario"), (SCENARIO.replace("objects = 2_000", "objects = -1"), "objects"),
        (SCENARIO.replace('population = "images"', 'population = "none"'), "none"),
        (SCENARIO.replace("Days = 30", "Day = 30"), "Day"), (SCENARIO.replace('"2026-01-01"', '"yesterday"'), "yesterday"),
        (SCENARIO.replace('"GLACIER"', '"COLD"'), "COLD"), (SCENARIO.replace("years = 2", "years = 0"), "years"),
    ],
    ids=["not TOML", "empty", "a negative count", "an unknown population", "a misspelt member", "no date", "no class", "no years"],
)
def test_a_scenario_that_cannot_be_is_refused(tmp_path, text, words):
    (tmp_path / "wrong.toml").write_text(text)
    done = run("simulate", tmp_path / "wrong.toml")
    assert done.returncode == 1 and words in done.stderr and "to do: " in done.stderr, done.stderr
    assert_no_panic(done.stderr)


def test_a_scenario_or_a_plot_that_cannot_be_opened_is_named(tmp_path):
    refuses(run("simulate", tmp_path / "none.toml"), "cannot read", "none.toml")
    (tmp_path / "small.toml").write_text(SCENARIO)
    refuses(run("simulate", tmp_path / "small.toml", "--svg", tmp_path / "no/plot.svg"), "cannot write", "plot.svg")


# On a terminal.


def test_long_work_shows_progress_on_a_terminal_and_nowhere_else(stocked):
    environment = {**os.environ, "STRONGROOM_API_URL": stocked.ready["api_url"], "STRONGROOM_ADMIN_TOKEN": stocked.ready["admin_token"], "TERM": "xterm"}
    controller, terminal = pty.openpty()
    done = subprocess.run([BINARY, "hsm", "test", "--data", stocked.data], stdout=subprocess.PIPE, stderr=terminal, stdin=terminal, env=environment, timeout=60)
    os.close(terminal)
    shown = b""
    try:
        while piece := os.read(controller, 4096):
            shown += piece
    except OSError:
        pass
    os.close(controller)
    assert done.returncode == 0 and b"testing the token" in shown, shown
    assert b"\x1b" not in done.stdout
    quiet = stocked.cli("scrub")
    assert quiet.stderr == ""
