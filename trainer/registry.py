"""The registry: every experiment, the bundles it led to, their stages, and which site runs which.

One SQLite file beside the artefacts. A bundle's bytes never change in it; who moved it to which stage, and
why, is kept for ever. Files come first and rows after them, so that a row never names what is not there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.errors import InputError, StoreError
from agent.models.bundle import MANIFEST, POWER, PROFIT, load_bundle
from trainer.registry_database import RegistryDatabase
from trainer.registry_files import clear_partial, point, sha256, store_folder, writing
from trainer.registry_records import (
    ALL_SITES,
    Deployment,
    Experiment,
    Registered,
    Stage,
    Transition,
    describe,
    who,
)

_NEXT: dict[Stage, tuple[Stage, ...]] = {
    "candidate": ("shadow", "retired"),
    "shadow": ("shadow", "canary", "retired"),
    "canary": ("canary", "stable", "retired"),
    "stable": ("stable", "retired"),
    "retired": (),
}
# What `force` opens as well: going back to a bundle that was stable once.
_BACK: dict[Stage, tuple[Stage, ...]] = {"retired": ("stable",)}
_SITE = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_MOST_ARTEFACTS = 32


class Registry:
    """A registry in a folder. Several processes may use it; one writes at a time.

    Args:
        root: its folder.
        create: make it where there is none.

    Raises:
        StoreError: on creation and from every method, when the folder or its database cannot be used.
    """

    def __init__(self, root: Path, *, create: bool = False) -> None:
        self.root = root
        if not create:
            self._db = RegistryDatabase(root, create=False)
            return
        with writing(root):
            self._db = RegistryDatabase(root, create=True)
            for folder in ("experiments", "bundles", "in-use"):
                (root / folder).mkdir(exist_ok=True)
                clear_partial(root / folder)
            self._point_links()

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    # -- adding ----------------------------------------------------------------------------------

    def add(
        self,
        folder: Path,
        now: datetime,
        parameters: Mapping[str, Any] | None = None,
        artefacts: Mapping[str, Path] | None = None,
    ) -> Experiment:
        """Record the training that led to the bundle in `folder`, and keep copies of all its files.

        Args:
            parameters: what the training was asked for, beside what the manifest says.
            artefacts: more files by name, for example the report.

        Raises:
            BundleError: the agent would not use the bundle.
        """
        bundle = load_bundle(folder)
        manifest = bundle.manifest
        files = {name: folder / name for name in (MANIFEST, POWER, PROFIT)}
        extra = dict(artefacts or {})
        if len(extra) > _MOST_ARTEFACTS or any(Path(n).name != n or n in files for n in extra):
            raise StoreError(f"artefacts must be at most {_MOST_ARTEFACTS} plain names that no bundle uses")
        with writing(self.root):
            place = self.bundle_path(manifest.bundle_id)
            if place.exists():
                # The same id is the same content; a copy that has gone bad must not stand in for it.
                load_bundle(place)
            else:
                store_folder(files, place)
            identity = self._free_id(now, manifest.bundle_id)
            home = self.root / "experiments" / identity
            store_folder(files | extra, home)
            found = {name: (sha256(home / name), (home / name).stat().st_size) for name in files | extra}
            experiment = describe(identity, now, manifest, parameters or {}, found)
            with self._db.transaction():
                self._insert(experiment, found)
        return experiment

    def _insert(self, experiment: Experiment, found: Mapping[str, tuple[str, int]]) -> None:
        self._db.run(
            "INSERT INTO experiments VALUES (?,?,?,?,?,?,?,?,?,?)",
            (
                experiment.id,
                experiment.created_at,
                experiment.who,
                json.dumps(experiment.parameters),
                json.dumps(experiment.data_span),
                experiment.code_version,
                experiment.git_commit,
                json.dumps(experiment.library_versions),
                json.dumps(experiment.metrics),
                experiment.bundle_id,
            ),
        )
        for name, (digest, size) in found.items():
            self._db.run("INSERT INTO artefacts VALUES (?,?,?,?)", (experiment.id, name, digest, size))
        added = self._db.run(
            "INSERT OR IGNORE INTO bundles VALUES (?,?,'candidate',0)",
            (experiment.bundle_id, experiment.created_at),
        )
        if added.rowcount:
            self._note(
                experiment.created_at, experiment.bundle_id, None, "candidate", [], "added", forced=False
            )

    def _free_id(self, now: datetime, bundle_id: str) -> str:
        start = f"{now:%Y%m%dT%H%M%S}-{bundle_id[:8]}"
        number = 1
        while (self.root / "experiments" / (start if number == 1 else f"{start}-{number}")).exists():
            number += 1
        return start if number == 1 else f"{start}-{number}"

    # -- reading ---------------------------------------------------------------------------------

    def bundle_path(self, bundle_id: str) -> Path:
        """The folder of a bundle."""
        return self.root / "bundles" / bundle_id

    def bundles(self) -> list[Registered]:
        """Every bundle, newest first."""
        rows = self._db.rows(
            "SELECT bundle_id, added_at, stage FROM bundles ORDER BY added_at DESC, bundle_id"
        )
        deployed = self.deployments()
        return [
            Registered(
                key, added, stage, self.bundle_path(key), tuple(d for d in deployed if d.bundle_id == key)
            )
            for key, added, stage in rows
        ]

    def find(self, start: str) -> Registered:
        """The bundle whose id is or begins with `start`.

        Raises:
            InputError: none or several do.
        """
        found = [b for b in self.bundles() if b.bundle_id.startswith(start)] if start else []
        exact = [b for b in found if b.bundle_id == start]
        if len(exact or found) != 1:
            several = f"{len(found)} bundles begin with it" if found else "no bundle has this id"
            raise InputError(
                f"{start!r}: {several}; `hashmargin models list --registry {self.root}` shows all"
            )
        return (exact or found)[0]

    def deployments(self) -> list[Deployment]:
        """Which bundle each site has at each stage."""
        rows = self._db.rows("SELECT site, stage, bundle_id, since FROM deployments ORDER BY site, stage")
        return [Deployment(*row) for row in rows]

    def journal(self, bundle_id: str | None = None) -> list[Transition]:
        """Every transition, oldest first; of one bundle where it is named."""
        query = "SELECT at, who, bundle_id, from_stage, to_stage, sites, reason, forced FROM journal"
        if bundle_id is None:
            rows = self._db.rows(f"{query} ORDER BY seq")
        else:
            rows = self._db.rows(f"{query} WHERE bundle_id = ? ORDER BY seq", (bundle_id,))
        return [
            Transition(at, name, key, before, after, json.loads(sites), reason, bool(forced))
            for at, name, key, before, after, sites, reason, forced in rows
        ]

    def experiments(self, bundle_id: str | None = None) -> list[Experiment]:
        """Every training, oldest first; those that led to one bundle where it is named."""
        query = "SELECT * FROM experiments"
        if bundle_id is None:
            rows = self._db.rows(f"{query} ORDER BY created_at, id")
        else:
            rows = self._db.rows(f"{query} WHERE bundle_id = ? ORDER BY created_at, id", (bundle_id,))
        found = []
        for row in rows:
            files = self._db.rows("SELECT name, sha256 FROM artefacts WHERE experiment_id = ?", (row[0],))
            found.append(
                Experiment(
                    id=row[0],
                    created_at=row[1],
                    who=row[2],
                    parameters=json.loads(row[3]),
                    data_span=json.loads(row[4]),
                    code_version=row[5],
                    git_commit=row[6],
                    library_versions=json.loads(row[7]),
                    metrics=json.loads(row[8]),
                    bundle_id=row[9],
                    artefacts=dict(files),
                )
            )
        return found

    def stable(self, site: str = ALL_SITES) -> Registered | None:
        """The stable bundle of a site: its own, else that of all sites."""
        by_site = {d.site: d.bundle_id for d in self.deployments() if d.stage == "stable"}
        key = by_site.get(site, by_site.get(ALL_SITES))
        return self.find(key) if key is not None else None

    # -- stages ----------------------------------------------------------------------------------

    def allowed(self, bundle: Registered, stage: Stage, *, force: bool) -> None:
        """Refuse a transition that the order of stages does not have.

        Raises:
            InputError: with what is allowed.
        """
        options = _NEXT[bundle.stage]
        if stage in options or (force and stage in _BACK.get(bundle.stage, ()) and self._was_stable(bundle)):
            return
        text = " or ".join(options) or "nothing"
        hint = ""
        if bundle.stage == "retired" and stage == "stable":
            hint = "; going back to a bundle that was stable once needs --force and a reason"
        raise InputError(
            f"bundle {bundle.bundle_id} is {bundle.stage}; from there it can become {text}, not {stage}{hint}"
        )

    def promote(
        self,
        bundle_id: str,
        stage: Stage,
        now: datetime,
        sites: Sequence[str] = (),
        reason: str = "",
        *,
        force: bool = False,
    ) -> Registered:
        """Move a bundle to `stage` at `sites`, or everywhere; what was stable there retires.

        Args:
            sites: none stands for every site that has no bundle of its own.
            force: needs a reason; opens the way back from retired to stable.

        Raises:
            InputError: the order of stages has no such step, or a site or the reason is missing or wrong.
            BundleError: the agent would not use the bundle; this no force overrides.
        """
        if force and not reason.strip():
            raise InputError("--force needs --reason, which the journal keeps")
        for site in sites:
            if not _SITE.fullmatch(site):
                raise InputError(f"site {site!r}: small letters, digits, dot, dash and underscore only")
        if stage == "canary" and not sites:
            raise InputError("a canary runs at named sites: add --site")
        with writing(self.root):
            bundle = self.find(bundle_id)
            self.allowed(bundle, stage, force=force)
            if stage != "retired":
                load_bundle(bundle.path)
            with self._db.transaction():
                self._move(bundle, stage, now.isoformat(), list(sites), reason, force=force)
            self._point_links()
        return self.find(bundle.bundle_id)

    def _move(
        self, bundle: Registered, stage: Stage, at: str, sites: list[str], reason: str, *, force: bool
    ) -> None:
        key = bundle.bundle_id
        places = sites or [ALL_SITES]
        reached: Stage = stage
        if stage == "retired":
            if sites and not {d.site for d in bundle.deployments} & set(sites):
                raise InputError(f"bundle {key} does not run at {', '.join(sites)}")
            self._end(key, sites)
            # Retired at one site, it may still run at another.
            reached = bundle.stage if sites and self._held(key) else "retired"
        else:
            replaced: list[str] = []
            for site in places:
                if stage == "stable":
                    # What a site is to run for good ends every trial of the same bundle there.
                    self._end(key, [site] if site != ALL_SITES else [])
                old = self._db.rows(
                    "SELECT bundle_id FROM deployments WHERE site=? AND stage=?", (site, stage)
                )
                replaced += [row[0] for row in old if row[0] != key]
                self._db.run("INSERT OR REPLACE INTO deployments VALUES (?,?,?,?)", (site, stage, key, at))
            for other in dict.fromkeys(replaced):
                # A trial that gave way may be tried elsewhere; what was stable and now runs nowhere is over.
                after: Stage = "retired" if stage == "stable" and not self._held(other) else stage
                if after == "retired":
                    self._set(other, "retired")
                self._note(at, other, stage, after, sites, f"replaced by {key}", forced=False)
        self._set(key, reached)
        self._note(at, key, bundle.stage, stage, sites, reason, forced=force)

    def _end(self, bundle_id: str, sites: Sequence[str]) -> None:
        """Take a bundle from `sites`, or from everywhere."""
        if not sites:
            self._db.run("DELETE FROM deployments WHERE bundle_id=?", (bundle_id,))
        for site in sites:
            self._db.run("DELETE FROM deployments WHERE bundle_id=? AND site=?", (bundle_id, site))

    def _held(self, bundle_id: str) -> bool:
        return bool(self._db.rows("SELECT 1 FROM deployments WHERE bundle_id=? LIMIT 1", (bundle_id,)))

    def _set(self, bundle_id: str, stage: Stage) -> None:
        self._db.run(
            "UPDATE bundles SET stage=?, was_stable=MAX(was_stable,?) WHERE bundle_id=?",
            (stage, int(stage == "stable"), bundle_id),
        )

    def _was_stable(self, bundle: Registered) -> bool:
        rows = self._db.rows("SELECT was_stable FROM bundles WHERE bundle_id=?", (bundle.bundle_id,))
        return bool(rows and rows[0][0])

    def _note(
        self,
        at: str,
        bundle_id: str,
        before: Stage | None,
        after: Stage,
        sites: Sequence[str],
        reason: str,
        *,
        forced: bool,
    ) -> None:
        self._db.run(
            "INSERT INTO journal (at, who, bundle_id, from_stage, to_stage, sites, reason, forced) "
            "VALUES (?,?,?,?,?,?,?,?)",
            (at, who(), bundle_id, before, after, json.dumps(list(sites)), reason, int(forced)),
        )

    def _point_links(self) -> None:
        """Let `in-use/SITE` lead to what each site should run: its canary, else its stable bundle."""
        wanted: dict[str, str] = {}
        for stage in ("stable", "canary"):
            wanted |= {d.site: d.bundle_id for d in self.deployments() if d.stage == stage}
        names = {("all" if site == ALL_SITES else f"site-{site}"): key for site, key in wanted.items()}
        folder = self.root / "in-use"
        present = {item.name for item in folder.iterdir() if item.is_symlink()} if folder.is_dir() else set()
        for name in present - set(names):
            point(folder / name, None)
        for name, key in names.items():
            point(folder / name, Path("..") / "bundles" / key)
