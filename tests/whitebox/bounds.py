"""How far what is taken from an export may be from double precision."""

GRADIENT = 1e-5
"""Relative, of the norm of a record's gradient over all parameters."""
PARAMETER = 1e-4
"""Relative, of the norm over one parameter; below `SHARE` of the norm over all, relative to this share."""
SHARE = 1e-3
FORWARD = 1e-4
"""Of the largest logit: what the graph answers, against the runtime of the file."""
