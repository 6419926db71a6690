"""A `strongroom dev` daemon on free ports, and the clients that talk to it.

Used by the black-box tests and by the story that `ci/quickstart` tells.
"""

import base64
import hashlib
import json
import os
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import boto3
from botocore.config import Config

ROOT = Path(__file__).resolve().parent.parent
BINARY = os.environ.get("STRONGROOM_BINARY", str(ROOT / "target/release/strongroom"))


class Refused(Exception):
    """A refusal of the HTTP API, with its problem details."""

    def __init__(self, status, problem):
        super().__init__(f"{status}: {problem}")
        self.status = status
        self.problem = problem


class Daemon:
    """One daemon with its data directory. It can be stopped, killed and started again."""

    def __init__(self, directory, *, clock="simulated", binary=BINARY, arguments=(), environment=None):
        self.directory = Path(directory)
        self.data = self.directory / "data"
        self.binary = binary
        self.clock = clock
        self.arguments = list(arguments)
        self.environment = environment or {}
        self.log = self.directory / "daemon.log"
        self.process = None
        self.ready = None
        # What its certificates are checked with, when it speaks TLS.
        self.authority = None

    def start(self, timeout_s=60):
        self.directory.mkdir(parents=True, exist_ok=True)
        ready_file = self.directory / "ready.json"
        ready_file.unlink(missing_ok=True)
        command = [
            self.binary, "dev", "--data", str(self.data), "--s3", "127.0.0.1:0", "--api", "127.0.0.1:0",
            "--ready-file", str(ready_file), "--clock", self.clock, *self.arguments,
        ]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **self.environment},
            )
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if ready_file.exists():
                self.ready = json.loads(ready_file.read_text())
                return self
            if self.process.poll() is not None:
                raise RuntimeError(f"the daemon ended with {self.process.returncode}:\n{self.tail()}")
            time.sleep(0.02)
        self.kill()
        raise RuntimeError(f"the daemon was not ready in {timeout_s} s:\n{self.tail()}")

    def tail(self, lines=40):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self, timeout_s=40):
        """Asks the daemon to end and waits until it has; returns its exit status."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        return self.process.returncode if self.process else None

    def kill(self):
        """Kills the daemon with SIGKILL, as a power cut would."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def restart(self):
        self.stop()
        return self.start()

    @property
    def pid(self):
        return self.process.pid

    # Clients.

    def client(self, service, *, user=None, **config):
        """A client of boto3, with the access key of `user` if it is not the first one's."""
        credential = user or self.ready
        endpoint = self.ready["s3_url"] if service == "s3" else self.ready["api_url"]
        config.setdefault("retries", {"max_attempts": 1, "mode": "standard"})
        if service == "s3":
            config.setdefault("s3", {"addressing_style": "path"})
            # Without it boto3 presigns with Signature Version 2, which AWS has turned off as well.
            config.setdefault("signature_version", "s3v4")
        return boto3.client(
            service, endpoint_url=endpoint, region_name=self.ready["region"],
            aws_access_key_id=credential["access_key_id"],
            aws_secret_access_key=credential["secret_access_key"],
            config=Config(**config), verify=str(self.authority) if self.authority else None,
        )

    def s3(self, **config):
        return self.client("s3", **config)

    def kms(self, **config):
        return self.client("kms", **config)

    def aws_environment(self):
        """The environment in which the AWS CLI talks to this daemon."""
        return {
            **os.environ,
            "AWS_ACCESS_KEY_ID": self.ready["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": self.ready["secret_access_key"],
            "AWS_DEFAULT_REGION": self.ready["region"],
            "AWS_ENDPOINT_URL_S3": self.ready["s3_url"],
            "AWS_ENDPOINT_URL_KMS": self.ready["api_url"],
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_PAGER": "",
        }

    def api(self, method, path, body=None, *, token=None):
        """One request to `/v1`; gives the parsed answer or raises `Refused`."""
        request = urllib.request.Request(
            self.ready["api_url"] + path, method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {token or self.ready['admin_token']}",
                "Content-Type": "application/json",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=120, context=self.trust) as answer:
                text = answer.read()
        except urllib.error.HTTPError as refusal:
            text = refusal.read()
            try:
                problem = json.loads(text)
            except ValueError:
                problem = text.decode(errors="replace")
            raise Refused(refusal.code, problem) from None
        return json.loads(text) if text else None

    @property
    def trust(self):
        return ssl.create_default_context(cafile=self.authority) if self.authority else None

    def get_text(self, path):
        with urllib.request.urlopen(self.ready["api_url"] + path, timeout=60, context=self.trust) as answer:
            return answer.read().decode()

    def metric(self, name, **labels):
        """The sum of a metric over all its series that carry the labels; 0 when it has none."""
        total = 0.0
        for line in self.get_text("/metrics").splitlines():
            if line.startswith("#") or not line.startswith(name):
                continue
            series, _, value = line.rpartition(" ")
            if series.split("{")[0] == name and all(f'{key}="{label}"' in series for key, label in labels.items()):
                total += float(value)
        return total

    def advance(self, *, days=0, hours=0, minutes=0):
        """Moves the simulated clock and lets everything that became due happen."""
        self.api("POST", "/v1/clock/advance", {"seconds": (days * 24 + hours) * 3600 + minutes * 60})
        self.run_keys()
        self.run_lifecycle()

    def run_keys(self):
        """Does what is due with keys. The background may have been faster; it is done in any case."""
        return self.api("POST", "/v1/keys/run")

    def run_lifecycle(self):
        return self.api("POST", "/v1/lifecycle/run")

    def cli(self, *arguments, check=True, json_output=False):
        """Runs the command line against this daemon."""
        environment = {
            **os.environ,
            "STRONGROOM_API_URL": self.ready["api_url"],
            "STRONGROOM_ADMIN_TOKEN": self.ready["admin_token"],
        }
        if self.authority:
            environment["SSL_CERT_FILE"] = str(self.authority)
        command = [self.binary, *map(str, arguments)]
        if json_output:
            command.append("--json")
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
        if check and done.returncode != 0:
            raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return json.loads(done.stdout) if json_output and check else done

    def events(self):
        """All entries of the audit log."""
        return self.cli("audit", "events", "--directory", self.data / "audit", json_output=True)

    def key_uses(self, **fields):
        """The key uses on the audit log that have these fields; `bucket` is that of the object."""
        uses = [event for event in self.events() if event["event"] == "key-use"]
        for use in uses:
            use["bucket"] = use.get("object", {}).get("bucket")
        return [use for use in uses if all(use.get(name) == value for name, value in fields.items())]


class CustomerKey:
    """A customer's key, in the forms that requests want."""

    def __init__(self, raw=None):
        self.raw = os.urandom(32) if raw is None else raw
        self.base64 = base64.b64encode(self.raw).decode()
        self.md5 = base64.b64encode(hashlib.md5(self.raw).digest()).decode()

    @property
    def headers(self):
        return {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": self.raw}

    @property
    def source_headers(self):
        return {"CopySourceSSECustomerAlgorithm": "AES256", "CopySourceSSECustomerKey": self.raw}
