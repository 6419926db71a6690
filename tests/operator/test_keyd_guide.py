"""The guide to keys on a host of their own: every command of it runs as printed."""

import os
import subprocess
import sys
from pathlib import Path

from daemon import BINARY, ROOT
from test_custody_guide import commands, free_port

GUIDE = ROOT / "docs/keyd.md"
SERVE = ("strongroom keyd ", "strongroom serve ")

# Runs before the commands of the guide. The daemons go to the background where the guide has them in
# terminals of their own.
PRELUDE = """
set -euo pipefail
daemons=
trap 'for left in $daemons; do kill -9 $left; done' EXIT
in_background() {
    api=$1
    shift
    "$@" >>"$LOG" 2>&1 &
    daemons="$! $daemons"
    for _ in $(seq 600); do
        curl --silent --fail --output /dev/null "http://$api/readyz" && return
        kill -0 ${daemons%% *}
        sleep 0.05
    done
    return 1
}
refused() {
    if "$@" >"$LOG.refused" 2>&1; then
        echo "was not refused: $*" >&2
        exit 1
    fi
}
"""


def script(text, apis):
    lines = [PRELUDE]
    for command in commands(text):
        if command.endswith("  # refused"):
            command = "refused " + command.removesuffix("  # refused")
        for served, api in zip(SERVE, apis):
            if command.startswith(served):
                command = f"in_background {api} {command}"
        lines.append(command)
    lines.append("for daemon in $daemons; do kill $daemon; wait $daemon; done; daemons=")
    return "\n".join(lines) + "\n"


def test_every_command_of_the_guide_runs_as_printed(tmp_path):
    ports = {port: f"127.0.0.1:{free_port()}" for port in (9000, 9100, 9101, 9200)}
    text = GUIDE.read_text()
    assert text.count("```sh\n") > 5 and all(text.count(served) >= 1 for served in SERVE)
    text = text.replace("/etc/strongroom", str(tmp_path / "etc")).replace("/var/lib/strongroom", str(tmp_path / "var"))
    for port, bound in ports.items():
        text = text.replace(f"127.0.0.1:{port}", bound)
    log = tmp_path / "daemons.log"
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    (bin_dir / "strongroom").symlink_to(Path(BINARY).resolve())
    clients = Path(os.path.realpath(sys.prefix)) / "bin"
    path = os.pathsep.join([str(bin_dir), str(clients), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", script(text, (ports[9100], ports[9200]))], cwd=ROOT, capture_output=True, text=True, timeout=300,
        env={**os.environ, "PATH": path, "LOG": str(log), "AWS_PAGER": "", "AWS_CONFIG_FILE": "/dev/null"},
    )
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-4_000:] + (log.read_text()[-4_000:] if log.exists() else "")
    assert "panicked" not in log.read_text()
    assert done.stdout.count("is valid") == 2 and '"key_daemon":"ready"' in done.stdout
