"""Stands between a role and PostgreSQL's unix socket: freezes, cuts, and cuts a chosen COMMIT before or after it happens."""

import os
import select
import socket
import threading

COMMIT = b"COMMIT"
PIECE = 1 << 16


class Proxy:
    """Listens as `directory`/.s.PGSQL.5432 and forwards to `target`. Connections that are cut stay cut; new ones may come."""

    def __init__(self, directory, target):
        os.makedirs(directory, exist_ok=True)
        os.chmod(directory, 0o777)
        self.path = os.path.join(directory, ".s.PGSQL.5432")
        self.target = target
        self.frozen = threading.Event()
        self.cut_commit = None  # "before" or "after": of the next COMMIT that passes
        self.commits_cut = 0
        self.lock = threading.Lock()
        self.pairs = set()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        os.chmod(self.path, 0o777)
        self.listener.listen(64)
        self.open = True
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while self.open:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        server = socket.socket(socket.AF_UNIX)
        with self.lock:
            self.pairs.add((client, server))
        try:
            server.connect(self.target)
            self.forward(client, server)
        except OSError:
            pass  # either side went away: so does the other
        finally:
            with self.lock:
                self.pairs.discard((client, server))
            client.close()
            server.close()

    def forward(self, client, server):
        while True:
            ready, _, _ = select.select([client, server], [], [], 0.2)
            while self.frozen.is_set():  # whatever they say lies where it is, as when the network is gone
                if not self.open:
                    return
                threading.Event().wait(0.05)
            for side in ready:
                data = side.recv(PIECE)
                if not data:
                    return
                if side is client and COMMIT in data and (how := self.take_commit()):
                    if how == "after":
                        server.sendall(data)
                        server.recv(PIECE)  # it has happened; nobody hears of it
                    return
                (server if side is client else client).sendall(data)

    def take_commit(self):
        with self.lock:
            how, self.cut_commit = self.cut_commit, None
            self.commits_cut += how is not None
            return how

    def cut(self):
        """Ends every connection that is open now."""
        with self.lock:
            for pair in self.pairs:
                for side in pair:
                    try:
                        side.shutdown(socket.SHUT_RDWR)
                    except OSError:
                        pass

    def close(self):
        self.open = False
        self.frozen.clear()
        self.cut()
        self.listener.close()
        os.unlink(self.path)
