#!/usr/bin/python3
"""Asks the pod's own resolver, and tells the answer in an order of its own. dns.py udp|tcp A|AAAA NAME..."""
import os, socket, struct, sys

kinds = {"A": 1, "AAAA": 28}
resolver = next(line.split()[1] for line in open("/etc/resolv.conf") if line.startswith("nameserver"))
for name in sys.argv[3:]:
    ident = os.urandom(2)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split("."))
    question = ident + struct.pack(">HHHHH", 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kinds[sys.argv[2]], 1)
    tcp = sys.argv[1] == "tcp"
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as s:
        s.settimeout(10)
        s.connect((resolver, 53))
        s.send(struct.pack(">H", len(question)) + question if tcp else question)
        if tcp:
            length = struct.unpack(">H", s.recv(2))[0]
            answer = b""
            while len(answer) < length:
                answer += s.recv(length - len(answer))
        else:
            answer = s.recv(4096)
    assert answer[:2] == ident
    count = struct.unpack(">H", answer[6:8])[0]
    at, found = len(question), []
    for _ in range(count):
        at += 2 if answer[at] & 0xC0 == 0xC0 else answer.index(b"\0", at) + 1 - at
        kind, length = struct.unpack(">H6xH", answer[at:at + 10])
        data = answer[at + 10:at + 10 + length]
        if kind == kinds[sys.argv[2]]:
            found.append(socket.inet_ntop(socket.AF_INET if kind == 1 else socket.AF_INET6, data))
        at += 10 + length
    print(sys.argv[1], name, "code", answer[3] & 15, " ".join(sorted(found)))
