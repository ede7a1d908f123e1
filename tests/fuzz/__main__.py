"""`python -m tests.fuzz`: fuzz what strangers can send to the stream server, guided by coverage (atheris).

    python -m tests.fuzz [--seconds 60] [--corpus DIRECTORY] [TARGET ...]

The targets share the time, as many at once as there are processors. What makes one fail is shown as bytes; it belongs
into `found.py`, where it is tested from then on. With `--corpus` the next run starts from what this one found.

atheris has no build for every Python. Without it the seeds are only changed at random, which is said in capitals,
because it is a much weaker search.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz.found import FOUND
from tests.fuzz.targets import SEEDS, TARGETS

LONGEST_INPUT = 4096
MOST_MEMORY_MIB = 1024
SLOWEST_INPUT_SECONDS = 10
GUIDED = importlib.util.find_spec("atheris") is not None
LOOK = """
import sys, atheris
with atheris.instrument_imports(include=["cri.stream", "h11", "wsproto"], enable_loader_override=False):
    from tests.fuzz.targets import TARGETS
atheris.Setup(sys.argv, TARGETS[sys.argv.pop(1)])
atheris.Fuzz()
"""


def main() -> int:
    """Fuzz; 0 if nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "targets", nargs="*", choices=[[], *TARGETS], metavar="TARGET", help=", ".join(TARGETS)
    )
    parser.add_argument("--seconds", type=float, default=60, help="in all; %(default)s")
    parser.add_argument("--corpus", type=Path, help="keep interesting inputs there")
    options = parser.parse_args()
    targets = options.targets or list(TARGETS)
    at_once = min(os.cpu_count() or 1, len(targets))
    seconds = options.seconds * at_once / len(targets)
    if not GUIDED:
        print(
            f"\n*** NOT GUIDED BY COVERAGE: atheris is not installed for Python {platform.python_version()} on "
            f"{platform.machine()}.\n*** The seeds are changed at random instead; run this on another Python too.\n",
            file=sys.stderr,
        )
    with (
        tempfile.TemporaryDirectory(prefix="cri-shim-fuzz-") as directory,
        ThreadPoolExecutor(at_once) as pool,
    ):
        corpus = options.corpus or Path(directory)
        work = _guided if GUIDED else _at_random
        outcomes = list(pool.map(lambda target: work(target, seconds, corpus / target), targets))
    return 0 if all(outcomes) else 1


def _guided(target: str, seconds: float, corpus: Path) -> bool:
    """Whether nothing was found. libFuzzer ends its process, so every target has one of its own."""
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate((*SEEDS[target], *FOUND.get(target, ()))):
        (corpus / f"seed-{number}").write_bytes(seed)
    crash = corpus.parent / f"{target}.crash"
    process = subprocess.run(
        [
            *(sys.executable, "-c", LOOK, target, str(corpus)),
            f"-max_total_time={max(1, round(seconds))}",
            f"-max_len={LONGEST_INPUT}",
            f"-timeout={SLOWEST_INPUT_SECONDS}",
            f"-rss_limit_mb={MOST_MEMORY_MIB}",
            f"-exact_artifact_path={crash}",
        ],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    runs = re.findall(r"^#(\d+)\s+DONE\s+cov: (\d+)", process.stderr, re.MULTILINE)
    if process.returncode == 0 and runs:
        print(f"{target}: {runs[-1][0]} inputs, {runs[-1][1]} branches, nothing found", flush=True)
        return True
    found = crash.read_bytes() if crash.exists() else b""
    print(f"{target}: FAILED with {found!r}\n{process.stdout[-3000:]}{process.stderr[-3000:]}", flush=True)
    return False


def _at_random(target: str, seconds: float, _: Path) -> bool:
    seeds = (*SEEDS[target], *FOUND.get(target, ()))
    dice = random.Random(target)
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        data = bytearray(dice.choice(seeds) + dice.randbytes(dice.randrange(40)))
        for _ in range(dice.randrange(1, 8)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        try:
            TARGETS[target](bytes(data))
        except Exception as error:  # noqa: BLE001 - whatever it is, it was found
            print(f"{target}: FAILED with {bytes(data)!r}: {error!r}", flush=True)
            return False
        count += 1
    print(f"{target}: {count} inputs AT RANDOM, nothing found", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
