"""The custodian's guide: every command of it runs as printed, on a token of its own."""

import os
import re
import socket
import subprocess
from pathlib import Path

from daemon import BINARY, ROOT

GUIDE = ROOT / "docs/custody.md"
SERVE = "strongroom serve "
REHEARSE = "strongroom dev "

# Runs before the commands of the guide. The daemon goes to the background where the guide has it in
# a terminal of its own.
PRELUDE = """
set -euo pipefail
daemon= rehearsal=
trap 'for left in $daemon $rehearsal; do kill -9 $left; done' EXIT
ready() {
    for _ in $(seq 600); do
        curl --silent --fail --output /dev/null "http://$1/readyz" && return
        kill -0 $2
        sleep 0.05
    done
    return 1
}
in_background() {
    "$@" >>"$LOG" 2>&1 &
    daemon=$!
    ready "$API" $daemon
}
rehearsed() {
    "$@" >>"$LOG" 2>&1 &
    rehearsal=$!
    ready "$REHEARSAL_API" $rehearsal
    # It writes down where it is once it serves.
    until [ -e "$REHEARSAL_FILE" ]; do sleep 0.05; done
}
refused() {
    if "$@" >"$LOG.refused" 2>&1; then
        echo "was not refused: $*" >&2
        exit 1
    fi
    if grep -q panicked "$LOG.refused"; then exit 1; fi
}
stopped() {
    kill $daemon
    wait $daemon
    daemon=
}
"""


def free_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def commands(text):
    """The commands of the guide in order, joined where a line goes on."""
    for block in re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S):
        yield from re.split(r"\n(?!(?: |END$|$)|[^\n]*<<)", block.strip()) if "<<'END'" not in block else [block]


def script(text):
    lines = [PRELUDE]
    for command in commands(text):
        if command.endswith("  # refused"):
            command = "refused " + command.removesuffix("  # refused")
        elif command.startswith(SERVE):
            command = "in_background " + command
        elif command.startswith(REHEARSE):
            command = "rehearsed " + command
        elif command == "kill $(pidof strongroom)":
            # The machine may run other daemons.
            command = "stopped"
        lines.append(command)
    lines.append("stopped")
    # A block with a file in it is one command: nothing of it is put in the place of anything.
    for line in "\n".join(lines[1:]).splitlines():
        assert "pidof" not in line and not line.startswith((SERVE, REHEARSE)), f"not in a block with a file: {line}"
    return "\n".join(lines) + "\n"


def test_every_command_of_the_guide_runs_as_printed(tmp_path):
    ports = {port: f"127.0.0.1:{free_port()}" for port in (9000, 9100, 9002, 9102)}
    text = GUIDE.read_text()
    assert text.count("```sh\n") > 10 and text.count(SERVE) >= 2
    text = text.replace("/etc/strongroom", str(tmp_path / "etc")).replace("/var/lib/strongroom", str(tmp_path / "var"))
    for port, bound in ports.items():
        text = text.replace(f"127.0.0.1:{port}", bound)
    log = tmp_path / "daemon.log"
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    (bin_dir / "strongroom").symlink_to(Path(BINARY).resolve())
    clients = Path(os.path.realpath(os.sys.prefix)) / "bin"
    path = os.pathsep.join([str(bin_dir), str(clients), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", script(text)], cwd=ROOT, capture_output=True, text=True, timeout=300,
        env={**os.environ, "PATH": path, "LOG": str(log), "API": ports[9100], "REHEARSAL_API": ports[9102],
             "REHEARSAL_FILE": str(tmp_path / "var/rehearsal/client.json"), "AWS_PAGER": "", "AWS_CONFIG_FILE": "/dev/null"},
    )
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-4_000:] + log.read_text()[-4_000:]
    assert "panicked" not in log.read_text() + done.stderr
    for told in ("is valid", "fit for use", "entries hold under the signed checkpoint", "the entry is number 0 of the log"):
        assert told in done.stdout, (told, done.stdout[-4_000:])
