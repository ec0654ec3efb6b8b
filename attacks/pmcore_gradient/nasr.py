"""The white-box attack of Nasr, Shokri and Houmansadr (S&P 2019), learnt from a known part of the members."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar, Literal

import numpy as np

from pmcore.errors import InputError
from pmcore.interfaces import Attack, Evidence, Floats, Needs
from pmcore_gradient.components import (
    Component,
    activation_components,
    gradient_components,
    label_components,
    loss_component,
    norms_component,
)
from pmcore_gradient.encoders import log_odds
from pmcore_gradient.hyper_parameters import Encoder, chosen_hyper_parameters
from pmcore_gradient.specs import check_layers, spec

NORMS = "gradient_norm:layers=[*]"
LOSS = "loss"


@dataclass(frozen=True)
class NasrAttack(Attack):
    """Does what the model computes about this record, inside and out, look like what it computes about its members?

    The score is the log-odds of a model that learns from records whose membership is known,

        score(x) = log P(member | f(x)) - log P(non-member | f(x))

    where f(x) holds the log norm of the gradient of the loss with respect to each layer that has parameters; for chosen
    layers a random projection of that gradient (its direction) and of what they put out; the loss; and the label, one
    column per class or label, for up to 100 of them (none for regressions). All is standardised on known records.

    The audited records are dealt into folds, and each is scored by a model that is told of the next (folds - 1) // 2 of
    them and whose hyper-parameters are fixed beforehand: no epoch is chosen by the records that it is tested on, as it
    is in the paper. This attacker knows more than an outsider can, and what he finds is no limit to what others may.
    Having the label, he also reads off it where members and non-members differ in their classes; the audit warns of it.

    The paper gives its model the whole gradient; records times parameters are never held here, so every encoder reads
    projections of `size` numbers per layer. "logistic" is a logistic regression on splines of loss and norms and, with
    less weight, on everything else; "hist_gradient_boosting", "random_forest" and "mlp" are the mean of two models, one
    of loss and norms alone and one of everything. "paper" is the paper's network on the projections: for each component
    ReLU layers of 128 and 64, before them 100 kernels over a gradient (in the paper each spans a row of it, here the
    projection), and an encoder of 256, 128, 64 and 1.

    Parameters
    ----------
    layers : names or indices of layers whose gradients and outputs are read, "last" for the last one with parameters
    size : numbers to which the gradient, and the output, of a layer are projected
    folds : parts into which the audited records are dealt, 3 or more; an odd number wastes none
    encoder : "logistic", "hist_gradient_boosting", "random_forest", "mlp", or "paper", which needs torch
    calibrate : "none", or "references" to add how far loss and norms lie above the mean of reference models
    trees : of "hist_gradient_boosting" (60) and "random_forest" (200)
    epochs : of "mlp" (50) and "paper" (100)
    learning_rate : of "hist_gradient_boosting" (0.05), "mlp" (0.001) and "paper" (0.0001)
    weight_decay : penalty on the weights of "logistic" (1), "mlp" (10) and "paper" (0), on the leaves of
        "hist_gradient_boosting" (1)
    dropout : of "paper" (0.2)
    batch_size : of "mlp" and "paper" (64)

    References
    ----------
    Nasr, Shokri, Houmansadr. Comprehensive Privacy Analysis of Deep Learning: Passive and Active White-box Inference
    Attacks against Centralized and Federated Learning. S&P 2019 (section III).
    Watson, Guo, Cormode, Sablayrolles. On the Importance of Difficulty Calibration in Membership Inference Attacks.
    ICLR 2022 (the difference to reference models).
    """

    knowledge: ClassVar[str] = "the weights, and the membership of part of the other records, which no outsider knows"

    layers: tuple[str, ...] = ("last",)
    size: int = 64
    folds: int = 5
    encoder: Encoder = "logistic"
    calibrate: Literal["none", "references"] = "none"
    trees: int | None = None
    epochs: int | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    dropout: float | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        check_layers("nasr", self.layers)
        if not self.layers or "*" in self.layers:
            raise InputError("nasr: layers: name one layer or several, by name or index, or last")
        for name, least in (("folds", 3), ("size", 1)):
            if getattr(self, name) < least:
                raise InputError(f"nasr: {name}: {getattr(self, name)} - give {least} or more")
        self._hyper_parameters()
        if self.encoder == "paper" and find_spec("torch") is None:
            raise InputError("nasr: encoder: paper - needs torch: pip install 'pmcore[whitebox]'")

    @property
    def needs(self) -> Needs:
        """Declare loss, gradients and activations of the target, of references too if asked, and the folds."""
        shared = (LOSS, NORMS) if self.calibrate == "references" else ()
        return Needs(
            target=(LOSS, NORMS, self._gradients, self._activations),
            references=shared,
            min_references=1 if shared else 0,
            known_folds=self.folds,
        )

    def score(self, evidence: Evidence) -> Floats:
        """Return log-odds for the records whose membership is hidden, 0 for all others; shape (n,).

        Raises
        ------
        InputError
            The known records are all members or all non-members, or the model's answers are not finite.
        """
        if evidence.known is None:
            raise InputError("nasr: no membership is known to learn from - give the attack its folds")
        known = evidence.known >= 0
        is_member = evidence.known[known] == 1
        if not 0 < is_member.sum() < len(is_member):
            raise InputError("nasr: of the known records all are members, or none - give fewer folds or more records")
        components = [component.standardised(known) for component in self._components(evidence)]
        seed = int(evidence.rng.integers(2**31))
        scores = np.zeros(len(known))
        if self.encoder == "paper":
            from pmcore_gradient.paper_encoder import paper_log_odds

            scores[~known] = paper_log_odds(components, known, is_member, self._hyper_parameters(), seed)
        else:
            scores[~known] = log_odds(self.encoder, components, known, is_member, self._hyper_parameters(), seed)
        return scores

    def _components(self, evidence: Evidence) -> tuple[Component, ...]:
        losses = norms = None
        if self.calibrate == "references":
            losses, norms = evidence.references(LOSS), evidence.references(NORMS)
        return (
            loss_component(evidence.target(LOSS), losses),
            norms_component(evidence.target(NORMS), norms),
            *gradient_components(evidence.target(self._gradients), self.size),
            *activation_components(evidence.target(self._activations), self.size),
            *label_components(evidence),
        )

    @property
    def _gradients(self) -> str:
        return spec("gradient_sketch", layers=self.layers, size=self.size)

    @property
    def _activations(self) -> str:
        return spec("activations", layers=self.layers, size=self.size)

    def _hyper_parameters(self) -> dict[str, float]:
        names = ("trees", "epochs", "learning_rate", "weight_decay", "dropout", "batch_size")
        return chosen_hyper_parameters(self.encoder, {name: getattr(self, name) for name in names})
