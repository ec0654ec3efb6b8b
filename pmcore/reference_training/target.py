"""How well the target knows its own members and others: what the references are to reach."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from pmcore.backend import LoadedModel
from pmcore.data import Progress
from pmcore.plugin_failures import answerable
from pmcore.reference_training.measuring import Knowledge, measure
from pmcore.reference_training.pool import Pool
from pmcore.reference_training.work_folder import WorkFolder
from pmcore.training import Goal

TARGET = "target.json"


@dataclass(frozen=True)
class Target:
    """What was measured of the target; None where there were no such records."""

    members: Knowledge | None
    others: Knowledge | None

    @property
    def goal(self) -> Goal | None:
        """Return what a reference is to reach on its own records."""
        return None if self.members is None else Goal(self.members.loss, self.members.accuracy)


def measured_target(folder: WorkFolder, model: LoadedModel, pool: Pool, progress: Progress) -> Target:
    """Return how well the target knows its records: measured once, so that all references aim at the same."""
    kept = folder.read_json(TARGET)
    if kept is None:
        sides = (pool.sides.members, pool.sides.others)
        with answerable(model.plugin):
            found = Target(*(measure(model.model, [pool.feeds[path] for path in side], progress) for side in sides))
        folder.write_json(TARGET, asdict(found))
        return found
    return Target(*(None if kept[side] is None else Knowledge(**kept[side]) for side in ("members", "others")))
