"""`hashmargin models`: what a bundle is, whether this machine can use it, and where it stands in a registry.

The registry is the trainer's and is reached by name; it needs no more than the agent does.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.bundle_page import bundle_page, page_console
from agent.errors import BundleError
from agent.features.table import feature_hash
from agent.models.bundle import BundleManifest, read_manifest
from agent.models.trial import tried

HELP = """Show, verify, compare and promote model bundles.

Example: hashmargin models verify /var/lib/hashmargin/bundle
"""
_REGISTRY = "trainer.registry_cli"
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the bundle.")]


def register(app: typer.Typer) -> None:
    """Add the group `models`."""
    group = typer.Typer(no_args_is_help=True, help=HELP)
    group.command("show")(show)
    group.command("verify")(verify)
    importlib.import_module(_REGISTRY).register(group)
    app.add_typer(group, name="models")


def show(
    folder: Annotated[
        str, typer.Argument(metavar="DIR|ID", help="Folder of the bundle, or id in a registry.")
    ],
    registry: Annotated[
        Path, typer.Option(envvar="HASHMARGIN_REGISTRY", help="Folder of the registry, for an id.")
    ] = Path("registry"),
    as_json: AsJson = False,
) -> None:
    """Show what a bundle was learned from, which hardware it covers and how well it did on unseen data.

    The graphs are not loaded; `models verify` does that.

    Example: hashmargin models show demo/bundle
    """
    if not Path(folder).exists() and (registry / "registry.sqlite3").exists():
        importlib.import_module(_REGISTRY).show(registry, folder, as_json=as_json)
        return
    manifest = read_manifest(Path(folder))
    if as_json:
        typer.echo(manifest.model_dump_json(indent=2, exclude={"golden", "feature_names"}))
    else:
        page_console().print(bundle_page(manifest))


def verify(folder: Folder, as_json: AsJson = False) -> None:
    """Run every check that the agent runs before it uses a bundle: files, feature table, golden vectors.

    Exits with 2 and says what is wrong when the agent would fall back to the profiles' curves.

    Example: hashmargin models verify demo/bundle --json
    """
    problem: str | None = None
    manifest: BundleManifest | None = None
    try:
        manifest = tried(folder).manifest
    except BundleError as error:
        if not as_json:
            raise
        problem = str(error)
    if as_json:
        document = {
            "path": str(folder),
            "usable": problem is None,
            "problem": problem,
            "bundle_id": manifest.bundle_id if manifest is not None else None,
            "feature_hash": feature_hash(),
            "golden_vectors": len(manifest.golden.features) if manifest is not None else None,
        }
        typer.echo(json.dumps(document, indent=2))
        if problem is not None:
            raise typer.Exit(2)
    elif manifest is not None:
        count = len(manifest.golden.features)
        typer.echo(f"{folder}: bundle {manifest.bundle_id} is usable; {count} golden vectors agree")
