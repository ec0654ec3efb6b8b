"""BatchNormalization put back, for the time of training, behind convolutions that an exporter folded it into."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from pmcore_autograd.graph import Graph, Node
from pmcore_autograd.module import ExportedModule
from pmcore_autograd.parameters import Buffer, Cut, Origin, Parameter
from pmcore_autograd.slots import Role

_CONVOLUTIONS = frozenset({"Conv", "Convolution", "GroupConvolution"})
_SAME = frozenset({"Identity", "Cast", "Convert"})
_FOLDED_WEIGHT = re.compile(r"onnx::Conv_\d+|Multiply_\d+|.*\bConvBnFusion_.*")
"""How the kernels are called that torch's TorchScript exporter, OpenVINO and ONNX Runtime have multiplied."""
_FOLDED_RESULT = re.compile(r"getitem(_\d+)?")
"""How torch's dynamo exporter calls what leaves a convolution in the place of a BatchNormalization, one of three."""
_EPSILON = 1e-5


@dataclass(frozen=True)
class Folded:
    """A convolution that a BatchNormalization was folded into.

    Parameters
    ----------
    weight, bias : names of its parameters in the graph
    result : what leaves it, bias added
    shape : that a number per channel must have to multiply the weight
    channels : numbers per place that leave it
    """

    weight: str
    bias: str
    result: str
    shape: tuple[int, ...]
    channels: int

    @property
    def before(self) -> str:
        """Return how the convolution's own result is called while it is normalised."""
        return f"{self.result}.unnormalised"

    def part(self, role: Role) -> str:
        """Return the name of a tensor of the normalisation."""
        return f"{self.result}.normalisation.{role.value}"


def find_folded(cut: Cut, everywhere: bool) -> tuple[Folded, ...]:
    """Return the convolutions that a BatchNormalization can be put behind, and folded back into.

    Parameters
    ----------
    everywhere : take all of them, also those that do not show by a name that one was folded into them
    """
    return _Search(cut, everywhere).found()


def unfold(cut: Cut, folded: Sequence[Folded]) -> Cut:
    """Return a graph with a fresh BatchNormalization behind each of some convolutions."""
    behind = {each.result: each for each in folded}
    nodes: list[Node] = []
    values = dict(cut.values)
    parameters, buffers = list(cut.parameters), list(cut.buffers)
    for node in cut.graph.nodes:
        made = next((behind[name] for name in node.outputs if name in behind), None)
        if made is None:
            nodes.append(node)
            continue
        nodes += [_renamed(node, made), _normalisation(made)]
        for role in (Role.SCALE, Role.BIAS, Role.MEAN, Role.VARIANCE):
            name, one = made.part(role), float(role in (Role.SCALE, Role.VARIANCE))
            values[name] = torch.full((made.channels,), one, dtype=cut.working)
            if role.is_buffer:
                buffers.append(Buffer(name, role, Origin(name, "float32")))
            else:
                parameters.append(Parameter(name, role, made.result, made.result, 0, Origin(name, "float32")))
    parameters = [
        replace(each, into=behind[each.into].before) if each.into in behind and each.role is Role.WEIGHT else each
        for each in parameters
    ]
    graph: Graph = replace(cut.graph, nodes=tuple(nodes))
    return replace(cut, graph=graph, parameters=tuple(parameters), buffers=tuple(buffers), values=values)


def fold_back(module: ExportedModule, plain: ExportedModule, folded: Sequence[Folded]) -> ExportedModule:
    """Give the graph as it stands in the file the parameters that compute what the one with normalisations does."""
    learnt, target = _by_tensor(module), _by_tensor(plain)
    with torch.no_grad():
        for name, value in target.items():
            value.copy_(learnt[name])
        for each in folded:
            scale, shift, mean, variance = (
                learnt[each.part(role)].double() for role in (Role.SCALE, Role.BIAS, Role.MEAN, Role.VARIANCE)
            )
            factor = scale / (variance + _EPSILON).sqrt()
            weight, bias = target[each.weight], target[each.bias]
            weight.copy_(weight.double() * factor.view(each.shape))
            bias.copy_(((bias.double().flatten() - mean) * factor + shift).view(bias.shape))
    return plain


