# SPDX-License-Identifier: GPL-2.0-or-later
"""Those who really decide about logins: a KDC of MIT Kerberos, and Apache with mod_auth_basic and mod_auth_gssapi as a
reverse proxy before the simulator; all of them ours, on loopback."""

import base64
import hashlib
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

from .process import Process, free_port, wait_until

REALM = "PX.TEST"
PASSWORD = "Rosebud-1"
MODULES = Path("/usr/lib/apache2/modules")
NEEDED = {"apache2": "apache2-bin", "krb5kdc": "krb5-kdc", "kdb5_util": "krb5-kdc",
          "kadmin.local": "krb5-admin-server", "kinit": "krb5-user", "openssl": "openssl"}

# What libcurl says first is 32 bytes, as Windows takes it; this acceptor wants all the fields.
NTLM_FIRST = ("^NTLM TlRMTVNTUAABAAAABoIIAAAAAAAAAAAAAAAAAAAAAAA=$",
              "NTLM TlRMTVNTUAABAAAABgIIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==")

SITE = """
Listen 127.0.0.1:{port}
<VirtualHost 127.0.0.1:{port}>
  ServerName localhost
  SSLEngine on
  SSLCertificateFile {folder}/apache.pem
  SSLProxyEngine on
  SSLProxyCACertificateFile {ca}
  SSLProxyCheckPeerName off
  ProxyPass /EWS https://127.0.0.1:{behind}/EWS flushpackets=on
  RequestHeader edit Authorization "{first[0]}" "{first[1]}" early
  <Location />
    {auth}
    Require valid-user
    RequestHeader set Authorization "Basic {inner}"
  </Location>
</VirtualHost>
"""

CONF = """
ServerRoot {folder}
ServerName localhost
PidFile {folder}/apache.pid
Mutex file:{folder} default
ErrorLog {folder}/apache-error.log
LogLevel warn auth_gssapi:info
SetEnvIf Authorization "^((Basic|NTLM|Negotiate) .{{0,16}})" login=$1
LogFormat "%{{local}}p %{{remote}}p %>s %{{login}}e" logins
CustomLog {folder}/apache-access.log logins
User www-data
Group www-data
KeepAliveTimeout 60
MaxKeepAliveRequests 0
Timeout 120
StartServers 1
ServerLimit 1
ThreadsPerChild 64
MaxRequestWorkers 64
MinSpareThreads 1
"""

BASIC = """AuthType Basic
    AuthName ews
    AuthUserFile {folder}/users"""
GSSAPI = """AuthType GSSAPI
    AuthName ews
    GssapiAllowedMech {mechs}
    GssapiConnectionBound {bound}"""
AUTH = {
    "basic": BASIC,
    "ntlm": GSSAPI.format(mechs="ntlmssp", bound="On"),
    "negotiate": GSSAPI.format(mechs="krb5", bound="Off"),
    "both": GSSAPI.format(mechs="krb5\n    GssapiAllowedMech ntlmssp", bound="On"),
}
AUTH["all"] = AUTH["both"] + "\n    GssapiBasicAuth On"


def find(program):
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")


def lacking():
    """Debian's packages that aren't there."""
    found = {package for program, package in NEEDED.items() if not find(program)}
    for module, package in (("mod_auth_gssapi.so", "libapache2-mod-auth-gssapi"),
                            ("mod_ssl.so", "apache2-bin")):
        if not (MODULES / module).exists():
            found.add(package)
    if not list(Path("/usr/lib").glob("*/gssntlmssp/gssntlmssp.so")):
        found.add("gss-ntlmssp")
    return found


