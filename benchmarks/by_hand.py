"""The job of `pmcore audit` as a script that somebody would write for one model: numpy, onnxruntime, pyplot.

python by_hand.py MODEL MEMBERS.npz NONMEMBERS.npz OUT

It sets a third of the non-members aside as population, computes losses, p-values, the AUC with DeLong's
interval, TPRs with normal intervals and the advantage by class, draws the five pictures as PNG and SVG, and
writes JSON and CSV. It checks nothing: no overlap, no preprocessing, no hashes, no exact intervals.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
from numpy.typing import NDArray

Array = NDArray[Any]
Z = 1.959964


def main(model: str, members: str, nonmembers: str, out: str) -> None:
    """Audit a model and write what was found."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    inside, outside = np.load(members), np.load(nonmembers)
    loss_in, right_in = ask(session, inside["x"], inside["y"])
    loss_out, right_out = ask(session, outside["x"], outside["y"])
    order = np.random.default_rng(0).permutation(len(loss_out))
    audited, population = np.sort(order[len(order) // 3 :]), order[: len(order) // 3]
    pool = np.sort(loss_out[population])
    p_in, p_out = p_values(loss_in, pool), p_values(loss_out[audited], pool)
    score_in, score_out = -loss_in, -loss_out[audited]
    y_in, y_out = inside["y"], outside["y"][audited]
    found: dict[str, Any] = {
        "accuracy": {"members": right_in.mean(), "nonmembers": right_out.mean()},
        "auc": auc(score_in, score_out),
        "tpr_at_fpr": {str(rate): tpr(score_in, score_out, rate) for rate in (0.1, 0.01, 0.001)},
        "calibrated": {
            str(a): {"fpr": float((p_out <= a).mean()), "tpr": float((p_in <= a).mean())} for a in (0.1, 0.01)
        },
        "advantage_by_class": by_class(score_in, score_out, y_in, y_out),
    }
    found["curve"] = dict(zip(("fpr", "tpr"), (side.tolist() for side in roc(score_in, score_out)), strict=True))
    (folder / "report.json").write_text(json.dumps(found, indent=2))
    with (folder / "scores.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "role", "label", "score", "p_value"])
        writer.writerows(zip(range(len(y_in)), ["member"] * len(y_in), y_in, score_in, p_in, strict=True))
        writer.writerows(zip(audited, ["nonmember"] * len(y_out), y_out, score_out, p_out, strict=True))
    np.savez(folder / "scores.npz", members=score_in, nonmembers=score_out)
    draw_roc(folder, found, score_in, score_out)
    draw_scores(folder, score_in, score_out)
    draw_classes(folder, found["advantage_by_class"])
    print(json.dumps(found["auc"]))


def ask(session: Any, x: Array, y: Array) -> tuple[Array, Array]:
    """Return losses and whether predictions are right, shapes (n,)."""
    name = session.get_inputs()[0].name
    parts = [session.run(None, {name: x[i : i + 256].astype(np.float32)})[0] for i in range(0, len(x), 256)]
    z = np.concatenate(parts).astype(np.float64)
    top = z.max(axis=1)
    loss = top + np.log(np.exp(z - top[:, None]).sum(axis=1)) - z[np.arange(len(z)), y]
    return loss, z.argmax(axis=1) == y


def p_values(loss: Array, pool: Array) -> Array:
    """Return the share of the population with a loss as small, shape (n,)."""
    return (1 + np.searchsorted(pool, loss, side="right")) / (len(pool) + 1)


def auc(inside: Array, outside: Array) -> dict[str, float]:
    """Return the Mann-Whitney statistic with DeLong's interval."""
    a, b = np.sort(inside), np.sort(outside)
    over = (np.searchsorted(b, a, "left") + np.searchsorted(b, a, "right")) / (2 * len(b))
    under = (np.searchsorted(a, b, "left") + np.searchsorted(a, b, "right")) / (2 * len(a))
    value = float(over.mean())
    reach = Z * float(np.sqrt(over.var(ddof=1) / len(a) + under.var(ddof=1) / len(b)))
    return {"value": value, "low": value - reach, "high": value + reach}


def tpr(inside: Array, outside: Array, rate: float) -> dict[str, float]:
    """Return the share of members above the threshold of one FPR, with a normal interval."""
    allowed = int(len(outside) * rate)
    value = float((inside > np.sort(outside)[len(outside) - 1 - allowed]).mean())
    reach = Z * float(np.sqrt(value * (1 - value) / len(inside)))
    return {"value": value, "low": value - reach, "high": value + reach}


def roc(inside: Array, outside: Array) -> tuple[Array, Array]:
    """Return FPR and TPR of every threshold, from 0 to 1."""
    scores = np.concatenate([inside, outside])
    order = np.argsort(-scores, kind="stable")
    member = order < len(inside)
    fpr = np.concatenate([[0.0], np.cumsum(~member) / len(outside)])
    return fpr, np.concatenate([[0.0], np.cumsum(member) / len(inside)])


def by_class(inside: Array, outside: Array, y_in: Array, y_out: Array) -> dict[int, dict[str, float]]:
    """Return the largest TPR - FPR within each class, with a normal interval."""
    found = {}
    for label in np.unique(y_in):
        a, b = inside[y_in == label], outside[y_out == label]
        if min(len(a), len(b)) < 10:
            continue
        fpr, rate = roc(a, b)
        reach = Z * float(np.sqrt(0.25 / len(a) + 0.25 / len(b)))
        found[int(label)] = {"value": float((rate - fpr).max()), "reach": reach, "n": len(a) + len(b)}
    return found


def draw_roc(folder: Path, found: dict[str, Any], inside: Array, outside: Array) -> None:
    """Draw the ROC curve on linear and on logarithmic axes, with a band."""
    fpr, rate = roc(inside, outside)
    reach = Z * np.sqrt(rate * (1 - rate) / len(inside))
    for name, scale in (("roc", "linear"), ("roc-log", "log")):
        figure, axes = plt.subplots(figsize=(8, 6))
        value = found["auc"]
        label = f"population: AUC {value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
        axes.plot(fpr, rate, color="#0072B2", linewidth=2, label=label)
        axes.fill_between(fpr, rate - reach, rate + reach, color="#0072B2", alpha=0.16, linewidth=0)
        axes.plot([0, 1] if scale == "linear" else [1 / len(outside), 1], [0, 1], linestyle=":", label="guessing")
        axes.set_xscale(scale)
        axes.set_yscale(scale)
        axes.set_xlim(0 if scale == "linear" else 1 / len(outside), 1)
        axes.set_ylim(0 if scale == "linear" else 1 / len(inside), 1)
        axes.set_xlabel("False-positive rate")
        axes.set_ylabel("True-positive rate")
        axes.set_title("Can members be told from non-members?")
        axes.grid(color="#dddddd")
        axes.legend(loc="lower right")
        save(folder, name, figure)


def draw_scores(folder: Path, inside: Array, outside: Array) -> None:
    """Draw the scores of both sides as histograms."""
    figure, axes = plt.subplots(figsize=(8, 6))
    low, high = np.quantile(np.concatenate([inside, outside]), [0.01, 0.99])
    edges = np.linspace(low, high, 41)
    for scores, label, colour in ((outside, "non-members", "#0072B2"), (inside, "members", "#D55E00")):
        counts = np.histogram(np.clip(scores, edges[0], edges[-1]), edges)[0]
        axes.stairs(100 * counts / len(scores), edges, fill=True, color=colour, alpha=0.3)
        axes.stairs(100 * counts / len(scores), edges, color=colour, linewidth=2, label=f"{len(scores)} {label}")
    axes.set_xlabel("Score of the attack")
    axes.set_ylabel("Records of each side per bin, %")
    axes.set_title("Scores")
    axes.grid(color="#dddddd")
    axes.legend()
    save(folder, "scores", figure)


def draw_classes(folder: Path, classes: dict[int, dict[str, float]]) -> None:
    """Draw the advantage within each class."""
    figure, axes = plt.subplots(figsize=(8, 6))
    labels = sorted(classes, key=lambda label: -classes[label]["value"])
    values = [classes[label]["value"] for label in labels]
    reach = [classes[label]["reach"] for label in labels]
    axes.errorbar(values, range(len(labels)), xerr=reach, fmt="o", capsize=3, label="within the class")
    axes.set_yticks(range(len(labels)), [f"{label} ({classes[label]['n']:.0f})" for label in labels])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("Advantage")
    axes.set_ylabel("Class")
    axes.set_title("Who is affected")
    axes.grid(color="#dddddd")
    axes.legend()
    save(folder, "class-advantage", figure)


def save(folder: Path, name: str, figure: Any) -> None:
    """Write a picture as PNG and SVG."""
    figure.savefig(folder / f"{name}.png", dpi=100)
    figure.savefig(folder / f"{name}.svg")
    plt.close(figure)


if __name__ == "__main__":
    main(*sys.argv[1:])