class _Search:
    """The state of one search for convolutions."""

    def __init__(self, cut: Cut, everywhere: bool) -> None:
        self._cut = cut
        self._everywhere = everywhere
        nodes = cut.graph.nodes
        self._makers = {name: node for node in nodes for name in node.outputs if name}
        self._readers = {name: node for node in nodes for name in node.inputs if name}
        self._uses = Counter(name for node in nodes for name in node.inputs if name)
        self._uses.update(cut.graph.outputs)
        self._parameters = {each.tensor for each in cut.parameters}

    def found(self) -> tuple[Folded, ...]:
        """Return what was found, in order of computation."""
        every = (self._folded(node) for node in self._cut.graph.nodes if node.kind in _CONVOLUTIONS)
        return tuple(each for each in every if each is not None)

    def _folded(self, node: Node) -> Folded | None:
        weight = self._parameter(node.inputs[1])
        result, bias = self._biased(node)
        if weight is None or bias is None or result in self._cut.graph.outputs:
            return None
        reader = self._readers.get(result)
        if reader is None or "Norm" in reader.kind or not self._shows(weight, bias, result):
            return None
        shape = tuple(self._cut.values[weight].shape)
        groups = 2 if node.kind == "GroupConvolution" else 1
        channels = 1
        for size in shape[:groups]:
            channels *= size
        if self._cut.values[bias].numel() != channels:
            return None
        return Folded(weight, bias, result, (*shape[:groups], *[1] * (len(shape) - groups)), channels)

    def _shows(self, weight: str, bias: str, result: str) -> bool:
        """Tell whether names show that a normalisation was folded into a convolution."""
        by_bias = bias == f"{weight}_bias"  # the dynamo exporter's, where there was none
        return (
            self._everywhere
            or by_bias
            or any(pattern.fullmatch(name) for pattern, name in ((_FOLDED_WEIGHT, weight), (_FOLDED_RESULT, result)))
        )

    def _biased(self, node: Node) -> tuple[str, str | None]:
        """Return what leaves a convolution once its bias is added, and the bias."""
        made = node.outputs[0]
        if len(node.inputs) > 2:
            return made, self._parameter(node.inputs[2])
        adding = self._readers.get(made)
        if self._uses[made] != 1 or adding is None or adding.kind != "Add" or node.dialect != "openvino":
            return made, None
        other = next((name for name in adding.inputs if name != made), "")
        return adding.outputs[0], self._parameter(other)

    def _parameter(self, name: str) -> str | None:
        """Return the parameter that a tensor is, in whatever width, if nobody else reads it."""
        while self._uses[name] == 1 and name in self._makers and self._makers[name].kind in _SAME:
            name = self._makers[name].inputs[0]
        return name if name in self._parameters and self._uses[name] == 1 else None


def _renamed(node: Node, made: Folded) -> Node:
    return replace(node, outputs=tuple(made.before if name == made.result else name for name in node.outputs))


def _normalisation(made: Folded) -> Node:
    read = (made.before, *(made.part(role) for role in (Role.SCALE, Role.BIAS, Role.MEAN, Role.VARIANCE)))
    attributes = {"epsilon": _EPSILON, "momentum": 0.9}
    return Node("BatchNormalization", read, (made.result,), attributes, made.part(Role.SCALE), "onnx", 15)


def _by_tensor(module: ExportedModule) -> dict[str, torch.Tensor]:
    """Return parameters and buffers by the names of their tensors in the graph."""
    facts: dict[str, Parameter | Buffer] = {**module.parameter_facts, **module.buffer_facts}
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {facts[name].tensor: value for name, value in state.items()}
