"""Makes an authority and a certificate of an address: ADDRESS FOLDER."""

import datetime
import ipaddress
import pathlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

address, folder = ipaddress.ip_address(sys.argv[1]), pathlib.Path(sys.argv[2])
now = datetime.datetime.now(datetime.timezone.utc)


def sign(name, issuer, key, issuer_key, *extensions):
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer or subject)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=30))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return builder.sign(issuer_key, hashes.SHA256())


def write(name, certificate):
    (folder / name).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
ca = sign("authority of a test", None, ca_key, ca_key, x509.BasicConstraints(ca=True, path_length=None))
names = x509.SubjectAlternativeName([x509.IPAddress(address)])
write("ca.pem", ca)
write("server.pem", sign("server of a test", ca.subject, key, ca_key, names))
private = key.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
(folder / "server.key").write_bytes(private)
