"""A page that needs no other file and no network."""

from __future__ import annotations

from html import escape


def self_contained_page(title: str, style: str, body: str) -> str:
    """The whole page.

    The policy lets it load nothing and run nothing, whatever a prompt might smuggle in.

    Args:
        title: Plain words; escaped here.
        style: CSS.
        body: HTML in which everything a user wrote is escaped already.
    """
    return _PAGE.format(title=escape(title), style=style, body=body)


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title} - Sketchbridge</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
