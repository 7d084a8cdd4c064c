#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Differencing images made by the letter of Microsoft's specifications.

Usage: make_child.py vpc|vhdx PARENT PARENT.raw CHILD CHILD.raw [KEY=VALUE...]
       make_child.py locator CHILD KEY=VALUE...

CHILD is one of PARENT, which reads as PARENT.raw. Its sectors are its own in a
pattern; the disk is CHILD.raw then. KEY=VALUE are names of the parent: W2ru,
W2ku or name for VHD ("Dynamic Disk Header Format"), keys of the parent locator
for VHDX ([MS-VHDX] 2.6.2.6), where @ stands for the right GUID. The second form
gives an old VHDX another locator.
"""
import struct
import sys
import uuid

SECTOR, MIB, BLOCK = 512, 1 << 20, 1 << 21
PARENT = uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c").bytes_le
LOCATOR = uuid.UUID("b04aefb7-d19e-4a81-b789-25b8e9445913").bytes_le


def is_own(sector):
    """Runs of many lengths, across blocks; one block has nothing, the next
    one everything. Of each eight sectors the last ones, or libvhdi 20210425
    would take the others for the child's too."""
    block = sector * SECTOR // BLOCK
    if block in (1, 2):
        return block == 2
    return sector % 8 >= 8 - (sector // 8 * 2654435761 >> 7) % 13


def content(sector):
    return struct.pack("<Q", sector * 0x9E3779B97F4A7C15 % 2**64) * 64


def make_disk(raw):
    disk = bytearray(open(raw, "rb").read())
    for sector in range(len(disk) // SECTOR):
        if is_own(sector):
            disk[sector * SECTOR:(sector + 1) * SECTOR] = content(sector)
    return bytes(disk)


def block_kind(disk, block):
    """None, "part" or "all" of a block's sectors are the child's."""
    first = block * BLOCK // SECTOR
    last = min(len(disk), (block + 1) * BLOCK) // SECTOR
    own = [is_own(s) for s in range(first, last)]
    return "all" if all(own) else "part" if any(own) else None


def checksum(data):
    return struct.pack(">I", ~sum(data) & 0xFFFFFFFF)


def make_vpc(parent, disk, names):
    footer = bytearray(open(parent, "rb").read()[-SECTOR:])
    header = bytearray(1024)
    n = -(-len(disk) // BLOCK)
    table_at, data_at = 1536, 1536 + -(-n * 4 // SECTOR) * SECTOR
    header[:8] = b"cxsparse"
    struct.pack_into(">QQIII", header, 8, 2**64 - 1, table_at, 0x10000, n,
                     BLOCK)
    header[40:56] = footer[68:84]
    title = names.pop("name", "").encode("utf-16-be")
    header[64:64 + len(title)] = title
    locators = b""
    for i, (key, value) in enumerate(names.items()):
        text = value.encode("utf-16-le")
        struct.pack_into(">4sIIIQ", header, 576 + 24 * i, key.encode(), 1,
                         len(text), 0, data_at + len(locators))
        locators += text.ljust(SECTOR, b"\0")
    header[36:40] = checksum(header)
    footer[60:64] = struct.pack(">I", 4)
    footer[16:24] = struct.pack(">Q", 512)
    footer[68:84] = uuid.uuid4().bytes
    footer[64:68] = bytes(4)
    footer[64:68] = checksum(footer)
    table, blocks = [], b""
    for block in range(n):
        if block_kind(disk, block) is None:
            table.append(0xFFFFFFFF)
            continue
        table.append((data_at + len(locators) + len(blocks)) // SECTOR)
        bits = bytearray(SECTOR)
        data = disk[block * BLOCK:(block + 1) * BLOCK].ljust(BLOCK, b"\0")
        data = bytearray(data)
        for i in range(BLOCK // SECTOR):
            sector = block * BLOCK // SECTOR + i
            if sector * SECTOR < len(disk) and is_own(sector):
                bits[i // 8] |= 0x80 >> i % 8
            else:
                data[i * SECTOR:(i + 1) * SECTOR] = b"\xee" * SECTOR
        blocks += bytes(bits) + bytes(data)
    table = struct.pack(">%dI" % n, *table)
    table = table.ljust(data_at - table_at, b"\xff")
    return bytes(footer + header) + table + locators + blocks + bytes(footer)


def crc32c(data):
    table = crc32c.table
    if not table:
        for i in range(256):
            for _ in range(8):
                i = i >> 1 ^ (0x82F63B78 if i & 1 else 0)
            table.append(i)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 255]
    return struct.pack("<I", crc ^ 0xFFFFFFFF)


crc32c.table = []


def locator(guid, names):
    """Section 2.6.2.6: header, entries, and what they point to."""
    entries, texts = b"", b""
    for key, value in names.items():
        value = value.replace("@", "{%s}" % guid)
        k, v = key.encode("utf-16-le"), value.encode("utf-16-le")
        at = 20 + 12 * len(names) + len(texts)
        entries += struct.pack("<IIHH", at, at + len(k), len(k), len(v))
        texts += k + v
    return LOCATOR + struct.pack("<HH", 0, len(names)) + entries + texts


def data_guid(image):
    headers = [image[at:at + 4096] for at in (64 << 10, 128 << 10)]
    best = max((h for h in headers if h[:4] == b"head"),
               key=lambda h: struct.unpack_from("<Q", h, 8)[0])
    return uuid.UUID(bytes_le=bytes(best[32:48]))


def make_vhdx(parent, disk, names):
    image = bytearray(open(parent, "rb").read(4 * MIB).ljust(4 * MIB, b"\0"))
    guid = data_guid(image)
    # Regions of the parent are where QEMU and vm-img put them.
    log_at, bat_at, meta_at = MIB, 2 * MIB, 3 * MIB
    assert image[meta_at:meta_at + 8] == b"metadata"
    items = meta_at + (64 << 10)
    struct.pack_into("<II", image, items, BLOCK, 2)
    set_locator(image, meta_at, locator(guid, names), True)
    image[log_at:log_at + MIB] = bytes(MIB)
    image[bat_at:bat_at + MIB] = bytes(MIB)
    ratio = 2**23 * SECTOR // BLOCK
    bitmap = bytearray(MIB)
    blocks = b""
    for block in range(-(-len(disk) // BLOCK)):
        kind = block_kind(disk, block)
        if kind is None:
            continue
        place = len(image) + MIB + len(blocks)
        struct.pack_into("<Q", image, bat_at + 8 * block,
                         place | (6 if kind == "all" else 7))
        data = bytearray(disk[block * BLOCK:(block + 1) * BLOCK].ljust(
            BLOCK, b"\0"))
        for i in range(BLOCK // SECTOR):
            sector = block * BLOCK // SECTOR + i
            if sector * SECTOR < len(disk) and is_own(sector):
                # A block that is there as a whole needs no bits.
                if kind == "part":
                    bitmap[sector // 8] |= 1 << sector % 8
            else:
                data[i * SECTOR:(i + 1) * SECTOR] = b"\xee" * SECTOR
        blocks += bytes(data)
    struct.pack_into("<Q", image, bat_at + 8 * ratio, len(image) | 6)
    for at, sequence in ((64 << 10, 1), (128 << 10, 2)):
        header = bytearray(4096)
        header[:4] = b"head"
        struct.pack_into("<Q", header, 8, sequence)
        header[16:32] = uuid.uuid4().bytes
        header[32:48] = uuid.uuid4().bytes
        struct.pack_into("<HHIQ", header, 64, 0, 1, MIB, log_at)
        header[4:8] = crc32c(header)
        image[at:at + 4096] = header
    return bytes(image) + bytes(bitmap) + blocks


def set_locator(image, meta_at, data, is_new):
    """Into the metadata table, and half a MiB behind it."""
    n, = struct.unpack_from("<H", image, meta_at + 10)
    index = n
    for i in range(n):
        at = meta_at + 32 + 32 * i
        if image[at:at + 16] == PARENT:
            index = i
    if is_new:
        struct.pack_into("<H", image, meta_at + 10, n + 1)
    entry = PARENT + struct.pack("<IIII", MIB // 2, len(data), 4, 0)
    image[meta_at + 32 + 32 * index:meta_at + 64 + 32 * index] = entry
    image[meta_at + MIB // 2:meta_at + MIB // 2 + len(data)] = data


def main():
    what, *rest = sys.argv[1:]
    names = dict(word.split("=", 1) for word in rest if "=" in word)
    files = [word for word in rest if "=" not in word]
    if what == "locator":
        image = bytearray(open(files[0], "rb").read())
        at = image.index(b"metadata")
        guid = data_guid(open(files[1], "rb").read()) if files[1:] else ""
        set_locator(image, at, locator(guid, names), False)
        open(files[0], "wb").write(image)
        return
    parent, raw, child, child_raw = files
    disk = make_disk(raw)
    open(child_raw, "wb").write(disk)
    make = make_vpc if what == "vpc" else make_vhdx
    open(child, "wb").write(make(parent, disk, names))


main()
