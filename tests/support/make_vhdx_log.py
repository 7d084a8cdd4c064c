#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Entries for the log of a VHDX image that is empty. Usage: make_vhdx_log.py
IMAGE

Ten sectors in a row begin an entry, each of which says that it is as long as
the whole log and has nothing but descriptors in it. None has the right sum.
"""
import struct
import sys

SECTOR = 4096
HEADERS = (64 * 1024, 128 * 1024)
POLYNOMIAL = 0x82f63b78
GUID = b"some log's GUID "


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xffffffff


def main():
    with open(sys.argv[1], "r+b") as f:
        for place in HEADERS:
            f.seek(place)
            header = bytearray(f.read(SECTOR))
            header[48:64] = GUID
            header[4:8] = bytes(4)
            header[4:8] = struct.pack("<I", crc32c(header))
            f.seek(place)
            f.write(header)
        length, offset = struct.unpack_from("<IQ", header, 68)
        entry = struct.pack("<4sIIIQII16sQQ", b"loge", 1, length, 0, 1,
                            (length - 64) // 32, 0, GUID, 0, 0)
        for i in range(10):
            f.seek(offset + i * SECTOR)
            f.write(entry)


main()
