"""A key daemon and a store apart from it: certificates for both, and a way between them that can be broken."""

import datetime
import ipaddress
import json
import socket
import threading
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from deployment import Deployment

DAY = datetime.timedelta(days=1)


class Authority:
    """Issues certificates into a directory."""

    def __init__(self, directory, name):
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        made = (
            self._begin(self.name, self.key, datetime.datetime.now(datetime.timezone.utc) + DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        self.certificate = directory / f"{name}.pem"
        self.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def _begin(self, subject, key, until):
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(until - 3 * DAY)
            .not_valid_after(until)
        )

    def issue(self, file, *names, expired=False, common_name="issued"):
        """A certificate for these DNS names and addresses; gives its path and that of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        until = datetime.datetime.now(datetime.timezone.utc) + (-DAY if expired else DAY)

        def named(name):
            try:
                return x509.IPAddress(ipaddress.ip_address(name))
            except ValueError:
                return x509.DNSName(name)

        made = (
            self._begin(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)]), key, until)
            .add_extension(x509.SubjectAlternativeName([named(name) for name in names]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        paths = self.directory / f"{file}.pem", self.directory / f"{file}.key"
        paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
        form = serialization.PrivateFormat.PKCS8
        paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        paths[1].chmod(0o600)
        return paths


class Way:
    """A TCP address that leads to another one, and does with the bytes as it is told."""

    def __init__(self):
        self.target, self.mode, self.delay_s = None, "pass", 0
        self.pairs = []
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self.listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.listening.accept()
            except OSError:
                return
            if self.mode == "cut":
                near.close()
                continue
            try:
                far = socket.create_connection(self.target, timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            for side in (near, far):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.pairs.append((near, far))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one, other):
        try:
            while carried := one.recv(65_536):
                if self.delay_s:
                    time.sleep(self.delay_s)
                if self.mode == "hole":
                    continue
                other.sendall(carried)
        except OSError:
            pass
        for side in (one, other):
            try:
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def leads_to(self, url):
        host, _, port = url.removeprefix("https://").rpartition(":")
        self.target = host, int(port)

    def set(self, mode):
        self.mode = mode
        if mode == "cut":
            pairs, self.pairs = self.pairs, []
            for near, far in pairs:
                for side in (near, far):
                    try:
                        side.shutdown(socket.SHUT_RDWR)
                    except OSError:
                        pass

    def close(self):
        self.listening.close()
        self.set("cut")


def key_daemon(directory, authority):
    """A key daemon with a link for `store-1.example`, that is initialised and not started."""
    keyd = Deployment(directory)
    certificate, key = authority.issue("keyd", "127.0.0.1", "keyd.example")
    for name, value in {
        "listen": "127.0.0.1:0", "tls_certificate": str(certificate), "tls_private_key": str(key),
        "tls_client_ca": str(authority.certificate), "stores": ["store-1.example", "store.wide.example"],
    }.items():
        keyd.set(f"link.{name}", value)
    done = keyd.init()
    assert done.returncode == 0, done.stdout + done.stderr
    return keyd


def start(keyd):
    keyd.start(command="keyd")
    for line in reversed(keyd.log.read_text().splitlines()):
        if '"serving"' in line:
            keyd.link_url = json.loads(line)["fields"]["link"]
            return keyd


def store_apart(directory, authority, urls, certificate, *, silence_ms=3_000, call_ms=1_000):
    """A store that has its keys elsewhere, and no token."""
    store = Deployment(directory)
    store.tables.pop("token")
    for name, value in {
        "urls": urls, "tls_ca": str(authority.certificate), "tls_certificate": str(certificate[0]),
        "tls_private_key": str(certificate[1]), "silence_ms_max": silence_ms, "call_timeout_ms": call_ms,
        "decision_ms_max": 200,
    }.items():
        store.set(f"custody.{name}", value)
    store.set("s3.allow_plain_http_customer_keys", True)
    store.set("s3.block_customer_keys_on_new_buckets", False)
    return store
