"""Who computes the cells: this process, processes of this machine, or a Dask cluster.

All three are executors as `concurrent.futures` knows them, and whoever uses them sees nothing
else. Processes are spawned, ignore Ctrl-C (their parent ends them) and leave when it is gone.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import threading
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
)
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tallystick import __version__
from tallystick.errors import ConfigError, MissingExtraError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["MOST_WORKERS", "on_dask", "on_this_machine"]

EXTRA = "dask"  # what installs Dask's scheduler and client
MOST_WORKERS = 512
CONNECT_SECONDS = 10
AGAIN = "the same command goes on from what is finished"


class _Here(Executor):
    """Computes at once, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401
        """See `Executor.submit`."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - raised again by whoever asks for the result
            future.set_exception(error)
        return future


@contextmanager
def on_this_machine(workers: int) -> Generator[Executor]:
    """Yield an executor of so many processes; one worker is this process itself.

    Raises
    ------
    ConfigError
        No such number of workers.
    """
    if not 1 <= workers <= MOST_WORKERS:
        msg = f"--workers is {workers}: 1 to {MOST_WORKERS} are possible"
        raise ConfigError(msg)
    if workers == 1:
        yield _Here()
        return
    strangers = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")  # threads and fork do not go together
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_settle)
    try:
        _start_all(pool, workers)
        yield pool
    except BrokenExecutor as error:
        msg = "a worker process ended without a result, perhaps for lack of memory"
        raise UnavailableError(msg, hint=AGAIN) from error
    except BaseException:
        # What they compute is lost either way; waiting for it would only keep people waiting.
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - strangers:
            child.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def on_dask(address: str) -> Generator[Executor]:
    """Yield an executor of the Dask cluster at ``address``.

    Raises
    ------
    MissingExtraError
        Dask is not installed.
    ConfigError
        The address is none, or the workers run another release.
    UnavailableError
        Nobody answers there, or the cluster has no workers.
    """
    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError as error:
        raise MissingExtraError(EXTRA, "--dask") from error
    try:
        client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except OSError as error:  # a timeout is one, too
        msg = f"no Dask scheduler answers at '{address}'"
        raise UnavailableError(msg, hint="see that it runs and can be reached") from error
    except ValueError as error:
        msg = f"'{address}' is no address of a Dask scheduler"
        raise ConfigError(msg, hint="such as tcp://host:8786") from error
    lost = (distributed.KilledWorker, distributed.comm.CommClosedError, CancelledError)
    try:
        _check_release(client)
        executor: Executor = client.get_executor(pure=False)
        try:
            yield executor
        except BaseException:
            executor.shutdown(wait=False)  # which cancels what runs
            raise
    except lost as error:
        msg = f"the Dask cluster lost a cell: {type(error).__name__}"
        raise UnavailableError(msg, hint=AGAIN) from error
    finally:
        client.close()


def release() -> str:
    """Return the version of this package where it is called."""
    return __version__


def _check_release(client: Any) -> None:  # noqa: ANN401 - Dask is an extra
    """Refuse workers that would compute something else."""
    if not client.nthreads():
        msg = "the Dask cluster has no workers"
        raise UnavailableError(msg, hint="start some with `dask worker ADDRESS`")
    try:
        found = set(client.run(release).values())
    except Exception as error:
        msg = f"a Dask worker cannot run tallystick: {type(error).__name__}: {error}"
        hint = f"install tallystick[demo] {__version__} where the workers run"
        raise ConfigError(msg, hint=hint) from error
    if found != {__version__}:
        msg = f"the Dask workers run tallystick {', '.join(sorted(found))}, this is {__version__}"
        raise ConfigError(msg, hint="install the same release everywhere")


def _start_all(pool: Executor, workers: int) -> None:
    """Start the processes while Ctrl-C is ignored, which they inherit before they can say so."""
    if threading.current_thread() is not threading.main_thread():
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for _ in range(workers):
            pool.submit(release)
    finally:
        signal.signal(signal.SIGINT, before)


def _settle() -> None:
    """Begin a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.dup2(2, 1)  # standard output belongs to the parent's result
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """End this process when its parent is gone: nobody would take the result."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
