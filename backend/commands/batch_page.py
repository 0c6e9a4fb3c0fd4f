"""The page of a batch: every row with its turning picture, its file, and what became of it. Needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from backend.commands.batch_rows import BatchRow
from backend.readable import readable_bytes, readable_seconds


@dataclass(frozen=True)
class Exhibit:
    """What the page shows of one row."""

    prompt: str
    name: str
    seed: int
    file: str | None
    """Beside the page; None while there is none."""
    picture: str | None
    """Beside the page: of the file turning, or the file itself."""
    facts: tuple[str, ...]
    problem: str | None

    @classmethod
    def of(cls, row: BatchRow, known: Mapping[str, Any], folder: Path, file: Path) -> Exhibit:
        """
        Args:
            known: See `BatchRecord.of`.
            folder: Of the page.
            file: Of the row's result.
        """
        is_made = bool(known.get("is_made")) and file.exists()
        picture = file if row.is_picture else file.with_suffix(".gif")
        facts = []
        if is_made:
            if known.get("faces"):
                facts.append(f"{known['faces']:,} faces")
            facts += [f"{readable_seconds(float(known.get('seconds', 0.0)))} min", readable_bytes(file.stat().st_size)]
            facts += [f"{name} {share:.0%}" for name, share in (known.get("scores") or {}).items()]
        return cls(
            prompt=row.command.prompt or "",
            name=row.name,
            seed=row.seed,
            file=str(file.relative_to(folder)) if is_made else None,
            picture=str(picture.relative_to(folder)) if is_made and picture.exists() else None,
            facts=tuple(facts),
            problem=known.get("problem"),
        )


def batch_page(title: str, exhibits: Sequence[Exhibit]) -> str:
    """The whole page as HTML."""
    made = sum(each.file is not None for each in exhibits)
    cards = "\n".join(_card(each) for each in exhibits)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style></head><body>\n<h1>{escape(title)}</h1>"
        f"<p>{made} of {len(exhibits)} made</p>\n<main>\n{cards}\n</main></body></html>\n"
    )


def _card(each: Exhibit) -> str:
    prompt = escape(each.prompt)
    image = '<div class="waiting"></div>'
    if each.picture is not None:
        image = f'<img src="{quote(each.picture)}" alt="{prompt}" loading="lazy">'
    if each.file is not None:
        link = f'<a href="{quote(each.file)}" download>{escape(each.file)}</a>'
    else:
        link = f'<p class="problem">{escape(each.problem)}</p>' if each.problem else "<p>not made yet</p>"
    facts = " <i>·</i> ".join(escape(fact) for fact in (*each.facts, f"seed {each.seed}"))
    return f"<article>{image}<h2>{prompt}</h2><p>{facts}</p>{link}</article>"


_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem}
body{color:#2b2d33;background:#f7f7f5}
main{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:1.2rem}
article{background:#fff;border-radius:.6rem;padding:.8rem;box-shadow:0 1px 3px #0002;overflow-wrap:anywhere}
img,.waiting{display:block;width:100%;aspect-ratio:1;border-radius:.4rem;background:#eceae6;object-fit:contain}
h1{font-size:1.4rem}h2{font-size:1rem;margin:.6rem 0 .1rem}p{margin:.1rem 0 .4rem;color:#62656e}
i{font-style:normal;color:#b5b7bd}.problem{color:#a3261d}
@media(prefers-color-scheme:dark){body{background:#1d1e21;color:#e6e6e3}article{background:#292b2f}
img,.waiting{background:#35373c}p{color:#a9acb4}}
"""
