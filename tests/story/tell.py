"""Tells the whole story once, on real files, by clients that are not ours.

Every step checks what it says, and the program ends with status 0 only when every step held.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from botocore.exceptions import ClientError

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from daemon import CustomerKey, Daemon  # noqa: E402


class Story:
    def __init__(self, daemon, files):
        self.daemon = daemon
        self.s3 = daemon.s3()
        self.files = Path(files)
        self.steps = 0
        self.bucket = "story"

    def step(self, text):
        self.steps += 1
        print(f"{self.steps:3}. {text}", flush=True)

    def refused(self, code, status, call, **arguments):
        """Makes a request that must be refused in exactly this way."""
        try:
            call(**arguments)
        except ClientError as error:
            got = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
            # An answer to HEAD has no body, so its code is the bare status.
            assert got in ((code, status), (str(status), status)), f"refused with {got}, not {(code, status)}"
            return error.response
        raise AssertionError(f"{call} was allowed and should have been refused with {code}")

    def without_keys(self, act, **arguments):
        """Does something that must not use any key, as the audit log shows."""
        before = len(self.daemon.key_uses())
        act(**arguments)
        assert len(self.daemon.key_uses()) == before, "a key was used for a move"

    def read(self, name, key=None, **arguments):
        headers = key.headers if key else {}
        return self.s3.get_object(Bucket=self.bucket, Key=name, **headers, **arguments)["Body"].read()

    def tell(self):
        self.customer_keys()
        self.two_versions()
        self.rekey()
        self.modes()
        self.archive()
        self.audit()
        self.crash()

    def customer_keys(self):
        readme = (self.files / "README.md").read_bytes()
        self.key = key = CustomerKey()
        self.s3.create_bucket(Bucket=self.bucket)
        self.s3.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})
        put = self.s3.put_object(Bucket=self.bucket, Key="README.md", Body=readme, **key.headers)
        assert put["SSECustomerAlgorithm"] == "AES256" and put["SSECustomerKeyMD5"] == key.md5
        self.first_version = put["VersionId"]
        self.step("PUT README.md with a customer key; the answer names the algorithm and the key's MD5")

        assert self.read("README.md", key) == readme
        assert self.read("README.md", key, Range="bytes=10-41") == readme[10:42]
        self.s3.head_object(Bucket=self.bucket, Key="README.md", **key.headers)
        self.step("GET, ranged GET and HEAD with the key give the object")

        arguments = {"Bucket": self.bucket, "Key": "README.md"}
        self.refused("InvalidRequest", 400, self.s3.get_object, **arguments)
        self.refused("AccessDenied", 403, self.s3.get_object, **arguments, **CustomerKey().headers)
        self.step("GET without the key is refused with 400, with a wrong key with 403")

        for stored in self.daemon.data.rglob("*"):
            if stored.is_file():
                content = stored.read_bytes()
                assert readme[:64] not in content and key.raw not in content, f"{stored} holds a secret"
        self.step("no stored byte holds plaintext or key")

    def two_versions(self):
        license_text = (self.files / "Cargo.toml").read_bytes()
        self.second_key = second = CustomerKey()
        put = self.s3.put_object(Bucket=self.bucket, Key="README.md", Body=license_text, **second.headers)
        arguments = {"Bucket": self.bucket, "Key": "README.md"}
        assert self.read("README.md", second) == license_text
        first = {"VersionId": self.first_version}
        assert self.read("README.md", self.key, **first) == (self.files / "README.md").read_bytes()
        self.refused("AccessDenied", 403, self.s3.get_object, **arguments, **first, **second.headers)
        self.refused(
            "AccessDenied", 403, self.s3.get_object, **arguments, VersionId=put["VersionId"], **self.key.headers
        )
        self.step("two versions under two keys; each opens with its own key only")

        versions = self.daemon.cli("objects", "keys", f"s3://{self.bucket}/README.md", json_output=True)["versions"]
        fingerprints = {version["version_id"]: version["protection"]["fingerprint"] for version in versions}
        assert len(set(fingerprints.values())) == 2 and self.first_version in fingerprints
        self.step("`strongroom objects keys` names the key of every version, without knowing the key")

    def rekey(self):
        old, new = self.second_key, CustomerKey()
        before = [self.daemon.metric(f"strongroom_payload_{way}_bytes_total") for way in ("read", "written")]
        copied = self.s3.copy_object(
            Bucket=self.bucket, Key="README.md", CopySource={"Bucket": self.bucket, "Key": "README.md"},
            **old.source_headers, **new.headers,
        )
        after = [self.daemon.metric(f"strongroom_payload_{way}_bytes_total") for way in ("read", "written")]
        assert before == after, f"payload bytes moved: {before} -> {after}"
        self.refused(
            "AccessDenied", 403, self.s3.get_object,
            Bucket=self.bucket, Key="README.md", VersionId=copied["VersionId"], **old.headers,
        )
        assert self.read("README.md", new) == (self.files / "Cargo.toml").read_bytes()
        self.key = new
        self.step("COPY with old and new key re-keys: the old key opens nothing, and no payload byte moved")

    def modes(self):
        plain = self.s3.put_object(Bucket=self.bucket, Key="default", Body=b"encrypted always")
        assert plain["ServerSideEncryption"] == "AES256"
        kms = self.daemon.kms()
        key_id = kms.create_key(Description="the story")["KeyMetadata"]["KeyId"]
        self.s3.put_object(
            Bucket=self.bucket, Key="named", Body=b"under a named key",
            ServerSideEncryption="aws:kms", SSEKMSKeyId=key_id, BucketKeyEnabled=True,
        )
        assert self.read("named") == b"under a named key"
        kms.disable_key(KeyId=key_id)
        self.refused("KMS.DisabledException", 400, self.s3.get_object, Bucket=self.bucket, Key="named")
        kms.enable_key(KeyId=key_id)
        assert self.read("named") == b"under a named key"
        self.step("SSE-S3 by default, SSE-KMS by name; a disabled key closes its objects, enabling opens them")

    def archive(self):
        name, content = "archive.txt", b"kept for years\n" * 1000
        self.s3.put_object(Bucket=self.bucket, Key=name, Body=content, StorageClass="GLACIER", **self.key.headers)
        self.without_keys(self.daemon.run_lifecycle)
        arguments = {"Bucket": self.bucket, "Key": name}
        refusal = self.refused("InvalidObjectState", 403, self.s3.get_object, **arguments, **self.key.headers)
        assert refusal["Error"]["StorageClass"] == "GLACIER"
        self.step("an object in GLACIER: GET is refused with InvalidObjectState")

        request = {"Days": 2, "GlacierJobParameters": {"Tier": "Standard"}}
        restored = self.s3.restore_object(**arguments, RestoreRequest=request)
        assert restored["ResponseMetadata"]["HTTPStatusCode"] == 202
        self.refused("RestoreAlreadyInProgress", 409, self.s3.restore_object, **arguments, RestoreRequest=request)
        self.without_keys(self.daemon.advance, hours=5, minutes=1)
        head = self.s3.head_object(**arguments, **self.key.headers)
        assert 'ongoing-request="false"' in head["Restore"]
        assert self.read(name, self.key) == content
        self.step("RestoreObject, five hours later on the simulated clock: the object reads with its key")

        self.without_keys(self.daemon.advance, days=4)
        self.refused("InvalidObjectState", 403, self.s3.get_object, **arguments, **self.key.headers)
        self.step("when the days are over the restored copy is gone again; no move used a key")

    def audit(self):
        self.daemon.api("POST", "/v1/audit/checkpoint")
        verified = self.daemon.cli("audit", "verify", "--directory", self.daemon.data / "audit")
        self.step(f"`strongroom audit verify`: {verified.stdout.strip().splitlines()[-1]}")

    def crash(self):
        self.s3.put_object(Bucket=self.bucket, Key="acknowledged", Body=b"durable", **self.key.headers)
        self.daemon.kill()
        self.daemon.start()
        self.s3 = self.daemon.s3()
        assert self.read("acknowledged", self.key) == b"durable"
        self.step("killed with SIGKILL and started again: what was acknowledged is there and opens")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--files", required=True, help="a directory with README.md and Cargo.toml")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        daemon = Daemon(directory, binary=arguments.binary)
        try:
            story = Story(daemon.start(), arguments.files)
            story.tell()
            status = daemon.stop()
            assert status == 0, f"the daemon ended with {status}"
        except (AssertionError, ClientError, RuntimeError, subprocess.SubprocessError) as error:
            print(f"the story broke: {error}\n{daemon.tail() if daemon.log.exists() else ''}", file=sys.stderr)
            return 1
        finally:
            daemon.kill()
    print(f"every one of the {story.steps} steps held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
