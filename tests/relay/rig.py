"""A switch, a router and PCs in network namespaces of their own, with real peers: hostapd and wpa_supplicant."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

PEERS = ("ip", "hostapd", "wpa_supplicant", "wpa_cli", "openssl")
MISSING = [name for name in PEERS if shutil.which(name) is None]
SOURCES = Path(__file__).resolve().parents[2] / "src"

HOSTAPD = """interface={interface}
driver=wired
ieee8021x=1
eap_server=1
eap_user_file={folder}/users
eap_reauth_period={reauth}
use_pae_group_addr={group}
ca_cert={folder}/cert.pem
server_cert={folder}/cert.pem
private_key={folder}/key.pem
logger_stdout=-1
logger_stdout_level=0
"""
USERS = '"alice" MD5 "wonder"\n"bob" PEAP\n"bob" MSCHAPV2 "builder" [2]\n'
MD5 = 'eap=MD5\n identity="alice"\n password="wonder"'
PEAP = 'eap=PEAP\n identity="bob"\n password="builder"\n phase2="auth=MSCHAPV2"'
SUPPLICANT = """ctrl_interface={folder}/{name}
ap_scan=0
network={{
 key_mgmt=IEEE8021X
 {method}
 eapol_flags=0
}}
"""


class Rig:
    """A switch, a router and PCs, joined by cables; everything in it ends with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.prefix = f"relay{os.getpid()}"
        self.processes: list[subprocess.Popen] = []
        self.names: list[str] = []
        (folder / "users").write_text(USERS)
        (folder / "password").write_text("wonder\n")
        (folder / "password").chmod(0o600)
        for name in ("switch", "router", "pc"):
            self.namespace(name)
        self.ip("router", "link add br-lan type bridge")
        self.ip("router", "link set br-lan up")
        self.cable("switch", "sw0", "router", "wan0")
        self.cable("pc", "pc0", "router", "lan1")
        self.ip("router", "link set lan1 master br-lan")

    def namespace(self, name: str) -> None:
        subprocess.run(["ip", "netns", "add", f"{self.prefix}{name}"], check=True)
        self.names.append(name)

    def ip(self, where: str, command: str) -> None:
        subprocess.run(["ip", "-n", f"{self.prefix}{where}", *command.split()], check=True)

    def cable(self, one: str, name: str, other: str, peer: str) -> None:
        self.ip(one, f"link add {name} type veth peer name {peer} netns {self.prefix}{other}")
        self.ip(one, f"link set {name} up")
        self.ip(other, f"link set {peer} up")

    def spawn(self, where: str, name: str, *command: object) -> subprocess.Popen:
        log = (self.folder / f"{name}.log").open("ab")
        inside = ["ip", "netns", "exec", f"{self.prefix}{where}", *map(str, command)]
        environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
        process = subprocess.Popen(
            inside, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=self.folder
        )
        self.processes.append(process)
        return process

    def hostapd(self, interface: str = "sw0", reauth: int = 0, group: int = 0) -> subprocess.Popen:
        text = HOSTAPD.format(interface=interface, folder=self.folder, reauth=reauth, group=group)
        (self.folder / "hostapd.conf").write_text(text)
        process = self.spawn("switch", "hostapd", "hostapd", "-t", self.folder / "hostapd.conf")
        self.wait(lambda: "AP-ENABLED" in self.log("hostapd"), "hostapd")
        return process

    def relay(
        self,
        *options: object,
        lan: str = "br-lan",
        program: tuple = (sys.executable, "-m", "shoestring.relay"),
    ) -> subprocess.Popen:
        command = (*program, "run", "--wan", "wan0", "--lan", lan, "--level", "debug")
        process = self.spawn("router", "relay", *command, "--socket", self.folder / "socket", *options)
        self.wait(lambda: "relaying by" in self.log("relay"), "the relay")
        return process

    def login(self, where: str = "pc", interface: str = "pc0", method: str = MD5) -> subprocess.Popen:
        name = f"supplicant-{where}-{len(self.processes)}"
        config = self.folder / f"{name}.conf"
        config.write_text(SUPPLICANT.format(folder=self.folder, name=f"{where}-control", method=method))
        process = self.spawn(where, name, "wpa_supplicant", "-Dwired", f"-i{interface}", f"-c{config}")
        process.log_name = name
        return process

    def succeeded(self, supplicant: subprocess.Popen) -> None:
        self.wait(lambda: "CTRL-EVENT-EAP-SUCCESS" in self.log(supplicant.log_name), "EAP-SUCCESS", 20)

    def status(self) -> dict:
        return self.pairs()[0]

    def pairs(self) -> list[dict]:
        command = [
            sys.executable,
            "-m",
            "shoestring.relay",
            "status",
            "--json",
            "--socket",
            self.folder / "socket",
        ]
        environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        return json.loads(done.stdout)["pairs"]

    def online(self) -> bool:
        return self.status()["state"] == "online"

    def log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait(self, true, what: str, seconds: float = 10) -> None:
        end = time.monotonic() + seconds
        while not true():
            if time.monotonic() > end:
                logs = "".join(
                    f"\n--- {path.name}\n{path.read_text(errors='replace')[-3000:]}"
                    for path in self.folder.glob("*.log")
                )
                raise AssertionError(f"no {what} within {seconds} s{logs}")
            time.sleep(0.05)

    def stop(self, process: subprocess.Popen) -> None:
        process.terminate()
        process.wait(10)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait(10)
        for name in self.names:
            subprocess.run(["ip", "netns", "del", f"{self.prefix}{name}"], check=False)
