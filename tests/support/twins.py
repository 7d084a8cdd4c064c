# SPDX-License-Identifier: ISC
"""The same work done by vm-img in one folder and by qemu-img in another.

Both folders hold files of the same names; commands run inside of them.
"""
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

OURS, THEIRS = "ours", "theirs"


class Wrong(Exception):
    """What the two differ in."""


class TheirFault(Exception):
    """qemu-img died, or did what is no use as a measure."""


# qemu-img 7.2 never ends where it is to widen the refcounts of some images.
SECONDS_MAX = 60


def run(folder, *argv):
    """(status, output, errors)."""
    try:
        done = subprocess.run(argv, cwd=folder, stdin=subprocess.DEVNULL,
                              capture_output=True, check=False,
                              timeout=SECONDS_MAX)
    except subprocess.TimeoutExpired as late:
        kind = Wrong if argv[0] == "vm-img" else TheirFault
        raise kind("%s: %d seconds" % (" ".join(argv), SECONDS_MAX)) from late
    return (done.returncode, done.stdout.decode(errors="replace"),
            done.stderr.decode(errors="replace"))


def must(folder, *argv):
    status, out, err = run(folder, *argv)
    if status != 0:
        raise Wrong("%s: status %d: %s%s" % (" ".join(argv), status, out,
                                             err))
    return out


def copy(name, to):
    """With its holes, which tell what is free; shutil's would fill them."""
    subprocess.run(["cp", "--reflink=never", name, to], check=True)


def words(text):
    """Without what may differ: a program's name and the time."""
    text = re.sub(r"\b(vm-img|qemu-img): ", "", text)
    text = re.sub(r"Can't make bitmap '.*' persistent in '#block\d+': ", "",
                  text)
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE", text)


def same(what, ours, theirs):
    if ours != theirs:
        raise Wrong("%s: ours %s, theirs %s" % (what, ours, theirs))


# Where qemu-img gives up, and vm-img does not have to.
THEIR_FAULTS = (
    # a version 2 image over a backing file that is longer
    "Failed to zero out new clusters: Operation not supported",
    # a file that a crash has left longer than it needs to be
    "Failed to resize underlying file: Cannot use preallocation for shrinking",
    # -c over what is there already
    "error while writing at byte",
)
# What we refuse.
OUR_REFUSALS = (
    # Theirs loses them.
    "Bitmaps prevent downgrade of image",
    # Theirs says so, does nothing, and ends with 0.
    "Cannot use --target-is-zero when the destination image has a backing",
)


def is_known(ours, theirs):
    """That one of the two does what the other does not."""
    return (theirs[0] < 0 or theirs[0] != 0 and theirs[2] == "" or
            # How fast to hash is measured, if the machine lets it be.
            "Unable to get accurate CPU usage" in theirs[2] or
            ours[0] == 0 and any(f in theirs[2] for f in THEIR_FAULTS) or
            theirs[0] == 0 and any(f in ours[2] for f in OUR_REFUSALS))


def run_both(*argv):
    """Of each side (status, output, errors)."""
    ours = run(OURS, "vm-img", *argv)
    theirs = run(THEIRS, "qemu-img", *argv)
    if is_known(ours, theirs):
        raise TheirFault(" ".join(argv))
    if ours[0] != theirs[0]:
        same("status", ours, theirs)
    return ours, theirs


def both(*argv):
    """The status of a verb, on both sides the same."""
    ours, theirs = run_both(*argv)
    same("errors", words(ours[2]), words(theirs[2]))
    same("output", words(ours[1]), words(theirs[1]))
    return ours[0]


def both_read(*argv, folder=OURS, but=()):
    """The same verb by both programs on our side's file."""
    ours = run(folder, "vm-img", *argv)
    theirs = run(folder, "qemu-img", *argv)
    if theirs[0] < 0:
        raise TheirFault("%s: signal %d" % (" ".join(argv), -theirs[0]))
    what = " ".join(argv)
    same(what + ": status", ours[0], theirs[0])
    same(what + ": errors", words(ours[2]), words(theirs[2]))
    if "--output=json" in argv and theirs[1]:
        same(what, without(json.loads(ours[1] or "null"), but),
             without(json.loads(theirs[1]), but))
    else:
        same(what, words(ours[1]), words(theirs[1]))
    return theirs[1]


def without(value, names):
    """JSON without the members of these names, however deep."""
    if isinstance(value, dict):
        return {k: without(v, names) for k, v in value.items()
                if k not in names}
    if isinstance(value, list):
        return [without(v, names) for v in value]
    return value


def read_file(*path):
    with open(os.path.join(*path), "rb") as f:
        return f.read()


def read_disk(folder, kind, name, *more, program="qemu-img"):
    must(folder, program, "convert", "-f", kind, "-O", "raw", *more, name,
         "back")
    return read_file(folder, "back")


def first_difference(a, b):
    if len(a) != len(b):
        return "length %d and %d" % (len(a), len(b))
    i = next(i for i in range(0, len(a), 512) if a[i:i + 512] != b[i:i + 512])
    return "offset %d: %s and %s" % (i, a[i:i + 4].hex(), b[i:i + 4].hex())


def same_bytes(what, ours, theirs):
    if ours != theirs:
        raise Wrong("%s: %s" % (what, first_difference(ours, theirs)))


def run_all(try_one):
    """COUNT sequences from FIRST-SEED on, or those of so many SECONDS:
    try_one(rng, log)."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    limit = int(sys.argv[3]) if len(sys.argv) > 3 else 1000000
    end = time.monotonic() + limit
    shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    done = failed = 0
    for seed in range(first, first + count):
        if time.monotonic() > end:
            break
        done += 1
        name = tempfile.mkdtemp(prefix="pipevisor.",
                                dir=os.environ.get("TMPDIR", shm))
        os.chdir(name)
        os.mkdir(OURS)
        os.mkdir(THEIRS)
        log = []
        try:
            try_one(random.Random(seed), log)
        except TheirFault:
            pass
        except Wrong as wrong:
            failed += 1
            print("seed %d:\n    %s\n%s" % (seed, "\n    ".join(log), wrong),
                  flush=True)
        os.chdir("/")
        if not os.environ.get("KEEP"):
            shutil.rmtree(name)
    print("%d sequences, %d failed" % (done, failed))
    sys.exit(failed != 0)
