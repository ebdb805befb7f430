"""Serves FOLDER/files over HTTPS: ADDRESS PORT FOLDER. Prints the port."""

import functools
import http.server
import pathlib
import ssl
import sys

address, port, folder = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder / "files")
http.server.ThreadingHTTPServer.allow_reuse_address = True
server = http.server.ThreadingHTTPServer((address, port), handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(folder / "server.pem", folder / "server.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
print("port", server.server_address[1], flush=True)
server.serve_forever()