def run(*argv, env=None, given=None):
    done = subprocess.run([str(a) for a in argv], env=dict(os.environ, **(env or {})), input=given,
                          capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


class Kdc:
    """A realm with alice, whose password is PASSWORD, and HTTP/localhost."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.config = folder / "krb5.conf"
        self.log = folder / "kdc.log"
        self.config.write_text(f"""[libdefaults]
 default_realm = {REALM}
 dns_lookup_kdc = false
 dns_lookup_realm = false
 dns_canonicalize_hostname = false
 rdns = false
[realms]
 {REALM} = {{
  kdc = 127.0.0.1:{self.port}
 }}
""")
        (folder / "kdc.conf").write_text(f"""[kdcdefaults]
 kdc_listen = 127.0.0.1:{self.port}
 kdc_tcp_listen = 127.0.0.1:{self.port}
[realms]
 {REALM} = {{
  database_name = {folder}/principal
  key_stash_file = {folder}/stash
  default_principal_flags = +preauth
 }}
[logging]
 kdc = FILE:{self.log}
""")
        self.env = {"KRB5_CONFIG": str(self.config), "KRB5_KDC_PROFILE": str(folder / "kdc.conf")}
        run(find("kdb5_util"), "create", "-r", REALM, "-s", "-P", "master", env=self.env)
        self.service = folder / "service.keytab"
        self.account = folder / "alice.keytab"
        self.wrong = folder / "wrong.keytab"
        self.admin("addprinc -randkey HTTP/localhost", f"ktadd -k {self.service} HTTP/localhost",
                   "addprinc -pw an-older-one alice", f"ktadd -norandkey -k {self.wrong} alice",
                   f"cpw -pw {PASSWORD} alice", f"ktadd -norandkey -k {self.account} alice")
        self.service.chmod(0o644)
        self.process = Process([find("krb5kdc"), "-n"], folder, "krb5kdc", env=self.env)
        wait_until(lambda: "commencing operation" in self.said(), 10, "the KDC is up")

    def admin(self, *commands):
        run(find("kadmin.local"), env=self.env, given="\n".join(commands) + "\nquit\n")

    def said(self):
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    def kinit(self, cache, lifetime="1h"):
        run(find("kinit"), "-c", cache, "-l", lifetime, "-k", "-t", self.account, "alice",
            env=self.env)

    def freeze(self):
        self.process.send(signal.SIGSTOP)

    def thaw(self):
        self.process.send(signal.SIGCONT)

    def kept_waiting(self):
        """Bytes over UDP that it hasn't taken, as while it is frozen."""
        rows = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
        return sum(int(row[4].split(":")[1], 16) for row in rows
                   if row[1] == f"0100007F:{self.port:04X}")

    def close(self):
        self.thaw()
        self.process.stop()


class Apache:
    """One site for each of `sites`: (what it offers, the CAS behind it)."""

    def __init__(self, folder, sim, sites, kdc):
        self.folder = folder / "apache"
        self.folder.mkdir()
        folder.chmod(0o755)
        run(find("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-days", "2", "-keyout",
            self.folder / "key.pem", "-out", self.folder / "cert.pem")
        self.ca = self.folder / "cert.pem"
        (self.folder / "apache.pem").write_text(self.ca.read_text() +
                                                (self.folder / "key.pem").read_text())
        digest = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
        (self.folder / "users").write_text(f"alice:{{SHA}}{digest}\n")
        (self.folder / "ntlm").write_text(f"PX:alice:{PASSWORD}\n")
        inner = base64.b64encode(f"{sim.account}:{sim.password}".encode()).decode()
        text = "".join(
            f"LoadModule {one}_module {MODULES}/mod_{one}.so\n" for one in (
                "mpm_event", "authn_core", "authn_file", "authz_core", "authz_user", "auth_basic",
                "auth_gssapi", "session", "proxy", "proxy_http", "headers", "setenvif", "ssl",
                "log_debug"))
        text += CONF.format(folder=self.folder)
        self.port = []
        for offers, cas in sites:
            self.port.append(free_port())
            text += SITE.format(port=self.port[-1], folder=self.folder, first=NTLM_FIRST,
                                ca=sim.ca_file, behind=sim.cas[cas]["port"], inner=inner,
                                auth=AUTH[offers].format(folder=self.folder))
        (self.folder / "apache.conf").write_text(text)
        for one in [self.folder, *self.folder.iterdir()]:
            one.chmod(0o777 if one.is_dir() else 0o644)
        self.process = Process(
            [find("apache2"), "-DFOREGROUND", "-f", self.folder / "apache.conf"], folder, "apache",
            env={**kdc.env, "KRB5_KTNAME": str(kdc.service), "NTLM_USER_FILE": str(self.folder / "ntlm"),
                 "NETBIOS_COMPUTER_NAME": "CAS", "NETBIOS_DOMAIN_NAME": "PX"})
        wait_until(self._answers, 10, lambda: f"Apache is up\n{self.process.tail()}\n{self.errors()}")

    def _answers(self):
        assert self.process.running(), f"Apache ended\n{self.process.tail()}\n{self.errors()}"
        return (self.folder / "apache.pid").exists()

    def errors(self):
        log = self.folder / "apache-error.log"
        return log.read_text("utf-8", "replace") if log.exists() else ""

    def url(self, i, host="localhost"):
        return f"https://{host}:{self.port[i]}/EWS/Exchange.asmx"

    def requests(self, i=0):
        """(client's port, status, what the login was), in the order in which they ended."""
        lines = (self.folder / "apache-access.log").read_text().splitlines()
        found = [re.match(r"(\d+) (\d+) (\d+) (.*)", line).groups() for line in lines]
        return [(peer, int(status), {"-": "none", "NTLM TlRMTVNTUAAB": "ntlm first",
                                     "NTLM TlRMTVNTUAAD": "ntlm"}.get(
                                         login[:17] if login.startswith("NTLM") else login,
                                         login.split()[0].lower()))
                for port, peer, status, login in found if int(port) == self.port[i]]

    def logins(self, i=0):
        """How the requests were logged in; with NTLM the connection is, and they carry nothing."""
        return {login for _, status, login in self.requests(i) if status == 200}

    def refused(self, i=0):
        """How often credentials were refused: what locks an account."""
        return sum(status == 401 and login in ("basic", "ntlm")
                   for _, status, login in self.requests(i))

    def close(self):
        if self.process.running():
            self.process.stop()
