"""Credentials of every form, and the store of the other library with some of each."""

from __future__ import annotations

import json

GUID = "0x0123456789ABCDEF"
HAP = ":".join(["ab" * 32, "cd" * 32, "41423a4344", "65662d3031"])
LEGACY = f"{'0123456789ABCDEF'}:{'ef' * 32}"
HSGID = "00000000-110e-2165-db5a-61d3c9944002"

# Origin: the layout and the forms of credentials as documented; invented values.
FOREIGN = json.dumps(
    {
        "version": 1,
        "devices": [
            {
                "info": {"name": "Me", "mac": "02:70:79:61:74:76", "rp_id": "0123456789ab"},
                "protocols": {
                    "airplay": {"identifier": "11:22:33:44:55:66", "credentials": HAP},
                    "companion": {"identifier": "CC33", "credentials": HAP},
                    "mrp": {"identifier": "MM44", "credentials": HAP},
                    "raop": {
                        "identifier": "112233445566", "password": "pass", "timing_port": 5,
                        "protocol_version": "2",
                    },
                },
            },
            {"info": {}, "protocols": {"airplay": {"identifier": "OLD", "credentials": LEGACY}}},
            {"info": {}, "protocols": {"dmap": {"identifier": "AA11", "credentials": GUID}}},
            {"info": {}, "protocols": {"dmap": {"identifier": "BB22", "credentials": HSGID}}},
            {"info": {}, "protocols": {"dmap": {"identifier": "EE55", "credentials": ""}}},
            {"info": {}, "protocols": {"dmap": {"credentials": GUID}}},
            {"info": {}, "protocols": {"later": {"identifier": "FF66", "credentials": "x"}}},
            {"info": {}, "protocols": {}},
            {"info": {}},
        ],
    },
    indent=4,
)  # fmt: skip
