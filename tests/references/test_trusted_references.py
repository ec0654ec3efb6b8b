"""References of a format that may run code: who vouched for the model vouches for the list of what was made of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

from pmcore import Audit
from pmcore.checksums import files_sha256
from pmcore.cli import run
from pmcore.errors import UntrustedError


@pytest.mark.slow
def test_references_of_a_forest_are_vouched_for_by_their_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x, y = load_digits(return_X_y=True)
    model = tmp_path / "model.skops"
    skops.io.dump(RandomForestClassifier(10, random_state=0).fit(x[:400], y[:400]), model)
    np.savez(tmp_path / "members.npz", x=x[:400].astype(np.float32), y=y[:400])
    np.savez(tmp_path / "nonmembers.npz", x=x[400:800].astype(np.float32), y=y[400:800])
    trust, refs = f"sha256:{files_sha256([model])}", tmp_path / "refs"
    pool = [str(tmp_path / "members.npz"), str(tmp_path / "nonmembers.npz")]
    given = ["--count", "4", "--jobs", "1", "--out", str(refs), "--trust-model", trust]
    assert run(["references", str(model), "--pool", *pool, *given]) == 0
    told = re.search(r"--trust-references (sha256:[0-9a-f]{64})", capsys.readouterr().out)
    assert told is not None
    settings: dict[str, Any] = {
        "model": str(model),
        "members": pool[0],
        "non_members": pool[1],
        "references": str(refs),
        "trust_model": trust,
        "attacks": ("reference",),
    }
    with pytest.raises(UntrustedError, match=f"allow them with --trust-references {told[1]}") as caught:
        Audit(**settings).plan()
    assert "\n" not in str(caught.value)
    assert "reference" in Audit(**settings, trust_references=told[1]).run().report.attacks
    forged = refs / "models" / "000.skops"
    forged.write_bytes((refs / "models" / "001.skops").read_bytes())
    with pytest.raises(UntrustedError, match="not the one that was trusted"):
        Audit(**settings, trust_references=told[1]).plan()
