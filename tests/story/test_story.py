"""The story that `ci/quickstart` tells, as a test."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def test_every_step_of_the_story_holds(binary):
    told = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "tell.py"), "--binary", binary, "--files", str(ROOT)],
        capture_output=True, text=True, timeout=300,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert "steps held" in told.stdout
