"""Dual control: custodians who have to agree, driven by boto3, the command line and the HTTP API."""

import json
import os
import pty
import re
import stat
import subprocess

import pytest
from botocore.exceptions import ClientError
from daemon import BINARY, Daemon, Refused
from deployment import refuses, run

PROPOSAL = re.compile(r"\b[0-9a-f]{32}\b")
NAMES = ("ada", "ben", "cleo")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """The private keys of three custodians, each in a file of its own."""
    directory = tmp_path_factory.mktemp("custodians")
    files = {}
    for name in NAMES:
        files[name] = directory / f"{name}.key"
        done = run("custodian", "new", name, "--output", files[name])
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(rf"{name}\+[0-9a-f]{{8}}\+\S+\n", done.stdout)
        (directory / f"{name}.vkey").write_text(done.stdout)
    return files


def answered(answer, *arguments):
    """Runs the binary on a terminal, at which somebody answers what it asks."""
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    try:
        return subprocess.run(
            [BINARY, *map(str, arguments)], stdin=theirs, capture_output=True, text=True, timeout=60,
        )
    finally:
        os.close(ours)
        os.close(theirs)


def named(keys, names=NAMES):
    return [argument for name in names for argument in ("--custodian", keys[name].with_suffix(".vkey"))]


@pytest.fixture(scope="module")
def guarded(daemon):
    """A daemon on which two of three custodians have to agree, once `enrolled` has been there."""
    return daemon


@pytest.fixture(scope="module", autouse=True)
def enrolled(guarded, keys):
    before = guarded.cli("quorum", "rule")
    assert "one administrator alone can do everything" in before.stdout
    told = guarded.cli("quorum", "set", "--threshold", 2, *named(keys))
    assert told.stdout.startswith("2 of 3 custodians have to agree\n"), told.stdout
    return told


