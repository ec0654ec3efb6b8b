"""The report as a small inert piece of HTML for a notebook: table and sentences of the terminal."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from pmcore.numerals import count
from pmcore.quoting import printable
from pmcore.reports.meaning import LOWER_BOUND, in_words
from pmcore.reports.references import game, title
from pmcore.reports.results import NO_FIGURES, invalid_reasons, results
from pmcore.reports.words import level
from pmcore.schema import AuditReport

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATE = """\
{%- set left = ' style="text-align: left"' | safe -%}
<div class="pmcore">
<p><strong>{{ model }}</strong>: {{ sizes }}.
Validity: <strong>{{ "VALID" if valid else "INVALID" }}</strong></p>
{%- if valid %}
{%- if checks %}
<ul>
{%- for check in checks %}
<li>{{ check }}</li>
{%- endfor %}
</ul>
{%- endif %}
<table>
<caption>Can members be told from non-members? {{ confidence }} intervals</caption>
<thead><tr>
{%- for heading in ["Attack", "Access", "AUC"] + columns %}<th scope="col"{{ left }}>{{ heading }}</th>{% endfor -%}
</tr></thead>
<tbody>
{%- for row in rows %}
<tr><th scope="row"{{ left }}>{{ row.attack }}</th><td{{ left }}>{{ row.access }}</td><td{{ left }}>{{ row.auc }}</td>
{%- for rate in row.rates %}<td{{ left }}>{{ rate }}</td>{% endfor -%}
</tr>
{%- endfor %}
</tbody>
</table>
{%- for note in notes %}
<p><small>{{ note }}</small></p>
{%- endfor %}
{%- if game %}
<p>{{ game_title }}</p>
<ul>
{%- for line in game %}
<li>{{ line }}</li>
{%- endfor %}
</ul>
{%- endif %}
<p>{{ sentence }}</p>
<p><small>{{ lower_bound }}</small></p>
{%- else %}
<ul>
{%- for reason in reasons %}
<li>{{ reason }}</li>
{%- endfor %}
</ul>
<p>{{ no_figures }}</p>
{%- endif %}
</div>
"""


def render_html(report: AuditReport) -> str:
    """Return the report as HTML without scripts, style sheets or links; every text in it is escaped."""
    found = results(report)
    data = report.data
    return _template().render(
        model=printable(report.model.path),
        sizes=f"{count(data.members.n)} members, {count(data.nonmembers.n)} non-members",
        valid=report.valid,
        checks=[
            f"{printable(check.name)}, {check.verdict}: {printable(check.text)}"
            for check in report.validity
            if check.verdict != "ok"
        ],
        reasons=invalid_reasons(report),
        no_figures=NO_FIGURES,
        confidence=level(report.confidence),
        columns=list(found.columns),
        rows=found.rows,
        notes=[*_not_run(report), *found.notes],
        game=list(game(report)),
        game_title=title(report.game),
        sentence=in_words(report),
        lower_bound=LOWER_BOUND,
    )


def _not_run(report: AuditReport) -> list[str]:
    return [f"{printable(part.attack)} not run: {printable(part.reason)}" for part in report.skipped]


@cache
def _template() -> Template:
    # Imported here: only notebooks and pages should wait for it.
    from jinja2 import Environment

    return Environment(autoescape=True, keep_trailing_newline=True).from_string(_TEMPLATE)
