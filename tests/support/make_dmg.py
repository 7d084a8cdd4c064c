#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A dmg image of a raw disk. Usage: make_dmg.py RAW DMG [METHOD [PATCH...]]

METHOD is how data is stored: raw, zlib (as is usual), bzip2, or mixed: each
in turn. Zeroes are chunks of their own. PATCH changes a field of chunk 0:
type=N, sectors=N, offset=N, length=N; or of the trailer: xml_offset=N,
xml_length=N; or is resources: the tables stand in a resource fork; or
lengths=N: that of all chunks, of one sector each.
"""
import base64
import bz2
import struct
import sys
import zlib

CHUNK = 64 * 1024
TYPES = {"raw": 1, "zlib": 0x80000005, "bzip2": 0x80000006}


def pack(data, method):
    if method == "zlib":
        return zlib.compress(data)
    return bz2.compress(data) if method == "bzip2" else data


def make(raw, method, patches):
    fork, chunks = b"", []
    step = 512 if "lengths" in patches else CHUNK
    for i in range(0, len(raw), step):
        data = raw[i:i + step]
        n = len(data) // 512
        if not any(data):
            chunks.append([0, i // 512, n, len(fork), 0])
            continue
        how = sorted(TYPES)[len(chunks) % 3] if method == "mixed" else method
        packed = pack(data, how)
        chunks.append([TYPES[how], i // 512, n, len(fork),
                       patches.get("lengths", len(packed))])
        fork += packed
    for name, field in (("type", 0), ("sectors", 2), ("offset", 3),
                        ("length", 4)):
        if name in patches:
            chunks[0][field] = patches[name]
    chunks.append([0xffffffff, len(raw) // 512, 0, len(fork), 0])
    # Two tables: the second one's sectors count from its own first.
    half = len(chunks) // 2
    tables = [chunks[:half], chunks[half:]]
    mish = []
    for part in tables:
        first = part[0][1]
        table = struct.pack(">IIQQQII24x136xI", 0x6d697368, 1, first,
                            (len(raw) // 512), 0, 0, 0, len(part))
        for kind, sector, n, offset, length in part:
            table += struct.pack(">IIQQQQ", kind, 0, sector - first, n,
                                 offset, length)
        mish.append(table)
    if "resources" in patches:
        data = b"".join(struct.pack(">I", len(t)) + t for t in mish)
        xml = b""
        rsrc = struct.pack(">IIII", 16, 16 + len(data), len(data), 0) + data
    else:
        rsrc = b""
        xml = b'<?xml version="1.0"?>\n<plist><dict><key>blkx</key><array>'
        for table in mish + [b"no table"]:
            xml += (b"<dict><key>Data</key><data>\n" +
                    base64.encodebytes(table) + b"</data></dict>")
        xml += b"</array></dict></plist>\n"
    end = len(fork)
    trailer = struct.pack(
        ">IIIIQQQQQII16x136xQQ120x136xIQ12x", 0x6b6f6c79, 4, 512, 1, 0, 0,
        end, end if rsrc else 0, len(rsrc), 1, 1,
        patches.get("xml_offset", end + len(rsrc) if xml else 0),
        patches.get("xml_length", len(xml)), 1, len(raw) // 512)
    return fork + rsrc + xml + trailer


def main():
    with open(sys.argv[1], "rb") as f:
        raw = f.read()
    method = sys.argv[3] if len(sys.argv) > 3 else "zlib"
    patches = {}
    for p in sys.argv[4:]:
        name, _, value = p.partition("=")
        patches[name] = int(value or "1", 0)
    with open(sys.argv[2], "wb") as f:
        f.write(make(raw, method, patches))


main()
