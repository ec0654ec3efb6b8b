"""How far forms that compute in float32 may be from double precision."""

BOUND = 1e-5
"""Of a logit and of any signal; also of how far apart two records may be that change places."""
AUC = 1e-6
