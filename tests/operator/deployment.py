"""A deployment made by hand: a token from `hsm/softhsm/provision`, a configuration file,
`strongroom init` and `strongroom serve`."""

import datetime
import ipaddress
import json
import os
import re
import subprocess
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from daemon import BINARY, ROOT, Daemon

PROVISION = ROOT / "hsm/softhsm/provision"


def run(*arguments, environment=None, directory=None, stdin=None, timeout_s=60):
    """Runs the binary."""
    return subprocess.run(
        [BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=timeout_s,
        env={**os.environ, **(environment or {})}, cwd=directory, input=stdin,
    )


def assert_one_error(text, *words):
    """One line of cause and one of what to do, which say these words, and no sign of a panic."""
    lines = text.splitlines()
    begins = [at for at, line in enumerate(lines) if line.startswith("strongroom: ")]
    assert len(begins) == 1, text
    told = lines[begins[0] :]
    assert len(told) == 2 and told[1].startswith("  to do: ") and len(told[1]) > 15, text
    for word in words:
        assert word in "\n".join(told), f"{word!r} is not in:\n{text}"
    assert_no_panic(text)


def assert_no_panic(text):
    for word in ("panicked", "stack backtrace", "RUST_BACKTRACE"):
        assert word not in text, text


def refuses(done, *words, status=1):
    """The command was refused, with one clear error that says these words."""
    assert done.returncode == status, f"{done.returncode}\n{done.stdout}{done.stderr}"
    assert_one_error(done.stderr, *words)


def certificate(directory):
    """Writes a certificate for 127.0.0.1 and its key; gives both paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "strongroom")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "certificate.pem", directory / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    paths[1].chmod(0o600)
    return paths


class Deployment(Daemon):
    """A daemon that serves what its configuration file says."""

    def __init__(self, directory, *, tls=None, environment=None, settings=()):
        super().__init__(directory, environment=environment)
        self.directory.mkdir(parents=True)
        self.hsm = self.directory / "hsm"
        self.file = self.directory / "strongroom.toml"
        provisioned = subprocess.run(["sh", PROVISION, self.hsm], capture_output=True, text=True, check=True)
        self.tables = {
            "": {"data_dir": "data"},
            "s3": {"listen": "127.0.0.1:0"},
            "api": {"listen": "127.0.0.1:0", "admin_token_file": "admin.token"},
            "log": {"format": "json"},
            "token": {},
        }
        for line in provisioned.stdout.splitlines()[1:]:
            name, _, value = line.partition(" = ")
            self.tables["token"][name] = json.loads(value)
        if tls:
            self.authority = tls[0]
            for endpoint in ("s3", "api"):
                self.tables[endpoint].update(tls_certificate=str(tls[0]), tls_private_key=str(tls[1]))
        for name, value in dict(settings).items():
            self.set(name, value)
        self.write()

    def set(self, name, value):
        """Sets `table.key` in the configuration file."""
        table, _, key = name.rpartition(".")
        self.tables.setdefault(table, {})[key] = value
        self.write()

    def write(self):
        lines = []
        for table, settings in self.tables.items():
            if table:
                lines.append(f"[{table}]")
            lines += [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        self.file.write_text("\n".join(lines) + "\n")

    def init(self, *, blank=True):
        """Runs `strongroom init`, and keeps the credentials that it prints."""
        arguments = ["init", "--config", self.file]
        if blank:
            arguments += ["--blank-token", "--so-pin-file", self.hsm / "officer.pin"]
        done = self.command(*arguments)
        if done.returncode == 0:
            printed = dict(re.findall(r"^(access key id|secret access key) +(\S+)$", done.stdout, re.M))
            if printed:
                self.credentials = printed["access key id"], printed["secret access key"]
            self.admin_token = (self.directory / "admin.token").read_text().strip()
        return done

    def command(self, *arguments, **options):
        return run(*arguments, environment=self.environment, **options)

    def start(self, timeout_s=60, command="serve"):
        """Starts it, and waits until it says that it serves."""
        begin = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.binary, command, "--config", str(self.file)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **self.environment},
            )
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for line in self.log.read_bytes()[begin:].decode(errors="replace").splitlines():
                if '"serving"' in line and line.endswith("}"):
                    serving = json.loads(line)["fields"]
                    self.ready = {
                        "s3_url": serving.get("s3"), "api_url": serving["api"], "region": "us-east-1",
                        "access_key_id": self.credentials[0], "secret_access_key": self.credentials[1],
                        "admin_token": self.admin_token,
                    }
                    return self
            if self.process.poll() is not None:
                raise RuntimeError(f"the daemon ended with {self.process.returncode}:\n{self.tail()}")
            time.sleep(0.02)
        self.kill()
        raise RuntimeError(f"the daemon was not ready in {timeout_s} s:\n{self.tail()}")

    def up(self, **options):
        """Initialises and starts it."""
        done = self.init()
        assert done.returncode == 0, done.stdout + done.stderr
        return self.start(**options)

    def refuses_to_start(self, *words, command="serve"):
        """Starting it fails with one clear error that says these words."""
        refuses(self.command(command, "--config", self.file), *words)

    def as_user(self, access_key_id, secret_access_key):
        """The same daemon in the eyes of another user."""
        other = Daemon(self.directory)
        other.authority = self.authority
        other.ready = {**self.ready, "access_key_id": access_key_id, "secret_access_key": secret_access_key}
        return other


def children(pid):
    """The processes that a process has started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(status.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(status.parent.name))
        except (OSError, ValueError):
            pass
    return found
