"""What mkdocs calls: pages that are generated, so that they are never stale."""

from __future__ import annotations

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from reference_pages import commands_page, models_page


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages on the packaged models and on the commands."""
    for name, content in {"models.md": models_page(), "commands.md": commands_page()}.items():
        files.append(File.generated(config, name, content=content))
    return files
