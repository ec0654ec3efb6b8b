"""Checks of what a trainer says before it trains: its options and docstring, obstacles, company, what it settles."""

from __future__ import annotations

import numpy as np

from pmcore.errors import AuditError
from pmcore.interfaces import Trainer
from pmcore.option_docs import resolved_options
from pmcore.testing import declarations
from pmcore.testing.checking import CheckFailed
from pmcore.testing.refusals import require, require_documented, require_one_line
from pmcore.testing.trainer_case import Bench, silent


def check_docstring(trainer: Trainer) -> None:
    """Open the docstring of the class with one whole sentence."""
    require_documented(type(trainer))


def check_frozen_dataclass(trainer: Trainer) -> None:
    """Be a frozen dataclass: options stay what they were when it was made."""
    declarations.require_frozen(trainer)


def check_equality(trainer: Trainer) -> None:
    """Be equal to a trainer with the same options, and hash like it."""
    declarations.require_equality(trainer)


def check_pickle(trainer: Trainer) -> None:
    """Come back the same from its way to a worker: training has processes of its own."""
    declarations.require_pickles(trainer)


def check_options_round_trip(trainer: Trainer) -> None:
    """Become the same trainer again from the options as the manifest of the references writes them."""
    declarations.require_round_trip(trainer)


def check_option_types(trainer: Trainer) -> None:
    """Refuse an option that is not of its type."""
    declarations.require_typed_options(trainer)


def check_options_are_documented(trainer: Trainer) -> None:
    """Describe every option in the docstring."""
    declarations.require_documented_options(trainer)


def check_suffixes(trainer: Trainer) -> None:
    """Write suffixes in lower case and with their dot: trainers are chosen by them."""
    wrong = [suffix for suffix in trainer.suffixes if suffix != suffix.lower() or not suffix[1:] or suffix[0] != "."]
    require(not wrong, f"suffixes {wrong} are not like '.onnx'")


def check_obstacle(bench: Bench) -> None:
    """Say in one phrase why a target cannot be retrained, or nothing if it can."""
    obstacle: object = bench.given.obstacle(bench.task)
    if obstacle is None:
        return
    if not isinstance(obstacle, str):
        raise CheckFailed(f"obstacle returned {type(obstacle).__name__}; return a phrase, or None")
    require_one_line(obstacle, "obstacle")
    require(not obstacle.endswith("."), f"obstacle says {obstacle!r}; leave out the full stop, it stands in a message")


def check_damaged_target(bench: Bench) -> None:
    """Say in one line that a target is damaged, before or when it is retrained; or do without it."""
    bench.require_able()
    task = bench.variant(target=bench.folder / f"damaged{bench.task.target.suffix}")
    task.target.write_bytes(np.random.default_rng(3).bytes(4096))
    try:
        obstacle = bench.given.obstacle(task)
        if obstacle is None:
            bench.train(bench.job(), task=task)
    except AuditError as error:
        obstacle = str(error)
    except Exception as error:  # a plugin is called: whatever else it raises is told
        raise CheckFailed(
            f"a damaged target: raised {type(error).__name__} ({error}); say so in obstacle, or raise InputError"
        ) from error
    if obstacle is not None:
        require_one_line(obstacle, "a damaged target")


def check_side_by_side(bench: Bench) -> None:
    """Say how many models are best trained at once: 1 or more, and the same number again."""
    found = [bench.trainer.side_by_side(bench.task) for _ in range(2)]
    whole = all(isinstance(each, int) and not isinstance(each, bool) for each in found)
    require(whole and min(found) >= 1, f"side_by_side returned {found[0]!r}; return a whole number from 1 on")
    require(found[0] == found[1], f"side_by_side returned {found[0]}, and {found[1]} when asked again")


def check_settled(bench: Bench) -> None:
    """Settle what is to be found out first into options, the same each time, and write no file."""
    bench.require_able()
    found: list[object] = []
    for _ in range(2):
        job = bench.job()
        found.append(bench.given.settled(bench.task, job, silent))
        left = sorted(path.name for path in job.out.rglob("*"))
        require(not left, f"settled leaves {', '.join(left)} in the folder of the job; it is for the model")
    for each in found:
        if not isinstance(each, Trainer):
            raise CheckFailed(f"settled returned {type(each).__name__}; return a trainer: itself, or one like it")
    first, second = (resolved_options(each) for each in found)
    changed = [name for name in first if first[name] != second[name]]
    require(not changed, f"settled again on the same job, {', '.join(changed)} differ; draw from the job's seed")
