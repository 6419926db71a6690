"""Bare S3 requests, signed but otherwise exactly as given: for what no client library would send."""

import http.client
import urllib.parse
import xml.etree.ElementTree as ElementTree

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def text(self):
        return f"{self.status} {self.body.decode(errors='replace')}"

    def error(self, name):
        """A field of the error document; `None` when it is not there."""
        try:
            return ElementTree.fromstring(self.body).findtext(name)
        except ElementTree.ParseError:
            return None


class Wire:
    def __init__(self, daemon):
        self.url = daemon.ready["s3_url"]
        self.region = daemon.ready["region"]
        self.credentials = Credentials(daemon.ready["access_key_id"], daemon.ready["secret_access_key"])

    def send(self, method, path, headers=None, body=b"", *, unsigned=None, credentials=None):
        """Sends a request whose `headers` are signed and whose `unsigned` headers are not."""
        request = AWSRequest(method, self.url + path, headers=headers or {}, data=body)
        S3SigV4Auth(credentials or self.credentials, "s3", self.region).add_auth(request)
        sent = {**dict(request.headers.items()), **(unsigned or {})}
        return self.raw(method, path, sent, body)

    def raw(self, method, path, headers, body=b""):
        """Sends a request with exactly these headers."""
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.url).netloc, timeout=60)
        try:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
        finally:
            connection.close()
