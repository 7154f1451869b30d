"""What lies in a run folder."""

from pathline.train.averages import SNAPSHOTS

CONFIG, LOG, CHECKPOINTS, CLASSIFIER = "config.yaml", "log.jsonl", "checkpoints", "classifier"
SAMPLES, PICTURE, METRICS_FILE, REPORT = "samples.npz", "samples.png", "metrics.json", "report.html"
EVALS = "evals"
PARTS = "samples.parts"
SOLVER_FILES, COUPLING, PAIRS = "solvers", "coupling.safetensors", "pairs"
DERIVED = (
    "samples.csv",
    PARTS,
    SOLVER_FILES,
    "compare.json",
    "compare.png",
    "reflow.json",
    "encoded.npz",
    "verify.html",
    "verify.png",
    EVALS,
    "tensorboard",
    "wandb",
)
PRODUCTS = (CONFIG, LOG, CHECKPOINTS, SNAPSHOTS, COUPLING, CLASSIFIER, SAMPLES, PICTURE, METRICS_FILE, REPORT, *DERIVED)
"""Everything that training and what follows it write into a run folder. Pairs are kept: they were made before."""
