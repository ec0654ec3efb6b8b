"""The operators of OpenVINO IR, by kind."""

from __future__ import annotations

from collections.abc import Mapping

from pmcore_autograd.operators import (
    Known,
    openvino_activations,
    openvino_attention,
    openvino_branches,
    openvino_convolutions,
    openvino_elementwise,
    openvino_normalisation,
    openvino_pieces,
    openvino_places,
    openvino_quantising,
    openvino_recurrent,
    openvino_reductions,
    openvino_resizing,
    openvino_shapes,
    openvino_types,
)

TABLE: Mapping[str, Known] = {
    **openvino_activations.TABLE,
    **openvino_attention.TABLE,
    **openvino_branches.TABLE,
    **openvino_convolutions.TABLE,
    **openvino_elementwise.TABLE,
    **openvino_normalisation.TABLE,
    **openvino_pieces.TABLE,
    **openvino_places.TABLE,
    **openvino_quantising.TABLE,
    **openvino_recurrent.TABLE,
    **openvino_reductions.TABLE,
    **openvino_resizing.TABLE,
    **openvino_shapes.TABLE,
    **openvino_types.TABLE,
}