def refused_for_now(call, **arguments):
    """The call is refused; gives the id of the proposal that the refusal names."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response
    assert error["Error"]["Code"] == "AccessDeniedException", error
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 400
    message = error["Error"]["Message"]
    assert "send the same request again" in message, message
    return PROPOSAL.search(message)[0]


def approve(daemon, keys, proposal, *names):
    for name in names:
        daemon.cli("quorum", "approve", proposal, "--key", keys[name], "--yes")


def test_a_key_of_a_custodian_is_for_its_owner_and_is_not_written_over(keys):
    assert stat.S_IMODE(keys["ada"].stat().st_mode) == 0o600
    text = keys["ada"].read_text()
    assert text.startswith("PRIVATE+KEY+ada+")
    refuses(run("custodian", "new", "ada", "--output", keys["ada"]), "there is a file")
    assert keys["ada"].read_text() == text
    public = run("custodian", "key", keys["ada"], "--json")
    assert json.loads(public.stdout)["verifier_key"] == keys["ada"].with_suffix(".vkey").read_text().strip()
    refuses(run("custodian", "new", "two words", "--output", keys["ada"].with_name("x")), "name of a custodian")
    refuses(run("custodian", "key", keys["ada"].with_suffix(".vkey")), "may be read by others")
    # No rule takes a longer one.
    long = keys["ada"].with_name("long")
    refuses(run("custodian", "new", "é" * 33, "--output", long), "at most 64 bytes", "take a name of up to 64 bytes")
    assert not long.exists()
    assert run("custodian", "new", "é" * 32, "--output", long).returncode == 0


def test_boto3_schedules_a_deletion_when_two_have_approved(guarded, keys):
    kms = guarded.kms()
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    asked = dict(KeyId=key, PendingWindowInDays=7)
    proposal = refused_for_now(kms.schedule_key_deletion, **asked)
    assert refused_for_now(kms.schedule_key_deletion, **asked) == proposal
    shown = guarded.cli("quorum", "show", proposal).stdout
    assert "ScheduleKeyDeletion" in shown and '"days": 7' in shown and guarded.ready["access_key_id"] in shown
    approve(guarded, keys, proposal, "ada")
    again = guarded.cli("quorum", "approve", proposal, "--key", keys["ada"], "--yes", check=False)
    refuses(again, "counts once")
    assert refused_for_now(kms.schedule_key_deletion, **asked) == proposal
    approve(guarded, keys, proposal, "cleo")
    # Neither another waiting time nor another requester is the same request.
    assert refused_for_now(kms.schedule_key_deletion, KeyId=key, PendingWindowInDays=8) != proposal
    with pytest.raises(Refused) as caught:
        guarded.api("POST", f"/v1/keys/{key}/schedule-deletion", {"days": 7})
    problem = caught.value.problem
    assert caught.value.status == 403 and problem["type"].endswith(":approval-needed")
    assert problem["proposal"] != proposal
    found = guarded.api("GET", problem["proposal_url"])
    assert (found["state"], found["requester"]) == ("open", "administrator")
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Enabled"

    assert kms.schedule_key_deletion(**asked)["KeyState"] == "PendingDeletion"
    kms.cancel_key_deletion(KeyId=key)
    assert refused_for_now(kms.schedule_key_deletion, **asked) != proposal
    assert guarded.metric("strongroom_refusals_total", api="kms", code="AccessDeniedException") >= 4
    assert guarded.metric("strongroom_quorum_total", operation="ScheduleKeyDeletion", outcome="approved") == 1


def test_a_policy_and_limits_wait_too_and_a_rejection_is_final(guarded, keys, tmp_path):
    kms = guarded.kms()
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    policy = kms.get_key_policy(KeyId=key)["Policy"]
    proposal = refused_for_now(kms.put_key_policy, KeyId=key, Policy=policy)
    guarded.cli("quorum", "reject", proposal, "--key", keys["ben"], "--yes")
    with pytest.raises(ClientError, match="custodian ben has rejected"):
        kms.put_key_policy(KeyId=key, Policy=policy)
    refuses(guarded.cli("quorum", "approve", proposal, "--key", keys["ada"], "--yes", check=False), "closed")

    limit = ("keys", "limit", key, "--uses", 7)
    done = guarded.cli(*limit, check=False)
    refuses(done, "needs the approval of 2 custodians", "give this command again")
    proposal = PROPOSAL.search(done.stderr)[0]
    assert proposal in guarded.cli("quorum", "list").stdout
    # One of them signs on a machine of her own.
    file, line = tmp_path / "proposal.json", tmp_path / "signature"
    guarded.cli("quorum", "show", proposal, "--output", file)
    vkey = guarded.data / "audit.vkey"
    signed = run("custodian", "sign", file, "--key", keys["ada"], "--verifier-key", vkey, "--yes")
    assert signed.returncode == 0, signed.stderr
    line.write_text(signed.stdout)
    guarded.cli("quorum", "approve", proposal, "--signature", line)
    approve(guarded, keys, proposal, "ben")
    assert "7" in guarded.cli(*limit).stdout
    assert proposal not in guarded.cli("quorum", "list").stdout
    listed = guarded.cli("quorum", "list", "--all", json_output=True)["proposals"]
    assert {one["id"]: one["state"] for one in listed}[proposal] == "carried-out"


def test_a_custodian_signs_only_what_is_shown(guarded, keys, tmp_path):
    kms = guarded.kms()
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    proposal = refused_for_now(kms.schedule_key_deletion, KeyId=key, PendingWindowInDays=30)
    file = tmp_path / "proposal.json"
    guarded.cli("quorum", "show", proposal, "--output", file)
    whole = json.loads(file.read_text())
    sign = ("custodian", "sign", file, "--key", keys["ada"])
    refuses(run(*sign, stdin="y\n"), "not a terminal", "--yes")
    refuses(run(*sign, "--yes", "--verifier-key", "elsewhere+00000000+AA"), "of the deployment")
    # On a terminal it is shown first, and signed when she agrees.
    declined = answered("n", *sign)
    assert declined.returncode == 1 and declined.stdout == "" and "nothing was signed" in declined.stderr
    agreed = answered("y", *sign)
    assert agreed.returncode == 0 and agreed.stdout.startswith("\N{EM DASH} ada "), agreed.stderr
    for told in (proposal, "ScheduleKeyDeletion", key, '"days": 30', guarded.ready["access_key_id"], "approve as ada?"):
        assert told in agreed.stderr, agreed.stderr
    for member, altered in (
        ("request", whole["request"].replace("30", "7")),
        ("id", "0" * 32),
        ("approval_text", whole["rejection_text"]),
        ("rejection_text", whole["approval_text"]),
        ("approval_text", whole["approval_text"].replace("30", "7")),
    ):
        file.write_text(json.dumps({**whole, member: altered}))
        refuses(run(*sign, "--yes"), "does not say what it asks to sign")
    # What somebody else has signed is none of a custodian's.
    stranger = tmp_path / "eve.key"
    run("custodian", "new", "eve", "--output", stranger)
    done = guarded.cli("quorum", "approve", proposal, "--key", stranger, "--yes", check=False)
    refuses(done, "not by a custodian")


def test_requests_that_are_not_as_described_are_refused(guarded):
    with pytest.raises(Refused) as caught:
        guarded.api("POST", "/v1/quorum/proposals/" + "0" * 32 + "/approve", {"signature": "x"}, token="x" * 43)
    assert caught.value.status == 401
    for path, body, status in (
        ("/v1/quorum/proposals/" + "0" * 32 + "/approve", {"signature": "x"}, 404),
        ("/v1/quorum/proposals/nonsense/approve", {"signature": "x"}, 400),
        ("/v1/quorum/proposals/nonsense/reject", {}, 400),
    ):
        with pytest.raises(Refused) as caught:
            guarded.api("POST", path, body)
        assert caught.value.status == status, path
    for body, word in (
        ({"threshold": 1, "custodians": []}, "threshold"),
        ({"threshold": 2, "custodians": ["nobody"]}, "not the public key"),
        ({"threshold": 2, "custodians": [], "operations": ["Whatever"]}, "ScheduleKeyDeletion"),
        ({"threshold": 2}, "custodians"),
    ):
        with pytest.raises(Refused) as caught:
            guarded.api("PUT", "/v1/quorum", body)
        assert caught.value.status == 400 and word in caught.value.problem["detail"], caught.value.problem


def test_other_custodians_take_the_approval_of_those_there_are_and_all_holds_after_a_restart(guarded, keys):
    set_other = ("quorum", "set", "--threshold", 2, *named(keys, ("ada", "ben")), "--operation", "PutKeyPolicy")
    done = guarded.cli(*set_other, check=False)
    refuses(done, "needs the approval of 2 custodians")
    proposal = PROPOSAL.search(done.stderr)[0]
    approve(guarded, keys, proposal, "ben", "cleo")
    guarded.restart()
    told = guarded.cli(*set_other).stdout
    assert told.startswith("2 of 2 custodians") and "generation  2" in told and "ScheduleKeyDeletion" not in told
    kms = guarded.kms()
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    assert kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)["KeyState"] == "PendingDeletion"


def test_an_auditor_sees_from_the_log_alone_who_has_approved(guarded, keys, tmp_path):
    verify = ("audit", "verify", "--directory", guarded.data / "audit")
    told = guarded.cli(*verify).stdout
    assert re.search(r"ScheduleKeyDeletion of arn:\S+ by SRAK\w+, approved by ada, cleo", told), told
    assert re.search(r"SetKeyLimits of arn:\S+ by administrator, approved by ada, ben", told), told
    assert re.search(r"ChangeQuorumRule of the deployment by administrator, approved by ben, cleo", told), told
    whole = guarded.cli(*verify, json_output=True)["quorum"]
    assert [len(act["custodians"]) for act in whole["acts"]] == [2, 2, 2]
    assert whole["findings"] == [] and whole["remarks"] == []
    # Another log's rule and signatures are none of this one.
    other = tmp_path / "other"
    quiet = Daemon(other).start()
    try:
        told = quiet.cli("audit", "verify", "--directory", quiet.data / "audit", json_output=True)
        assert told["quorum"] == {"rule_sha256": None, "acts": [], "findings": [], "remarks": []}
    finally:
        quiet.stop()


def test_a_root_ceremony_begins_a_deployment_and_leaves_a_transcript_that_all_have_signed(deploy, keys, tmp_path):
    made = deploy()
    transcript = tmp_path / "transcript"
    hold = ("hsm", "ceremony", "run", "--config", made.file, "--transcript", transcript, *named(keys))
    officer = ("--blank-tokens", "--so-pin-file", made.hsm / "officer.pin")
    refuses(made.command(*hold, "--threshold", 4, *officer), "threshold")
    # Somebody does not agree after the first step, so nothing more is done.
    stopped = answered("n", *hold, "--threshold", 2, *officer)
    assert stopped.returncode == 1 and "the ceremony was stopped" in stopped.stderr, stopped.stderr
    assert "is initialised" in stopped.stdout and "root keys" not in stopped.stdout
    assert not (made.directory / "data").exists() and not transcript.exists()
    done = made.command(*hold, "--threshold", 2, "--present", "an auditor", "--key", keys["ada"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fit for use" in done.stdout and "never extractable" in done.stdout, done.stdout
    printed = dict(re.findall(r"^(access key id|secret access key) +(\S+)$", done.stdout, re.M))
    made.credentials = printed["access key id"], printed["secret access key"]
    made.admin_token = (made.directory / "admin.token").read_text().strip()
    refuses(made.command(*hold, "--threshold", 2), "there is a file")

    vkey = made.directory / "data/audit.vkey"
    verify = ("hsm", "ceremony", "verify", transcript, "--verifier-key", vkey)
    refuses(made.command(*verify), "ben has not signed it")
    # A custodian sees what she is to sign, and is asked.
    sign = ("hsm", "ceremony", "sign", transcript, "--key")
    unsigned = transcript.read_text()
    refuses(made.command(*sign, keys["ben"], stdin="y\n"), "not a terminal", "--yes")
    declined = answered("n", *sign, keys["ben"])
    assert declined.returncode == 1 and "nothing was signed" in declined.stderr, declined.stderr
    refuses(made.command(*sign, keys["ben"], "--yes", "--verifier-key", "elsewhere+00000000+AA"), "of the deployment")
    transcript.write_text(unsigned.replace('"an auditor"', '"nobody"', 1))
    refuses(made.command(*sign, keys["ben"], "--yes"), "not signed by the key of the audit log")
    transcript.write_text(unsigned)
    agreed = answered("y", *sign, keys["ben"], "--verifier-key", vkey)
    assert agreed.returncode == 0 and agreed.stdout.endswith(" is signed\n"), agreed.stderr
    shown = agreed.stderr.splitlines()
    for line in ("present    an auditor", "signed by  ada", f"deployment {vkey.read_text().strip()}"):
        assert line in shown, agreed.stderr
    for name in NAMES:
        assert f"custodian  {keys[name].with_suffix('.vkey').read_text().strip()}" in shown, agreed.stderr
    assert "never extractable" in agreed.stderr and "signed by  ben" not in shown and "DOUBT" not in agreed.stderr
    scripted = made.command(*sign, keys["cleo"], "--yes")
    assert scripted.returncode == 0 and "signed by  ben\n" in scripted.stdout, scripted.stdout + scripted.stderr
    assert made.command(*sign, keys["cleo"], "--yes", "--json").returncode == 0
    assert transcript.read_text().count("\N{EM DASH} cleo ") == 1
    holds = made.command(*verify)
    assert holds.returncode == 0, holds.stdout + holds.stderr
    for told in ("2 of 3 custodians", "signed by  ada", "signed by  cleo", "present    an auditor", "the transcript holds"):
        assert told in holds.stdout, holds.stdout
    whole = json.loads(made.command(*verify, "--json").stdout)
    [token] = whole["transcript"]["tokens"]
    assert token["passed"] and len(token["keys"]) == 3 and whole["doubts"] == []
    assert all(key["never_extractable"] and key["local"] for key in token["keys"])

    note = transcript.read_text()
    for what, altered, why in (
        ("the token", note.replace('"never_extractable": true', '"never_extractable": false', 1), "not valid"),
        ("a signature", note.rsplit("\n", 2)[0] + "\n", "cleo has not signed it"),
        ("no note", "whatever", "not signed by the key"),
    ):
        transcript.write_text(altered)
        refuses(made.command(*verify), why)
    transcript.write_text(note)
    refuses(made.command(*verify[:-1], keys["ada"].with_suffix(".vkey")), "of another deployment")
    stranger = tmp_path / "eve.key"
    run("custodian", "new", "eve", "--output", stranger)
    refuses(made.command("hsm", "ceremony", "sign", transcript, "--key", stranger), "eve is not a custodian")

    again = [argument if argument != transcript else tmp_path / "second" for argument in hold]
    refuses(made.command(*again, "--threshold", 2), "holds a deployment already")
    made.start()
    assert "takes the approval of custodians" in made.log.read_text()
    kms = made.kms()
    proposal = refused_for_now(kms.schedule_key_deletion, KeyId=kms.create_key()["KeyMetadata"]["KeyId"])
    approve(made, keys, proposal, "ada", "cleo")
    assert made.cli("audit", "verify", "--directory", made.directory / "data/audit", json_output=True)["quorum"]["findings"] == []
    made.stop()
