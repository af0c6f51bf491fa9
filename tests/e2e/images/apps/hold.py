#!/usr/bin/python3
"""One connection to an echo server that lasts: a line each 100 ms and its echo, until /tmp/STOP exists and one more. hold.py STOP HOST PORT"""
import os, socket, sys, time

stop = "/tmp/" + sys.argv[1]
if os.path.exists(stop):
    os.unlink(stop)
count = 0
with socket.create_connection((sys.argv[2], int(sys.argv[3])), timeout=10) as s:
    stream = s.makefile("rwb")
    stopped = False
    while not stopped:
        stopped = os.path.exists(stop)  # one more echo after it
        stream.write(b"%d\n" % count)
        stream.flush()
        if stream.readline() != b"%d\n" % count:
            sys.exit(f"broken after {count}")
        if count == 0:
            print("started", flush=True)
        count += 1
        time.sleep(0.1)
print("held", count)
