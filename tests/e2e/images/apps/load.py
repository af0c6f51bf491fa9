#!/usr/bin/python3
"""A new connection every INTERVAL seconds, each with one HTTP request, until /tmp/STOP exists and as many more as it says were answered.

load.py STOP INTERVAL HOST PORT. What is still not answered a minute after STOP is not waited for. Says `started` after the first answer; at the end one line of JSON: how many, the longest,
and what failed when. A connection that fails is not tried again.
"""
import json, os, socket, sys, time

stop, interval, host, port = "/tmp/" + sys.argv[1], float(sys.argv[2]), sys.argv[3], int(sys.argv[4])
if os.path.exists(stop):
    os.unlink(stop)
request = f"GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode()
answers, failures, longest = {}, [], 0.0
end = None  # how many answers, and until when they are waited for
while end is None or (sum(answers.values()) < end[0] and time.time() < end[1]):
    begin = time.time()
    try:
        with socket.create_connection((host, port), timeout=10) as s:
            s.sendall(request)
            data = b""
            while piece := s.recv(65536):
                data += piece
        status = data.split(b"\r\n", 1)[0].decode()
        if not status.startswith("HTTP/1.1 200"):
            raise OSError(f"answer {status!r}")
        name = next((line for line in data.decode().splitlines() if line.startswith("name: ")), "name: ?")[6:]
        answers[name] = answers.get(name, 0) + 1
        if sum(answers.values()) == 1:
            print("started", flush=True)
    except OSError as error:
        failures.append({"at": round(begin, 3), "took": round(time.time() - begin, 3), "error": str(error)})
    longest = max(longest, time.time() - begin)
    if end is None and os.path.exists(stop):
        with open(stop) as file:
            end = (sum(answers.values()) + int(file.read()), time.time() + 60)
    time.sleep(max(0, interval - (time.time() - begin)))
print(json.dumps({"complete": sum(answers.values()) >= end[0], "answers": answers, "failures": failures, "longest": round(longest, 3)}))
