"""One side of a comparison in a process of its own: told a job on a line of stdin, it answers with a line of JSON.

`benchmarks.peers` runs this file by its path in the environment of a peer, where pmcore is not installed, and once more
in its own. A peer is called through what it documents; what it prints goes to stderr.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Found = dict[str, Any]
Job = Callable[[], Found]

REFERENCES, SHADOWS, ESTIMATORS = 8, 4, 24
"""Networks that saw no audited record; networks, and estimators, that saw half of them each. A peer draws these halves
anew for each estimator: among fewer some record would have been seen by all of them."""
FEW = 100
"""Records of each side that are moved to the decision boundary."""
BUDGET, HOPSKIPJUMP = 400, {"norm": 2, "max_iter": 4, "init_eval": 25, "max_eval": 100, "init_size": 20}
"""Queries per record that pmcore may send; options with which the peer sends about as many as pmcore does."""
LEAST = 1e-6
"""The smallest distance that counts: the peer takes no 0."""
FOLDS = 5
TOLD = ("numpy", "torch", "scikit-learn", "tensorflow-cpu", "xgboost-cpu", "acro", "opacus")
"""Distributions whose versions are told beside that of the peer."""


class Case:
    """What `benchmarks.peers` left in a folder: records by role, networks, and an estimator.

    Parameters
    ----------
    folder : holds members.npz, non_members.npz, population.npz (x, y), few_members.npz, few_non_members.npz; NAME.onnx
        and NAME.npz (weights and biases in turn) of model, reference0 … and shadow0 …; shadows.npy (2n, SHADOWS) bool,
        which record trained which shadow model; estimator.skops
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def records(self, role: str) -> tuple[Array, Array]:
        """Return x float32 (n, d) and y int64 (n,)."""
        with np.load(self.folder / f"{role}.npz") as archive:
            return archive["x"].astype(np.float32), archive["y"].astype(np.int64)

    @cached_property
    def audited(self) -> tuple[Array, Array]:
        """Return the members, and after them as many non-members."""
        inside, outside = self.records("members"), self.records("non_members")
        return np.concatenate([inside[0], outside[0]]), np.concatenate([inside[1], outside[1]])

    def network(self, name: str) -> Any:
        """Return a network as a torch module."""
        import torch
        from torch import nn

        layers: list[nn.Module] = []
        with np.load(self.folder / f"{name}.npz") as archive:
            arrays = [torch.from_numpy(archive[key]) for key in archive.files]
        for weight, bias in zip(arrays[::2], arrays[1::2], strict=True):
            linear = nn.Linear(weight.shape[1], weight.shape[0])
            linear.load_state_dict({"weight": weight, "bias": bias})
            layers += [linear, nn.ReLU()]
        return nn.Sequential(*layers[:-1]).eval()

    def estimator(self) -> Any:
        """Return the scikit-learn estimator."""
        from skops.io import get_untrusted_types, load

        file = self.folder / "estimator.skops"  # written by `benchmarks.peers` itself
        return load(file, trusted=get_untrusted_types(file=file))

    def path(self, name: str) -> str:
        """Return the path of one of the files."""
        return str(self.folder / name)


def main(arguments: list[str]) -> None:
    """Answer what versions there are, and then one job after the other until stdin ends."""
    side, folder = arguments
    answers, sys.stdout = sys.stdout, sys.stderr
    jobs = SIDES[side](Case(Path(folder)))
    _say(answers, {"versions": _versions(side)})
    for line in sys.stdin:
        job = jobs[line.strip()]
        began = perf_counter()
        try:
            found = job()
        except Exception as error:  # a peer may fail in any way, and the other jobs go on
            lines = str(error).splitlines() or [""]
            _say(answers, {"failed": f"{type(error).__name__}: {lines[0]}"})
        else:
            _say(answers, {"seconds": perf_counter() - began, **found})


