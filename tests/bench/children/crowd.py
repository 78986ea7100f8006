"""A responder in a process of its own: many devices, each as tvOS 18 announces itself.

Prints its port, and answers whoever asks for AirPlay with all of them, until its input ends.
"""

from __future__ import annotations

import socket
import sys
import threading

from tinyatv.services import AIRPLAY, COMPANION
from tinyatv.virtual import VirtualAppleTV
from tinyatv.virtual.responder import _Entry

PTR = b"\x08_airplay\x04_tcp\x05local\x00\x00\x0c"  # who asks for one is told all


def packets(count):
    """One response for each device."""
    from zeroconf import DNSOutgoing

    with VirtualAppleTV(profile="tvos18") as tv:
        records = [one for one in tv.records() if one.kind in (AIRPLAY, COMPANION)]
    for number in range(count):
        mac = f"02:00:5E:00:{number >> 8:02X}:{number & 255:02X}"
        host = f"127.1.{number >> 8}.{number & 255}"
        out = DNSOutgoing(0x8400, multicast=True)
        for record in records:
            txt = {k: mac if k == "deviceid" else v for k, v in record.txt.items()}
            txt = {k: v for k, v in txt.items() if k not in ("rpMRtID", "psi", "pi")}
            one = record._replace(instance=f"TV {number}", address=host, txt=txt)
            entry = _Entry(one, "crowd")
            out.add_answer_at_time(entry.pointer, 0)
            for beside in (entry.service, entry.text, *entry.addresses):
                out.add_additional_answer(beside)
        yield from out.packets()


def main():
    """Answer until the input ends."""
    told = list(packets(int(sys.argv[1])))
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    print(sock.getsockname()[1], flush=True)

    def answer():
        while True:
            question, peer = sock.recvfrom(9000)
            if PTR in question:
                for packet in told:
                    sock.sendto(packet, peer)

    threading.Thread(target=answer, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
