# SPDX-License-Identifier: ISC
"""Commands in turn on the same files: what each takes, and ratios.

Medians of ROUNDS (5) of wall time, and of each round's ratios: wall time,
processor time, resident memory. ONLY=WORD runs what has that word in its name.
"""
import mmap
import os
import statistics
import subprocess
import sys
import tempfile

MIB = 1 << 20
WALL, CPU, MEMORY = range(3)
top = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
build = os.path.abspath(os.environ.get("B", os.path.join(top, "build")))
ours = os.path.join(build, "bin/vm-img")
usage = os.path.join(build, "tests/bench/usage")
theirs = "qemu-img"
rounds = int(os.environ.get("ROUNDS", "5"))


def size_of_disks(default):
    """What SIZE says, in bytes."""
    return int(os.environ.get("SIZE", default).rstrip("M")) * MIB


def run(argv):
    """(wall s, processor s, resident KiB) of one command."""
    with tempfile.TemporaryFile("w+") as result:
        child = subprocess.run(
            ["/bin/sh", "-c", 'fd=$1; shift; exec "$@" 3>&"$fd"', "sh",
             str(result.fileno()), usage] + argv,
            stdout=subprocess.DEVNULL, pass_fds=[result.fileno()])
        if child.returncode != 0:
            sys.exit("%s: status %d" % (" ".join(argv), child.returncode))
        result.seek(0)
        return tuple(float(word) for word in result.read().split())


def quiet(*argv):
    subprocess.check_call(argv, stdout=subprocess.DEVNULL)


def make_disks(size):
    """raw disks: all data, half of it compressible; and one full of holes."""
    half = os.urandom(64 * 1024)
    text = (b"0123456789abcdef" * 8 + os.urandom(64)) * 512
    with open("full.raw", "wb") as f:
        for i in range(size // (128 * 1024)):
            f.write(half[i % 1000:] + half[:i % 1000])
            f.write(text[i % 1000:65536] + text[:i % 1000])
    with open("holes.raw", "wb") as f:
        for at in range(0, size * 4, 4 * MIB):
            f.seek(at)
            f.write(half * 2)
        f.truncate(size * 4)
    for name in ("full", "holes"):
        quiet(theirs, "convert", "-O", "qcow2", name + ".raw",
              name + ".qcow2")


def touch_memory(size):
    """What is free: a virtual machine's host takes it away after seconds, and
    brings it back page by page, in the time of whoever is measured next."""
    mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS |
              mmap.MAP_POPULATE).close()


def median(result, what):
    return statistics.median(one[what] for one in result)


def ratio(results, peer, what):
    """The median of each round's: what else the machine does comes and
    goes."""
    return statistics.median(ours[what] / other[what] for ours, other
                             in zip(results[0], results[peer]))


def is_wanted(name):
    return os.environ.get("ONLY", "") in name


def print_head():
    print("%-32s %8s %8s %6s %6s %6s %6s" % (
        "", "ours, s", "theirs", "wall", "CPU", "memory", "limit"))


def compare(name, arguments, measure, limit=None):
    """One line of vm-img and qemu-img, next to another command as a limit.
    measure(argv) prepares, calls run() and tidies up."""
    commands = [[ours] + arguments, [theirs] + arguments]
    if limit:
        commands.append(limit)
    results = [[] for _ in commands]
    for i in range(rounds * len(commands)):
        # Each goes first as often: what ran before matters.
        at = (i + i // len(commands)) % len(commands)
        results[at].append(measure(commands[at]))
    print("%-32s %8.3f %8.3f %6.2f %6.2f %6.2f %6s" % (
        name, median(results[0], WALL), median(results[1], WALL),
        ratio(results, 1, WALL), ratio(results, 1, CPU),
        ratio(results, 1, MEMORY),
        "%.2f" % ratio(results, 2, WALL) if limit else ""), flush=True)
