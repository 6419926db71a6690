"""Opens what a daemon stored, by the documents in `docs/format/` alone.

A second reader of the formats, in another language and on other libraries: it finds envelopes in the
metadata file and payloads in the volumes, and opens them with a customer key.
"""

import hmac
import re
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

CHUNK = 16 * 1024
# In a version row: an envelope of mode 1 (159 bytes), the payload id, the only part's id, its blob's reference.
CONTENT = re.compile(rb"\x9f\x01(\x01\x01.{157})(.{16})\x01(.{16})\x2d(\x01.{44})", re.DOTALL)


def expand(secret, info, length):
    """HKDF-Expand with SHA-512 (RFC 5869)."""
    blocks, last = b"", b""
    for number in range(1, -(-length // 64) + 1):
        last = hmac.digest(secret, last + info + bytes([number]), "sha512")
        blocks += last
    return blocks[:length]


@dataclass
class Opened:
    """An object version whose data key was had back, with every key on the way to it."""

    key: str
    data_key: bytes
    wrapping_key: bytes
    chunk_key: bytes
    first_chunk: bytes


def object_name(bucket, key, binding):
    parts = [text.encode() for text in (bucket, key)]
    return b"".join(struct.pack(">H", len(part)) + part for part in parts) + bytes.fromhex(binding)


def open_payload(data, payload_id, part_id, blob, data_key):
    """The chunk key and the plaintext of the first chunk."""
    volume, offset, length = struct.unpack(">QQQ", blob[1:25])
    with open(data / "volumes" / f"{volume:016x}.volume", "rb") as file:
        file.seek(offset + 64)
        sealed = file.read(min(length, 56 + CHUNK + 16))
    salt, commitment = sealed[:24], sealed[24:56]
    context = b"strongroom/payload/v1" + payload_id + part_id
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + salt + context
    derived = expand(data_key, info, 76)
    assert derived[44:] == commitment, "the payload does not commit to this data key"
    return derived[:32], AESGCM(derived[:32]).decrypt(derived[32:44], sealed[56:], b"")


def open_all(data, uses, customer_keys):
    """Opens every version under a customer key, by the log's bindings and the keys themselves."""
    names = {
        (use["object"]["bucket"], use["object"]["key"], use["object"]["binding"]): use["key"]["fingerprint"]
        for use in uses
        if use.get("object", {}).get("binding") and use.get("key", {}).get("fingerprint")
    }
    stored = set(CONTENT.findall((data / "metadata.redb").read_bytes()))
    opened = []
    for (bucket, key, binding), fingerprint in names.items():
        name = object_name(bucket, key, binding)
        for envelope, payload_id, part_id, blob in stored:
            if envelope[66:98].hex() != fingerprint:
                continue
            salt, check, wrapped = envelope[2:34], envelope[34:66], envelope[98:]
            for customer_key in customer_keys:
                secret = hmac.digest(salt, customer_key, "sha512")
                derived = expand(secret, b"strongroom/customer-key/v1\0" + name, 64)
                if derived[32:] != check:
                    continue
                bound = b"strongroom/data-key/v1\0" + name + envelope[:98]
                data_key = AESGCM(derived[:32]).decrypt(wrapped[1:13], wrapped[13:], bound)
                try:
                    chunk_key, first_chunk = open_payload(data, payload_id, part_id, blob, data_key)
                except (OSError, InvalidTag):
                    # The blob was given back since: an older version row is still in the file.
                    continue
                opened.append(Opened(key, data_key, derived[:32], chunk_key, first_chunk))
    return opened
