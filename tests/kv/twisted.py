# SPDX-License-Identifier: MIT
"""twisted.py: a server that is a real redis-server but for one fault, named by --twist: what fires.py shows that the tests of kv find."""

import argparse
import os
import signal
import socket
import socketserver
import sys
import threading
import time

import resp

FAULTS = ("none", "integer", "nil", "code", "order", "stored", "leak", "crash", "hoard", "slow", "damage", "babble")
hoard, leaked = [], []


def encoded(reply):
    if isinstance(reply, resp.Status):
        return b"+" + reply + b"\r\n"
    if isinstance(reply, resp.Failure):
        return b"-" + reply + b"\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, list):
        return b"*%d\r\n" % len(reply) + b"".join(encoded(r) for r in reply)
    return b"$%d\r\n%s\r\n" % (len(reply), reply)


class Twister:
    def __init__(self, fault):
        self.fault, self.count, self.connections = fault, 0, 0

    def connected(self):
        self.connections += 1
        if self.fault == "crash" and self.connections > 60:
            print("deliberately", file=sys.stderr, flush=True)
            os._exit(3)
        if self.fault == "hoard":
            hoard.append(bytearray(b"x" * (10 << 20)))

    def reply(self, reply):
        self.count += 1
        rare = self.count % 50 == 0
        if self.fault == "integer" and rare and isinstance(reply, int):
            return encoded(reply + 1)
        if self.fault == "nil" and reply is None:
            return b"$0\r\n\r\n"
        if self.fault == "code" and isinstance(reply, resp.Failure):
            return encoded(reply).replace(b"-WRONGTYPE", b"-ERR")
        if self.fault == "order" and isinstance(reply, list) and len(reply) > 2 and all(isinstance(r, bytes) for r in reply):
            return encoded(reply[1:] + reply[:1])
        if self.fault == "slow" and self.count % 300 == 0:
            time.sleep(3)
        if self.fault == "damage" and isinstance(reply, bytes) and len(reply) > 900:
            return encoded(reply[:-1] + b"?")
        if self.fault == "babble" and rare:
            return encoded(reply) + b"!"
        return encoded(reply)


def serve(client, path, twister):
    twister.connected()
    with resp.Connection(path, timeout=None) as upstream:
        def forward():
            try:
                while data := client.recv(1 << 16):
                    if twister.fault == "stored":
                        data = data.replace(b"\r\nRPUSH\r\n", b"\r\nLPUSH\r\n")
                    upstream.send(data)
                upstream.socket.shutdown(socket.SHUT_WR)
            except OSError:
                upstream.socket.close()

        threading.Thread(target=forward, daemon=True).start()
        try:
            while True:
                client.sendall(twister.reply(upstream.reply()))
        except (OSError, resp.Broken, ValueError):
            pass
    if twister.fault == "leak":
        leaked.append(os.dup(client.fileno()))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--twist", choices=FAULTS, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--unixsocket", required=True)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    twister = Twister(options.twist)
    with resp.redis_server() as real:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                serve(self.request, real.path, twister)

        class Tcp(socketserver.ThreadingTCPServer):
            allow_reuse_address, daemon_threads, request_queue_size = True, True, 200

        class Unix(socketserver.ThreadingUnixStreamServer):
            daemon_threads, request_queue_size = True, 200

        for server in (Tcp(("127.0.0.1", options.port), Handler), Unix(options.unixsocket, Handler)):
            threading.Thread(target=server.serve_forever, daemon=True).start()
        signal.pause()


if __name__ == "__main__":
    main()
