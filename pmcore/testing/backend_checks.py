"""The checks of backends: every promise that a `Model` makes, one function each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pmcore.interfaces import Model
from pmcore.testing import backend_answers as answers
from pmcore.testing import backend_depth as depth
from pmcore.testing import backend_description as description
from pmcore.testing import backend_gradients as gradients
from pmcore.testing import backend_inputs as inputs
from pmcore.testing import backend_life as life
from pmcore.testing import backend_process as process
from pmcore.testing.backend_case import BackendExample, Subject, backend_check, class_of
from pmcore.testing.checking import Check, check_of, require_all, run_checks

__all__ = ["BACKEND_CHECKS", "BackendExample", "check_backend"]


def check_backend(backend: type[Model], example: Path | None = None) -> None:
    """Hold a backend to every promise of `pmcore.interfaces.Model`.

    Parameters
    ----------
    backend : the class; the checks make their models with its `write_dense`
    example : a model file, for a backend that cannot write one; what needs known weights is left out then

    Raises
    ------
    CheckFailed
        Names every check that failed, and why.
    """
    subject: Subject = backend if example is None else BackendExample(backend, example)
    require_all(run_checks(BACKEND_CHECKS, subject), f"backend {backend.__name__}")


def _class_check(function: Callable[[type[Model]], None]) -> Check[Subject]:
    check = check_of(function)
    return Check(check.name, check.promise, lambda subject: function(class_of(subject)))


BACKEND_CHECKS: tuple[Check[Subject], ...] = (
    _class_check(description.check_docstring),
    _class_check(description.check_options),
    _class_check(description.check_suffixes),
    process.process_check(process.check_import),
    process.process_check(process.check_import_without_framework),
    process.process_check(process.check_recognises_own_files),
    process.process_check(process.check_recognises_no_strangers),
    process.process_check(process.check_recognition_without_framework),
    process.process_check(process.check_wraps_no_strangers),
    process.process_check(process.check_silence),
    process.process_check(process.check_no_network),
    process.process_check(process.check_truncated_files),
    process.process_check(process.check_noise),
    process.process_check(process.check_empty_file),
    process.process_check(process.check_pickles),
    *map(
        backend_check,
        (
            description.check_description,
            description.check_described_network,
            description.check_description_stable,
            description.check_capabilities,
            description.check_layers,
            description.check_layer_parameters,
            description.check_files,
            answers.check_known_answers,
            answers.check_scale,
            answers.check_prediction_shape,
            answers.check_batch_independence,
            answers.check_order,
            answers.check_determinism,
            answers.check_large_batches,
            answers.check_nan_stays_with_its_record,
            answers.check_threads,
            inputs.check_inputs_unchanged,
            inputs.check_read_only_inputs,
            inputs.check_strided_inputs,
            inputs.check_wider_inputs,
            inputs.check_no_records,
            inputs.check_misshapen_records,
            inputs.check_missing_input,
            inputs.check_text_inputs,
            depth.check_activations,
            depth.check_activations_per_record,
            depth.check_known_activations,
            depth.check_unknown_layer,
            depth.check_one_pass,
            depth.check_known_head_input,
            gradients.check_known_gradients,
            gradients.check_gradients_per_record,
            gradients.check_gradients_by_layer,
            gradients.check_gradient_orders,
            gradients.check_sketches,
            life.check_close,
            life.check_random_state,
            life.check_source_unchanged,
            life.check_missing_file,
            life.check_unknown_device,
            life.check_unknown_output,
        ),
    ),
)
"""Every check of a backend; each runs on the class, or on a `BackendExample`."""
