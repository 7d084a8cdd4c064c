#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""An NBD server that goes wrong when it is first asked for data.

Usage: nbd_bad.py SOCKET HOW, where HOW is one of
    greeting  garbage instead of a handshake
    garbage   garbage instead of a reply
    handle    a reply to a request that there was not
    half      half of the data, and then nothing more: it hangs up
    twice     "x" up to the last MiB, where the first half of what is asked for
              comes twice, and the other one never
The export has 4 MiB; there are structured replies only where it is twice.
"""
import os
import socket
import struct
import sys

OPTION_MAGIC, REPLY_MAGIC = 0x49484156454F5054, 0x3E889045565A9
SIMPLE_REPLY, STRUCTURED_REPLY = 0x67446698, 0x668E33EF
GO, STRUCTURED, ACK, INFO, UNSUPPORTED = 7, 8, 1, 3, 0x80000001
OFFSET_DATA, DONE = 1, 1
READ = 0
SIZE = 4 << 20


def receive(peer, n):
    data = b""
    while len(data) < n:
        more = peer.recv(n - len(data))
        if not more:
            sys.exit(0)
        data += more
    return data


def shake_hands(peer, is_structured):
    peer.sendall(b"NBDMAGIC" + struct.pack(">QH", OPTION_MAGIC, 3))
    receive(peer, 4)
    while True:
        _, option, length = struct.unpack(">QII", receive(peer, 16))
        receive(peer, length)

        def reply(kind, data=b""):
            peer.sendall(struct.pack(">QIII", REPLY_MAGIC, option, kind,
                                     len(data)) + data)
        if option == GO:
            reply(INFO, struct.pack(">HQH", 0, SIZE, 1))
            reply(ACK)
            return
        if option == STRUCTURED and is_structured:
            reply(ACK)
        else:
            reply(UNSUPPORTED)


def send_chunk(peer, flags, handle, offset, length):
    peer.sendall(struct.pack(">IHHQIQ", STRUCTURED_REPLY, flags, OFFSET_DATA,
                             handle, 8 + length, offset) + b"x" * length)


def send_twice(peer, handle, offset, length):
    if offset < SIZE - (1 << 20):
        send_chunk(peer, DONE, handle, offset, length)
        return
    send_chunk(peer, 0, handle, offset, length // 2)
    send_chunk(peer, DONE, handle, offset, length - length // 2)


def serve(peer, how):
    if how == "greeting":
        peer.sendall(b"\xff" * 4096)
        return
    shake_hands(peer, how == "twice")
    while True:
        _, _, kind, handle, offset, length = struct.unpack(
            ">IHHQQI", receive(peer, 28))
        if kind != READ:
            peer.sendall(struct.pack(">IIQ", SIMPLE_REPLY, 0, handle))
        elif how == "twice":
            send_twice(peer, handle, offset, length)
        elif how == "garbage":
            peer.sendall(b"\xff" * 4096)
        elif how == "handle":
            peer.sendall(struct.pack(">IIQ", SIMPLE_REPLY, 0, ~handle & 0xff))
        else:
            peer.sendall(struct.pack(">IIQ", SIMPLE_REPLY, 0, handle) +
                         b"x" * (length // 2))
            return


def main():
    path, how = sys.argv[1:]
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(8)
    while True:
        peer, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            try:
                serve(peer, how)
            except ConnectionError:
                pass  # it had enough
            sys.exit(0)
        peer.close()


main()
