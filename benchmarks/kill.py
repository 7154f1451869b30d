"""Runs killed at random moments, some inside a save, end with the weights of a run that was left alone.

One process imports everything and forks a child for each attempt. A child trains a small net and saves every few
steps; SIGKILL comes from the parent after a random time, or from the child itself at a random flush or rename of a
save. The next child resumes. At the end all files of the last checkpoint are compared, and the log.

    python benchmarks/kill.py --runs 20
"""

import argparse
import hashlib
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch

from pathline.train import TrainConfig
from pathline.train.checkpoint import list_checkpoints
from pathline.train.log import read_log
from pathline.train.loop import trainer_of

STEPS = 60
SETTINGS = {
    "data": "circles(n=200)", "net": "mlp(width=16, depth=1)", "steps": STEPS, "batch_size": 32, "log_every": 5,
    "checkpoint_every": 6, "warmup": 5, "ema_also": "0.9, power(0.1)", "ema_snapshots": 15, "keep_best": 1,
}  # fmt: skip
ENOUGH = 60
"""Attempts after which a run counts as one that never ends."""


def train(out: Path, *, die_at: "int | None") -> None:
    """In the child: train or resume; ``die_at`` is the number of the flush or rename at which it kills itself."""
    if die_at is not None:
        left = [die_at]

        def deadly(inner):
            def call(*arguments):
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return inner(*arguments)

            return call

        os.fsync, os.replace = deadly(os.fsync), deadly(os.replace)
    resume = bool(list_checkpoints(out / "checkpoints"))
    config = TrainConfig.from_dict({**SETTINGS, "out": str(out)})
    trainer_of(config, resume=resume, overwrite=out.is_dir() and not resume, progress=False).fit()


def attempt(out: Path, rng: "random.Random | None", seconds: float) -> "tuple[bool, str]":
    """Whether the child came to its end, and how it was to be killed."""
    inside = rng is not None and rng.random() < 0.5
    die_at = rng.randrange(40) if rng is not None and inside else None
    child = os.fork()
    if not child:
        code = 1
        try:
            train(out, die_at=die_at)
            code = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    if rng is not None and not inside:
        time.sleep(rng.uniform(0.0, seconds))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit(f"a run failed by itself in {out}")
    return os.WIFEXITED(status), "inside a save" if inside else "at a random time"


def outcome(out: Path) -> dict[str, str]:
    """SHA-256 of every file of the last checkpoint and of the snapshots, and of the log's numbers."""
    newest = list_checkpoints(out / "checkpoints")[0]
    assert newest.name.endswith(f"{STEPS:09d}"), newest
    files = [*newest.glob("*.safetensors"), *(out / "averages").rglob("*.safetensors")]
    found = {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    return {
        **found,
        "log": repr([(r["step"], r["loss"], r["lr"], r.get("loss_by_t")) for r in read_log(out / "log.jsonl")]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--kills", type=int, default=4, help="at most so many for each run")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        straight = Path(folder) / "straight"
        train(straight, die_at=None)  # in this process, so that the children find everything imported
        begin = time.perf_counter()
        attempt(Path(folder) / "timed", None, 0.0)
        seconds = time.perf_counter() - begin
        expected = outcome(straight)
        kills = {"inside a save": 0, "at a random time": 0}
        same = 0
        for number in range(given.runs):
            rng, out = random.Random(1000 * given.seed + number), Path(folder) / str(number)
            killed, done = 0, False
            for _ in range(ENOUGH):
                done, how = attempt(out, rng if killed < given.kills else None, seconds)
                if done:
                    break
                killed += 1
                kills[how] += 1
            found = outcome(out) if done else {}
            different = sorted(k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k))
            same += not different
            print(
                f"run {number}: {killed} kills, " + (f"differs in {different}" if different else "identical"),
                flush=True,
            )
    total = sum(kills.values())
    print(f"{same} of {given.runs} runs identical to the bit after {total} kills ({kills})")
    sys.exit(same != given.runs)


if __name__ == "__main__":
    main()
