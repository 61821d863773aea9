"""Stands between a program and an S3 server, and fails it as it is told: GET /__fault/MODE/COUNT, where COUNT is of requests to
come (-1: all, 0: none any more) and MODE is

    500, 503  answered so, the request being dropped
    cut       forwarded; the answer breaks off in its middle
    lost      forwarded; the connection is closed instead of the answer
    silent    not answered, until the fault ends
    flip      forwarded with one bit of its body turned

It also checks, by itself, what the server behind it does not: that a request is signed (AWS Signature Version 4), and that its
body has the hashes that it names."""

import base64
import hashlib
import hmac
import http.client
import http.server
import re
import threading
import time


def hmac_sha256(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def refusal(method, path, headers, body, secret):
    """Why S3 would refuse the request: an error code; None where it would not."""
    named = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})",
                         headers.get("Authorization", ""))
    if not named:
        return "AccessDenied"
    _, day, region, signed, signature = named.groups()
    if not {"host", "x-amz-date", "x-amz-content-sha256"} <= set(signed.split(";")):
        return "AccessDenied"
    if headers["x-amz-content-sha256"] != hashlib.sha256(body).hexdigest():
        return "XAmzContentSHA256Mismatch"
    if "Content-MD5" in headers and headers["Content-MD5"] != base64.b64encode(hashlib.md5(body).digest()).decode():
        return "BadDigest"
    resource, _, query = path.partition("?")
    canonical_query = "&".join(sorted(part if "=" in part else part + "=" for part in query.split("&"))) if query else ""
    lines = "".join(f"{name}:{' '.join(headers.get(name, '').split())}\n" for name in signed.split(";"))
    request = "\n".join([method, resource, canonical_query, lines, signed, headers["x-amz-content-sha256"]])
    text = "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], f"{day}/{region}/s3/aws4_request", hashlib.sha256(request.encode()).hexdigest()])
    key = ("AWS4" + secret).encode()
    for step in (day, region, "s3", "aws4_request"):
        key = hmac_sha256(key, step)
    return None if hmac_sha256(key, text).hex() == signature else "SignatureDoesNotMatch"


class Proxy(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, target_port, secret):
        super().__init__(("127.0.0.1", 0), Handler)
        self.target_port = target_port
        self.secret = secret
        self.lock = threading.Lock()
        self.mode, self.count, self.seen = "none", 0, 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fault(self, mode, count=-1):
        with self.lock:
            self.mode, self.count, self.seen = mode, count, 0

    def take(self):
        with self.lock:
            if self.count == 0:
                return "none"
            self.count -= self.count > 0
            self.seen += 1
            return self.mode

    def close(self):
        self.fault("none", 0)
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        pass  # a client that gave up


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def forward(self):
        if self.path.startswith("/__fault/"):
            mode, count = self.path.split("/")[2:4]
            self.server.fault(mode, int(count))
            return self.answer(200, b"")
        body = bytearray(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        refused = refusal(self.command, self.path, self.headers, bytes(body), self.server.secret)
        if refused:
            return self.answer(403, b"" if self.command == "HEAD" else f"<Error><Code>{refused}</Code><Message>a test</Message></Error>".encode())
        mode = self.server.take()
        if mode in ("500", "503"):
            return self.answer(int(mode), b"<Error><Code>SlowDown</Code><Message>a test</Message></Error>")
        if mode == "silent":
            while self.server.count != 0:
                time.sleep(0.02)
            self.close_connection = True
            return None
        if mode == "flip" and body:
            body[-1] ^= 1
        server = http.client.HTTPConnection("127.0.0.1", self.server.target_port, timeout=60)
        server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            server.putheader(name, value)
        server.endheaders(bytes(body))
        answer = server.getresponse()
        data = answer.read()
        if mode == "lost":
            self.close_connection = True
            return None
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length", "date", "server"):
                self.send_header(name, value)
        length = answer.getheader("content-length") if self.command == "HEAD" else str(len(data))
        if length is not None:
            self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[:len(data) // 2] if mode == "cut" else data)
        self.close_connection = self.close_connection or mode == "cut"
        return None

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = forward
