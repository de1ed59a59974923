"""A connection to a database that loses answers: ``with lossy_proxy(port) as proxy: ...``."""

import contextlib
import selectors
import socket
import socketserver
import threading


class Proxy(socketserver.ThreadingTCPServer):
    """Passes on what comes, to a port of this machine and back.

    Args:
        target: the port of the database.
    """

    daemon_threads = True

    def __init__(self, target):
        super().__init__(("127.0.0.1", 0), Connection)
        self.target, self.commits = target, 0
        self.losing = False  # the answers to the first COMMIT and each fourth after it, with their connections

    @property
    def port(self):
        return self.server_address[1]


class Connection(socketserver.BaseRequestHandler):
    def handle(self):
        with (
            socket.create_connection(("127.0.0.1", self.server.target)) as database,
            selectors.DefaultSelector() as ready,
        ):
            ready.register(self.request, selectors.EVENT_READ, database)
            ready.register(database, selectors.EVENT_READ, self.request)
            with contextlib.suppress(OSError):
                while True:
                    for key, _ in ready.select():
                        if not (data := key.fileobj.recv(2**16)):
                            return
                        key.data.sendall(data)
                        if key.fileobj is self.request and b"COMMIT" in data and self.server.losing:
                            self.server.commits += 1
                            if self.server.commits % 4 == 1:
                                database.recv(2**16)  # it has been done
                                return


@contextlib.contextmanager
def lossy_proxy(target):
    with Proxy(target) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
