"""The terminal's driver, less eager: it looks for keys often only while somebody types.

Textual's own wakes ten times a second, to end an escape sequence that broke off; of an app that is
only looked at, that was a sixth of all the CPU.
"""

from __future__ import annotations

import os
import selectors
import time
from codecs import getincrementaldecoder

from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

EAGER_S, PATIENT_S = 0.1, 1.0
TYPING_S = 2.0
"""So long after a key somebody still types: then a lone escape is told, and the app ends, without delay."""


class PatientDriver(LinuxDriver):
    """Reads what is typed as it comes, and is seldom woken by nothing."""

    def run_input_thread(self) -> None:
        """Hand on what is typed until the driver stops."""
        parser = XTermParser(self._debug)
        decode = getincrementaldecoder("utf-8")().decode
        eager_until = time.monotonic() + TYPING_S
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                is_eager = time.monotonic() < eager_until
                if selector.select(EAGER_S if is_eager else PATIENT_S):
                    eager_until = time.monotonic() + TYPING_S
                    if typed := decode(os.read(self.fileno, 4096)):
                        for event in parser.feed(typed):
                            self.process_message(event)
                for event in parser.tick():
                    self.process_message(event)
