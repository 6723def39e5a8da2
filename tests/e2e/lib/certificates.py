"""Certificates of other authorities than ours, made with openssl(1), and TLS clients that check what they are shown."""
import os
import ssl
import subprocess


def openssl(*words, **more):
    return subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, timeout=30, **more)


class Authority:
    """A root of somebody else's, and certificates from it."""

    def __init__(self, directory, name="elsewhere"):
        self.directory, self.key, self.root = directory, os.path.join(directory, f"{name}.key"), os.path.join(directory, f"{name}.pem")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.key, "-out", self.root,
                "-days", "10", "-subj", f"/CN={name} root", "-addext", "keyUsage=critical,keyCertSign")

    def issue(self, name, *alternatives, key=("ec", "P-256"), days=None, start=None, end=None):
        """Returns (certificate, key) as texts. start, end: YYMMDDHHMMSSZ."""
        stem = os.path.join(self.directory, name)
        option = "ec_paramgen_curve" if key[0] == "ec" else "rsa_keygen_bits"
        openssl("req", "-newkey", key[0], "-pkeyopt", f"{option}:{key[1]}", "-nodes", "-keyout", f"{stem}.key", "-out", f"{stem}.csr",
                "-subj", f"/CN={name}")
        with open(f"{stem}.ext", "w", encoding="ascii") as file:
            file.write("subjectAltName=" + ",".join(f"DNS:{text}" for text in alternatives) + "\nbasicConstraints=critical,CA:FALSE\n")
        if end:
            self._issue_at(stem, start, end)
        else:
            openssl("x509", "-req", "-in", f"{stem}.csr", "-CA", self.root, "-CAkey", self.key, "-CAcreateserial", "-days", days or 5,
                    "-extfile", f"{stem}.ext", "-out", f"{stem}.pem")
        return read(f"{stem}.pem"), read(f"{stem}.key")

    def _issue_at(self, stem, start, end):
        """Times of one's own are openssl ca's to give."""
        place = f"{stem}.ca"
        os.makedirs(place)
        with open(f"{place}/index", "w", encoding="ascii"):
            pass
        with open(f"{place}/config", "w", encoding="ascii") as file:
            file.write(f"[ca]\ndefault_ca=d\n[d]\ndatabase={place}/index\nnew_certs_dir={place}\nrand_serial=yes\ndefault_md=sha256\n"
                       "policy=p\nunique_subject=no\n[p]\ncommonName=supplied\n")
        openssl("ca", "-batch", "-config", f"{place}/config", "-cert", self.root, "-keyfile", self.key, "-in", f"{stem}.csr", "-out",
                f"{stem}.pem", "-startdate", start, "-enddate", end, "-extfile", f"{stem}.ext", "-notext")


def read(path):
    with open(path, encoding="ascii") as file:
        return file.read()


def replace(path, text, mode=0o600):
    """As renewal tools do: a new file in the old one's place."""
    with open(path + ".new", "w", encoding="ascii") as file:
        file.write(text)
    os.chmod(path + ".new", mode)
    os.rename(path + ".new", path)


def context(root, version=None):
    made = ssl.create_default_context(cafile=root)
    if version:
        made.minimum_version = made.maximum_version = version
    return made


def shown(gw, principal, name, root, surface="main", version=None, session=None, made=None):
    """One verified handshake; the certificate as Python decodes it, with serialNumber, notAfter, issuer."""
    sock = gw.client(principal).tcp(gw.port[surface])
    with sock:
        with (made or context(root, version)).wrap_socket(sock, server_hostname=name, session=session) as tls:
            return tls.getpeercert()
