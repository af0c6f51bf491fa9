#!/usr/bin/python3
"""One TCP conversation, told on standard output. tcp.py HABIT HOST PORT"""
import hashlib, socket, sys

habit, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
with socket.create_connection((host, port), timeout=20) as s:
    def rest():
        data = b""
        while piece := s.recv(65536):
            data += piece
        return data
    if habit == "half-close":        # we end first and still get everything
        s.sendall(b"x" * 300_000)
        s.shutdown(socket.SHUT_WR)
        data = rest()
        print("echoed", len(data), set(data) == {120}, "then end of stream")
    elif habit == "server-half-close":   # the server ends first and still takes everything
        print("server ended", s.recv(1) == b"")
        for _ in range(50):
            s.sendall(b"y" * 10_000)
        s.shutdown(socket.SHUT_WR)
        print("sent 500000 after it")
    elif habit == "server-first":
        banner = s.recv(200).decode().split()
        s.sendall(b"ehlo\r\n")
        print("banner", banner[0], banner[1], "peer", banner[2].rsplit(":", 1)[0], "answer", s.recv(100).decode().strip())
    elif habit == "sink":
        data = bytes(range(256)) * 131_072
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        count, digest = rest().decode().split()
        print("sent", count, "digest equal", digest == hashlib.sha256(data).hexdigest())
    elif habit == "source":
        s.sendall(b"33554432\n")
        data = rest()
        print("got", len(data), hashlib.sha256(data).hexdigest())
    elif habit == "refused":
        s.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        print("got", rest()[:40])
    else:
        sys.exit(f"unknown habit {habit}")
