#!/usr/bin/python3
"""receiver.py DIRECTORY: takes webhooks over https on a free port of 127.0.0.1, with a fresh certificate for localhost in
DIRECTORY/cert.pem. Prints the port. Each request is a JSON line in DIRECTORY/requests before it is answered, by its path."""

import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
import time

directory = sys.argv[1]
lock = threading.Lock()
seen = {}


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        with lock:
            times = seen[self.path] = seen.get(self.path, 0) + 1
            with open(os.path.join(directory, "requests"), "a", encoding="utf-8") as file:
                headers = {name.lower(): value for name, value in self.headers.items()}
                file.write(json.dumps({"path": self.path, "headers": headers, "body": body}) + "\n")
        self.reply(self.path, times)

    def reply(self, path, times):
        if path == "/slow" or (path == "/slow-once" and times == 1):
            time.sleep(4)
        status = {"/redirect": 302, "/gone": 410, "/broken": 500}.get(path, 200)
        if path == "/broken-once" and times == 1:
            status = 500
        content = b"\x00thanks\xff" if path != "/big" else b"b" * (4 << 20)
        self.send_response(status)
        if status == 302:
            self.send_header("location", "/elsewhere")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # a client that goes away early is part of the tests


def main():
    cert, key = os.path.join(directory, "cert.pem"), os.path.join(directory, "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
                    "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert],
                   check=True, stderr=subprocess.DEVNULL)
    server = Server(("127.0.0.1", 0), Receiver)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    # The handshake happens on the request's own thread, at its first read.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    print(server.server_address[1], flush=True)
    server.serve_forever()


main()
