"""A framework made of known spikes, to be measured in tests; copied beside the library as an adapter's target."""

import atexit
import builtins
import mmap
import multiprocessing
import os
import signal
import sys
import time

MIB = 2**20


def spike(mib: int, hold_seconds: float = 0.0) -> None:
    """Map, touch, hold and unmap a known size."""
    with mmap.mmap(-1, mib * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        for offset in range(0, mib * MIB, mmap.PAGESIZE):
            memory[offset] = 1
        time.sleep(hold_seconds)


def outer(small: int, large: int) -> None:
    spike(small)
    inner(large)
    small_again(small)


def inner(mib: int) -> None:
    spike(mib)


def small_again(mib: int) -> None:
    spike(mib)


def child_work(mib: int, queue) -> None:  # type: ignore[no-untyped-def]
    inner(mib)
    queue.put(os.getpid())


def in_child(mib: int) -> None:
    """As colbert-ai does: spawn a process and wait for its answer without looking whether it lives."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=child_work, args=(mib, queue))
    process.start()
    queue.get()
    process.join()


def die(mib: int, queue) -> None:  # type: ignore[no-untyped-def]
    os.kill(os.getpid(), signal.SIGKILL)


def child_dies() -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=die, args=(1, queue))
    process.start()
    queue.get()  # for ever


def large_child_exits(mib: int) -> None:
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=grow, args=(mib, 0.2))
    process.start()
    process.join()
    time.sleep(1)


def grow(mib: int, seconds: float) -> bytes:
    memory = b"x" * (mib * MIB)
    time.sleep(seconds)
    return memory


def large_at_exit(mib: int) -> None:
    atexit.register(grow, mib, 0.2)


def hold(mib: int, seconds: float) -> None:
    spike(mib, seconds)


def wait_with_child(seconds: float) -> None:
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=time.sleep, args=(seconds,))
    process.start()
    print("child", process.pid, flush=True)
    time.sleep(seconds)


def wait_for_file(path: str, seconds: float) -> None:
    """In a child process, until the file is there or the seconds are over."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=sleep_until_there, args=(path, seconds))
    process.start()
    process.join()


def sleep_until_there(path: str, seconds: float) -> None:
    print("child", os.getpid(), flush=True)
    deadline = time.monotonic() + seconds
    while not os.path.exists(path) and time.monotonic() < deadline:
        time.sleep(0.02)


def fail() -> None:
    raise ValueError("the framework does not like this")


def swallow() -> None:
    """A failure that the framework catches and carries on after."""
    try:
        fail()
    except ValueError as error:
        print("did not succeed:", error)


def run_out_of_cuda_memory() -> None:
    raise RuntimeError("CUDA out of memory. Tried to allocate 27.55 GiB")


def cluster(backend: str, error: str = "") -> None:
    """A k-means that fails with `error`, where it is given one; the name before its colon is a built-in's."""
    if error:
        kind, _, message = error.partition(": ")
        raise getattr(builtins, kind)(message)


def try_to_train(backend: str, error: str) -> None:
    cluster(backend, error)


def fall_back(error: str) -> None:
    """As RAGatouille does: try one k-means and, whatever happens to it, go on with another."""
    try:
        try_to_train("first", error)
    except Exception as swallowed:
        print("trying again:", type(swallowed).__name__)
        try_to_train("second", "")


def observed_wrongly(mib: int) -> None:
    spike(mib)


def abort() -> None:
    print("exiting early", file=sys.stderr, flush=True)
    os._exit(7)


class Static:
    @staticmethod
    def method(mib: int) -> None:
        spike(mib)

    def __private(self, mib: int) -> None:
        spike(mib)

    def call(self, mib: int) -> None:
        self.__private(mib)