def pmcore_jobs(case: Case) -> Mapping[str, Job]:
    """Return the jobs of pmcore: audits of the exported files, which are loaded, checked and asked anew each time."""
    from pmcore import Audit

    references = [case.path(f"reference{index}.onnx") for index in range(REFERENCES)]
    shadows = [case.path(f"shadow{index}.onnx") for index in range(SHADOWS)]
    estimators = [case.path(f"peer{index}.skops") for index in range(ESTIMATORS)]
    seen: dict[str, Any] = {"references": shadows, "reference_membership": case.path("shadows.npy")}
    by_peer: dict[str, Any] = {"references": estimators, "reference_membership": case.path("peer.npy")}

    def audit(attack: str, model: str = "model.onnx", few: str = "", **settings: Any) -> Found:
        files = {role: case.path(f"{few}{role}.npz") for role in ("members", "non_members")}
        report = (
            Audit(
                model=case.path(model),
                **files,
                population=case.path("population.npz"),
                attacks=(attack,),
                threads=1,
                **settings,
            )
            .run()
            .report
        )
        found = next(iter(report.attacks.values()))
        asked = {"queries": found.queries / (2 * FEW)} if few else {}
        return {"auc": found.auc.value, "low": found.auc.low, "high": found.auc.high, **asked}

    def retrained() -> Found:
        from pmcore.reference_training.run import train_references
        from pmcore.reference_training.settings import ReferenceSettings

        folder = case.folder / "trained-by-pmcore"
        shutil.rmtree(folder, ignore_errors=True)
        pool = case.path("members.npz"), case.path("non_members.npz")
        model = case.path("estimator.skops")
        train_references(
            ReferenceSettings(model=model, pool=pool, out=str(folder), count=ESTIMATORS, jobs=1, threads=1)
        )
        return audit("lira", "estimator.skops", references=str(folder))

    return {
        "gap": lambda: audit("gap"),
        "learnt, forest": lambda: audit("trained:classifier=random_forest,folds=3"),
        "learnt, forest of losses": lambda: audit("trained:classifier=random_forest,folds=3"),
        "learnt, default": lambda: audit("trained"),
        "boundary": lambda: audit(f"boundary:budget={BUDGET}", few="few_"),
        "lira, training": retrained,
        "lira, trained": lambda: audit("lira", "estimator.skops", **by_peer),
        "worst case": lambda: audit(f"trained:classifier=random_forest,folds={FOLDS}", "estimator.skops"),
        "quantile": lambda: audit("quantile", "estimator.skops"),
        "population": lambda: audit("population"),
        "reference": lambda: audit("reference", references=references),
        "shadow": lambda: audit("shadow", **seen),
    }


def art_jobs(case: Case) -> Mapping[str, Job]:
    """Return the jobs of the Adversarial Robustness Toolbox, which answers with a score per record."""
    from art.attacks.inference.membership_inference import (  # type: ignore[import-not-found]
        LabelOnlyDecisionBoundary,
        LabelOnlyGapAttack,
        MembershipInferenceBlackBox,
    )
    from art.estimators.classification import PyTorchClassifier  # type: ignore[import-not-found]
    from torch import nn

    class Single(nn.Module):
        """Numbers as float32, counted: under numpy 2 the attack on the boundary hands over float64."""

        records = 0

        def forward(self, numbers: Any) -> Any:
            self.records += len(numbers)
            return numbers.float()

    (x, y), single = case.audited, Single()
    member = np.arange(len(x)) < len(x) // 2
    network = nn.Sequential(single, case.network("model"), nn.Softmax(dim=1))  # of logits its attacks learn less
    classifier = PyTorchClassifier(
        model=network,
        loss=nn.CrossEntropyLoss(),
        input_shape=x.shape[1:],
        nb_classes=int(y.max()) + 1,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )

    def learnt(kind: str, of: str) -> Found:
        scores, half = np.empty(len(x)), np.arange(len(x)) % 2 == 0
        for known in (half, ~half):
            attack = MembershipInferenceBlackBox(classifier, attack_model_type=kind, input_type=of)
            inside, outside = known & member, known & ~member
            attack.fit(x[inside], y[inside], x[outside], y[outside])
            scores[~known] = attack.infer(x[~known], y[~known], probabilities=True)[:, 0]
        return _sides(scores)

    def boundary() -> Found:
        inside, outside = case.records("few_members"), case.records("few_non_members")
        attack = LabelOnlyDecisionBoundary(classifier, distance_threshold_tau=LEAST)
        single.records = 0
        both = np.concatenate([inside[0], outside[0]]), np.concatenate([inside[1], outside[1]])
        scores = attack.infer(*both, probabilities=True, verbose=False, **HOPSKIPJUMP)[:, 1]
        return {**_sides(scores), "queries": single.records / len(scores)}

    return {
        "gap": lambda: _sides(LabelOnlyGapAttack(classifier).infer(x, y)),
        "learnt, forest": lambda: learnt("rf", "prediction"),
        "learnt, forest of losses": lambda: learnt("rf", "loss"),
        "learnt, default": lambda: learnt("nn", "prediction"),
        "boundary": boundary,
    }


