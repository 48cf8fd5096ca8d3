"""Where the blocks of a lake are worked through: here, one after the other, or on a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from agent.errors import DataError, InputError
from agent.money.prices import MarketSeries, Series
from trainer.blocks import Block, block_rows, merged
from trainer.dataset import Dataset

CONNECT_S = 15.0
_REMEDY = "install it with: pip install 'hashmargin[dask]'"


class Engine(Protocol):
    """Computes the rows of every block."""

    def rows(
        self,
        blocks: Sequence[Block],
        market: MarketSeries,
        prices: Series,
        seed: int,
        progress: Callable[[float], None],
    ) -> list[Dataset | None]:
        """In the order of `blocks`.

        Raises:
            DataError: a block cannot be read, or a worker was lost for good.
        """
        ...


class LocalEngine:
    """In this process: one block in memory at a time."""

    def rows(
        self,
        blocks: Sequence[Block],
        market: MarketSeries,
        prices: Series,
        seed: int,
        progress: Callable[[float], None],
    ) -> list[Dataset | None]:
        """See `Engine`."""
        found = []
        for done, block in enumerate(blocks):
            progress(done / len(blocks))
            found.append(block_rows(block, market, prices, seed))
        progress(1.0)
        return found


class DaskEngine:
    """On the workers of a Dask scheduler, which must reach the lake by the same path and run this version.

    Args:
        scheduler: address, such as tcp://10.0.0.5:8786.

    Raises:
        InputError: the library is not installed, or no scheduler answers.
    """

    def __init__(self, scheduler: str) -> None:
        try:
            import distributed
        except ImportError as error:
            raise InputError(f"--engine dask needs dask; {_REMEDY}") from error
        self._library: Any = distributed
        try:
            self._client = self._library.Client(scheduler, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise InputError(
                f"--scheduler {scheduler}: no Dask scheduler answers there ({error}); "
                "start one with: dask scheduler, and workers with: dask worker ADDRESS"
            ) from error

    def rows(
        self,
        blocks: Sequence[Block],
        market: MarketSeries,
        prices: Series,
        seed: int,
        progress: Callable[[float], None],
    ) -> list[Dataset | None]:
        """See `Engine`."""
        jobs = self._client.map(
            block_rows, blocks, market=market, prices=prices, seed=seed, pure=False, retries=2
        )
        try:
            for done, _ in enumerate(self._library.as_completed(jobs, loop=self._client.loop)):
                progress(done / len(blocks))
            found: list[Dataset | None] = self._client.gather(jobs)
        except (OSError, RuntimeError) as error:
            # What the library raises for workers that died has RuntimeError or OSError above it.
            raise DataError(f"the Dask cluster failed: {error}; look at its workers' logs") from error
        finally:
            self._client.cancel(jobs)
        progress(1.0)
        return found

    def close(self) -> None:
        """Leave the cluster; what others run there goes on."""
        self._client.close()


def training_rows(
    engine: Engine,
    blocks: Sequence[Block],
    market: MarketSeries,
    prices: Series,
    seed: int,
    progress: Callable[[float], None] = lambda done: None,
) -> Dataset:
    """All training rows of a lake.

    Raises:
        DataError: there are none, or a block cannot be read.
    """
    return merged(engine.rows(blocks, market, prices, seed, progress), seed)
