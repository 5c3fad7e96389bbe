"""What the documentation site (mkdocs.yml) has beside docs/: the README, the changelog and the notebooks of examples/.

Links are written as GitHub wants them, relative to the file they stand in; here those that leave docs/ become pages of
the site, or copies of the file they name.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
PAGES = {ROOT / "README.md": "readme.md", ROOT / "CHANGELOG.md": "changelog.md",
         **{path: f"examples/{path.stem}.md" for path in NOTEBOOKS}}  # fmt: skip
LINK = re.compile(r"(?<=\]\()([^)#:\s]+)(?=[)#])")


@event_priority(100)
def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are written elsewhere."""
    for path, uri in PAGES.items():
        text = as_markdown(path) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn links to files of the repository into links of the site."""
    source = next((path for path, uri in PAGES.items() if uri == page.file.src_uri), ROOT / "docs" / page.file.src_uri)

    def target(match: re.Match[str]) -> str:
        path = (source.parent / match[1]).resolve()
        if path.is_dir():  # GitHub lists it; here its first page stands for it
            path = min(path.glob("*.md"), default=path)
        uri = PAGES.get(path, "")
        if not uri and path.is_relative_to(ROOT / "docs"):
            uri = path.relative_to(ROOT / "docs").as_posix()
        elif not uri and path.is_file() and path.is_relative_to(ROOT):
            uri = f"source/{path.relative_to(ROOT).as_posix()}"
            if files.get_file_from_path(uri) is None:
                files.append(File.generated(config, uri, abs_src_path=str(path)))
        return os.path.relpath(uri, Path(page.file.src_uri).parent) if uri else match[1]

    return LINK.sub(target, markdown)


def as_markdown(path: Path) -> str:
    """Return a notebook as a page: its text, its code, and what the code printed or drew."""
    parts = []
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        printed = "".join(output.text for output in cell.outputs if output.output_type == "stream")
        shown = [output.data for output in cell.outputs if output.output_type in ("execute_result", "display_data")]
        pictures = [data["image/png"].strip() for data in shown if "image/png" in data]
        printed += "\n".join(data.get("text/plain", "") for data in shown if "image/png" not in data)
        if printed.strip():
            parts.append(f"```text\n{printed.rstrip()}\n```")
        parts += [f'<img alt="what the code drew" src="data:image/png;base64,{picture}">' for picture in pictures]
    parts.append(f"The notebook: [{path.name}]({path.name})")
    return "\n\n".join(parts) + "\n"
