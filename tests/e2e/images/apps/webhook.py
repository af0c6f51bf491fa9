#!/usr/bin/python3
"""A validating webhook: refuses ConfigMaps with the key `forbidden`. webhook.py CERTIFICATE KEY PORT"""
import http.server, json, socket, ssl, sys


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["content-length"])))
        allowed = "forbidden" not in (review["request"]["object"].get("data") or {})
        answer = {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "response": {"uid": review["request"]["uid"], "allowed": allowed, "status": {"message": "the e2e webhook says no"}},
        }
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = Server(("0.0.0.0", int(sys.argv[3])), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
