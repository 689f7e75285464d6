"""The template filled in: styles, scripts and data inlined, and nothing else let in."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from bench.report.published import LEGEND

if TYPE_CHECKING:
    from markupsafe import Markup

    from bench.report.page import DataSet

SCRIPTS = ("dom", "data", "state", "tables", "card", "compare", "published", "search", "main")
"""In the order in which they stand in the page's one script."""
_ESCAPES = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


def html(datasets: Iterable[DataSet]) -> str:
    """The page. Whatever comes from results is escaped or is JSON that no tag can end."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    shown = list(datasets)
    style, early = _read("style.css"), _read("early.js")
    script = '"use strict";\n' + "\n".join(_read(f"{name}.js") for name in SCRIPTS)
    environment = Environment(
        loader=PackageLoader("bench.report.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"breakable": breakable, "sourced": sourced}
    return environment.get_template("page.html").render(
        datasets=shown,
        legend=LEGEND,
        style=Markup(style),
        early=Markup(early),
        script=Markup(script),
        policy=_policy([style], [early, script]),
        data=Markup(to_json({"datasets": [each.data for each in shown]})),
    )


def breakable(name: str) -> Markup:
    """A name that may be broken after its punctuation marks; escaped."""
    from markupsafe import Markup, escape

    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=[:=,+@])", name))


def sourced(text: str) -> Markup:
    """A text whose parts in brackets, where a number is from, stand back; escaped."""
    from markupsafe import Markup

    quiet = Markup('<span class="interval">{}</span>')
    parts = re.split(r"(\([^()]*\)|\[[^\[\]]*\])", text)
    return Markup("").join(
        quiet.format(part) if place % 2 else breakable(part) for place, part in enumerate(parts)
    )


def to_json(data: Any) -> str:
    """JSON in which no `</script>` and no `<!--` can stand."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    return text.translate(_ESCAPES)


def _policy(styles: Iterable[str], scripts: Iterable[str]) -> str:
    """The Content-Security-Policy: these styles and scripts by their hashes, no source at all."""
    allowed = (
        ("default-src", ["'none'"]),
        ("script-src", [_hash(text) for text in scripts]),
        ("style-src", [_hash(text) for text in styles]),
        ("base-uri", ["'none'"]),
        ("form-action", ["'none'"]),
    )
    return "; ".join(" ".join((name, *sources)) for name, sources in allowed)


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _read(name: str) -> str:
    return (files("bench.report.page") / "templates" / name).read_text(encoding="utf-8")
