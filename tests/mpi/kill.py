# SPDX-License-Identifier: MIT
"""Kill one rank of a run at a random moment, go on with another number of ranks.

    kill.py PROGRAM KILLS SEED

PROGRAM is tests/mpi/run. mpirun ends the other ranks, at moments of their own. What is
there then must be the longest common prefix: at least what every rank's stores had
returned for, at most one more, and every value as it was written.
"""
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time

PROGRAM, KILLS, SEED = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
SIZES = 4, 3, 6, 2, 1, 7
LIVES = 6       # of one store


def number(name):
    try:
        with open(name, "rb") as f:
            return struct.unpack("<Q", f.read(8))[0]
    except (OSError, struct.error):
        return None


def check(since):
    done = subprocess.run([PROGRAM, "check", "run.zarr"] + [str(s) for s in since],
                          capture_output=True, text=True, timeout=120)
    if done.returncode:
        sys.exit("check: " + done.stderr)
    return int(done.stdout)


def start(size, mode, life):
    for rank in range(max(SIZES)):
        for name in "pid", "returned":
            if os.path.exists("%s.%d" % (name, rank)):
                os.unlink("%s.%d" % (name, rank))
    return subprocess.Popen(["mpirun", "-n", str(size), PROGRAM, mode, "run.zarr", "1000000000",
                             str(life), "slow"], stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE)


def live(size, mode, life, pick, since):
    """Until a rank is killed; returns what must be there at least, and at most."""
    job = start(size, mode, life)
    deadline = time.time() + 60
    while not all(number("returned.%d" % r) for r in range(size)):
        if job.poll() is not None or time.time() > deadline:
            sys.exit("it does not begin: " + job.stderr.read().decode(errors="replace"))
        time.sleep(0.002)
    time.sleep(pick.uniform(0, 0.4))
    os.kill(number("pid.%d" % pick.randrange(size)), signal.SIGKILL)
    try:
        job.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        job.kill()
        sys.exit("the other ranks go on")
    returned = [number("returned.%d" % r) for r in range(size)]
    returned = [n for n in returned if n < 2 ** 64 - 1]
    return min(returned), min(returned) + 1, max(returned)


def main():
    pick = random.Random(SEED)
    since, ahead = [], 0
    for kill in range(KILLS):
        life = kill % LIVES
        if life == 0:
            shutil.rmtree("run.zarr", ignore_errors=True)
            since = []
        since.append(check(since) if since else 0)
        size = pick.choice(SIZES) if KILLS > 6 else SIZES[life]
        if life == 0 and pick.random() < 0.5:
            os.environ["ALIGNED"] = "1"
        elif life == 0:
            os.environ.pop("ALIGNED", None)
        least, most, furthest = live(size, "resume" if life else "create", life, pick, since)
        found = check(since)
        if not least <= found <= most:
            sys.exit("kill %d: %d snapshots, of which stores of all ranks returned for %d"
                     % (kill, found, least))
        ahead = max(ahead, furthest - least)
    print("# %d kills, seed %d, ranks were up to %d snapshots apart" % (KILLS, SEED, ahead))


main()
