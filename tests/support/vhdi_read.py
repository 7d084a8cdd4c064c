#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""What libvhdi reads from the last of a chain of VHD or VHDX images.

Usage: vhdi_read.py OUTPUT BASE [CHILD...]
"""
import sys

import pyvhdi

files = []
for name in sys.argv[2:]:
    files.append(pyvhdi.file())
    files[-1].open(name)
    if len(files) > 1:
        files[-1].set_parent(files[-2])
left = files[-1].get_media_size()
with open(sys.argv[1], "wb") as output:
    while left > 0:
        data = files[-1].read_buffer(min(left, 1 << 20))
        output.write(data)
        left -= len(data)
