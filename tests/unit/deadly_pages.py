"""A reading process that some pages kill, as a fault in a library would.

Little is imported here: each start of the process imports it.
"""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection

from indexscope.corpora import pdf_pages


def serve(connection: Connection, memory_mib: int) -> None:
    """As pdf_pages.serve; pages 2 to 6 of a file kill it."""
    connection.send(pdf_pages.DONE)
    while True:
        for answer in pdf_pages.read(connection.recv()):
            if isinstance(answer, pdf_pages.Page) and 2 <= answer.number <= 6:
                os.kill(os.getpid(), signal.SIGKILL)
            connection.send(answer)
