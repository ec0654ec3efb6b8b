"""Operators of classical learning (ai.onnx.ml) that are smooth, or merely arrange numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import flag, given, real, reals, refusal, whole, wholes, word

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")

_PROBABILITIES = "NONE SOFTMAX LOGISTIC SOFTMAX_ZERO PROBIT"


def scaler(node: Node, values: Values) -> torch.Tensor:
    """Return (x - offset) scale."""
    value = _real(given(node, values, 0))
    return (value - _row(reals(node, "offset", (0.0,)), value)) * _row(reals(node, "scale", (1.0,)), value)


def normalizer(node: Node, values: Values) -> torch.Tensor:
    """Return rows divided by their largest element, their sum of absolute values, or their length."""
    value = _real(given(node, values, 0))
    kind = word(node, "norm", "MAX L1 L2")
    norm = value.amax(-1, keepdim=True) if kind == "MAX" else torch.linalg.vector_norm(value, int(kind[1]), -1, True)
    return value / torch.where(norm == 0, torch.ones_like(norm), norm)


def imputer(node: Node, values: Values) -> torch.Tensor:
    """Return the input with one value, that of a missing one, replaced."""
    value = given(node, values, 0)
    if value.is_floating_point():
        fresh, missing = reals(node, "imputed_value_floats"), real(node, "replaced_value_float", 0.0)
    else:
        fresh, missing = wholes(node, "imputed_value_int64s"), whole(node, "replaced_value_int64", 0)
    if not fresh:
        raise refusal(node, "it names no value to put in")
    gone = torch.isnan(value) if missing != missing else value == missing
    return torch.where(gone, _row(fresh, value), value)


def linear_regressor(node: Node, values: Values) -> torch.Tensor:
    """Return x w' + b for each target."""
    if word(node, "post_transform", _PROBABILITIES) != "NONE":
        raise refusal(node, "a regression whose result is transformed is not known here")
    return _linear(node, _real(given(node, values, 0)), whole(node, "targets", 1))


def linear_classifier(node: Node, values: Values) -> tuple[torch.Tensor, ...]:
    """Return the class of each record and its scores; two classes may share one row of weights."""
    classes = wholes(node, "classlabels_ints") or tuple(range(len(node.attributes.get("classlabels_strings", ()))))
    value = _real(given(node, values, 0))
    rows = len(reals(node, "coefficients")) // max(value.shape[-1], 1)
    scores = _linear(node, value, rows)
    kind = word(node, "post_transform", _PROBABILITIES)
    if rows == 1:
        if len(classes) != 2 or kind not in ("NONE", "LOGISTIC"):
            raise refusal(node, f"one row of weights for {len(classes)} classes and post_transform={kind!r}")
        place = (scores.squeeze(-1) > 0).to(torch.int64)
        scores = torch.cat((-scores, scores), -1) if kind == "LOGISTIC" else torch.cat((1 - scores, scores), -1)
    else:
        place = scores.argmax(-1)
    if kind == "LOGISTIC":
        scores = torch.sigmoid(scores)
    elif kind == "SOFTMAX":
        scores = torch.softmax(scores, -1)
    elif kind != "NONE":
        raise refusal(node, f"post_transform={kind!r} is not known here")
    return torch.tensor(classes, device=value.device)[place], scores


def binarizer(node: Node, values: Values) -> torch.Tensor:
    """Return one above a threshold and zero elsewhere."""
    value = given(node, values, 0)
    return (value > real(node, "threshold", 0.0)).to(value.dtype)


def array_feature_extractor(node: Node, values: Values) -> torch.Tensor:
    """Return some columns."""
    value, places = given(node, values, 0), given(node, values, 1).reshape(-1).to(torch.int64)
    picked = value.index_select(-1, places)
    return picked.reshape(1, -1) if value.dim() == 1 else picked


def feature_vectorizer(node: Node, values: Values) -> torch.Tensor:
    """Return columns of several tensors side by side."""
    parts = [_real(given(node, values, place)) for place in range(len(values))]
    widths = wholes(node, "inputdimensions", tuple(part.shape[-1] for part in parts))
    rows = [part.reshape(-1, width) for part, width in zip(parts, widths, strict=True)]
    return torch.cat(rows, 1)


def one_hot_encoder(node: Node, values: Values) -> torch.Tensor:
    """Return one column per category, one where it is met."""
    categories, value = wholes(node, "cats_int64s"), given(node, values, 0)
    if not categories:
        raise refusal(node, "categories that are text are not known here")
    flag(node, "zeros", True)  # without it a strange category is an error; here its columns are zero
    return (value.unsqueeze(-1) == torch.tensor(categories, device=value.device)).to(torch.float32)


def _linear(node: Node, value: torch.Tensor, rows: int) -> torch.Tensor:
    weights, offsets = reals(node, "coefficients"), reals(node, "intercepts")
    if rows < 1 or len(weights) != rows * value.shape[-1] or len(offsets) not in (0, rows):
        raise refusal(node, f"its coefficients do not fit {value.shape[-1]} features")
    matrix = _row(weights, value).reshape(rows, -1)
    return torch.nn.functional.linear(value, matrix, _row(offsets, value) if offsets else None)


def _row(numbers: tuple[float, ...], value: torch.Tensor) -> torch.Tensor:
    return torch.tensor(numbers, dtype=value.dtype, device=value.device)


def _real(value: torch.Tensor) -> torch.Tensor:
    return value if value.is_floating_point() else value.to(torch.float32)


_LINEAR = "coefficients intercepts post_transform"
TABLE = {
    "ArrayFeatureExtractor": Known(array_feature_extractor),
    "Binarizer": Known(binarizer, "threshold"),
    "FeatureVectorizer": Known(feature_vectorizer, "inputdimensions"),
    "Imputer": Known(imputer, "imputed_value_floats imputed_value_int64s replaced_value_float replaced_value_int64"),
    "LinearClassifier": Known(linear_classifier, f"{_LINEAR} classlabels_ints classlabels_strings multi_class"),
    "LinearRegressor": Known(linear_regressor, f"{_LINEAR} targets"),
    "Normalizer": Known(normalizer, "norm"),
    "OneHotEncoder": Known(one_hot_encoder, "cats_int64s zeros"),
    "Scaler": Known(scaler, "offset scale"),
}