def sacroml_jobs(case: Case) -> Mapping[str, Job]:
    """Return the jobs of SACRO-ML, which answers with a report; the estimators that it trains are left for pmcore."""
    from sacroml.attacks.likelihood_attack import LIRAAttack  # type: ignore[import-not-found]
    from sacroml.attacks.qmia_attack import QMIAAttack  # type: ignore[import-not-found]
    from sacroml.attacks.target import Target  # type: ignore[import-not-found]
    from sacroml.attacks.utils import get_shadow_model  # type: ignore[import-not-found]
    from sacroml.attacks.worst_case_attack import WorstCaseAttack  # type: ignore[import-not-found]
    from skops.io import dump

    (x, y), (other_x, other_y) = case.records("members"), case.records("non_members")
    x, other_x = x.astype(np.float64), other_x.astype(np.float64)  # as pmcore fits and asks estimators
    target = Target(model=case.estimator(), X_train=x, y_train=y, X_test=other_x, y_test=other_y)
    folder = case.folder / "trained-by-sacroml"

    def attacked(attack: Any) -> Found:
        runs = attack.attack(target)["attack_experiment_logger"]["attack_instance_logger"].values()
        return {"auc": float(np.mean([run["AUC"] for run in runs]))}

    def lira() -> Found:
        mode = {"mode": "online-carlini", "fix_variance": True}
        return attacked(LIRAAttack(str(folder), write_report=False, n_shadow_models=ESTIMATORS, **mode))

    def retrained() -> Found:
        shutil.rmtree(folder, ignore_errors=True)
        return lira()

    def left() -> Found:
        membership = np.zeros((len(x) + len(other_x), ESTIMATORS), dtype=np.bool_)
        for index in range(ESTIMATORS):
            model, inside, _ = get_shadow_model(str(folder / "shadow_models"), index)
            dump(model.model, case.folder / f"peer{index}.skops")
            membership[inside, index] = True
        np.save(case.folder / "peer.npy", membership)
        return {}

    worst = {"n_reps": FOLDS, "n_dummy_reps": 0, "write_report": False}
    out = case.path("by-sacroml")
    return {
        "lira, training": retrained,
        "leave": left,
        "lira, trained": lira,
        "worst case": lambda: attacked(WorstCaseAttack(out, **worst)),
        "quantile": lambda: attacked(QMIAAttack(out, write_report=False)),
    }


def privacy_meter_jobs(case: Case) -> Mapping[str, Job]:
    """Return the jobs of Privacy Meter, which answers with the area under a curve of 100 thresholds, or of scores."""
    from privacy_meter.audit import Audit  # type: ignore[import-not-found]
    from privacy_meter.constants import InferenceGame  # type: ignore[import-not-found]
    from privacy_meter.dataset import Dataset  # type: ignore[import-not-found]
    from privacy_meter.hypothesis_test import linear_itp_threshold_func  # type: ignore[import-not-found]
    from privacy_meter.information_source import InformationSource  # type: ignore[import-not-found]
    from privacy_meter.information_source_signal import ModelLoss  # type: ignore[import-not-found]
    from privacy_meter.metric import (  # type: ignore[import-not-found]
        PopulationMetric,
        ReferenceMetric,
        ShadowMetric,
    )
    from privacy_meter.model import PytorchModel  # type: ignore[import-not-found]
    from torch import nn

    def model(name: str) -> Any:
        return PytorchModel(case.network(name), nn.CrossEntropyLoss())

    def dataset(**splits: tuple[Array, Array]) -> Any:
        return Dataset({name: {"x": x, "y": y} for name, (x, y) in splits.items()}, "x", "y")

    x, y = case.audited
    halves = [
        dataset(train=(x[inside], y[inside]), test=(x[~inside], y[~inside]))
        for inside in np.load(case.folder / "shadows.npy").T
    ]
    audited = dataset(train=case.records("members"), test=case.records("non_members"))
    target = InformationSource([model("model")], [audited])
    population = InformationSource(target.models, [dataset(train=case.records("population"))])
    references = InformationSource([model(f"reference{index}") for index in range(REFERENCES)], [audited])
    shadows = InformationSource([model(f"shadow{index}") for index in range(SHADOWS)], halves)

    def metric(kind: Any, source: Any, test: Any = linear_itp_threshold_func) -> Found:
        made = kind(target, source, [ModelLoss()], test)
        audit = Audit([made], InferenceGame.PRIVACY_LOSS_MODEL, [target], [source], save_logs=False)
        audit.prepare()
        result = audit.run()[0]
        return {"auc": float((result[0] if isinstance(result, list) else result).roc_auc)}

    return {
        "population": lambda: metric(PopulationMetric, population),
        "reference": lambda: metric(ReferenceMetric, references),
        "shadow": lambda: metric(ShadowMetric, shadows, None),
    }


SIDES: Mapping[str, Callable[[Case], Mapping[str, Job]]] = {
    "pmcore": pmcore_jobs,
    "art": art_jobs,
    "sacroml": sacroml_jobs,
    "privacy-meter": privacy_meter_jobs,
}


def _sides(scores: Array) -> Found:
    """Return the scores of members and non-members apart."""
    half = len(scores) // 2
    return {"inside": [float(score) for score in scores[:half]], "outside": [float(score) for score in scores[half:]]}


def _versions(side: str) -> dict[str, str]:
    found = {}
    for name in ("adversarial-robustness-toolbox" if side == "art" else side, *TOLD):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _say(answers: IO[str], answer: Found) -> None:
    print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
