"""What the site does that mkdocs does not: paths of files outside `docs/`, and a menu that leaves no page out."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

_LINK = re.compile(r"\[([^\]]*)\]\(((?:\.\./)+[^)\s]+)\)")


def on_config(config: Any) -> Any:
    """Put pages that no menu has into one called More; called by mkdocs.

    Args:
        config: That of the site.
    """
    known = set(re.findall(r"[\w/-]+\.md", str(config.nav)))
    pages = sorted(path.relative_to(config.docs_dir).as_posix() for path in Path(config.docs_dir).rglob("*.md"))
    if more := [page for page in pages if page not in known]:
        config.nav.append({"More": more})
    return config


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Change a page's text before it is rendered; called by mkdocs.

    Args:
        markdown: The page.
        page: What mkdocs knows of it.
    """
    folder = posixpath.dirname(page.file.src_uri)

    def shown(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", folder, link[2].split("#")[0]))
        if path.startswith("docs/"):
            return link[0]
        return f"`{path}`" if link[1].strip("`") == path else f"{link[1]} (`{path}`)"

    return _LINK.sub(shown, markdown)
