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

EAGER_S, PATIENT_S = 0.1, 30.0
TYPING_S = 2.0
"""So long after a key somebody still types: a lone escape is told, then."""


class PatientDriver(LinuxDriver):
    """Reads what is typed as it comes, and is woken by nothing else but its end."""

    _bell: tuple[int, int] | None = None
    """A pipe into the thread: a byte wakes it. It lives as long as the app, which may go and come back."""

    def disable_input(self) -> None:
        """Have the thread look about, so that it sees that it shall end."""
        if self._bell is not None:
            os.write(self._bell[1], b"!")
        super().disable_input()

    def run_input_thread(self) -> None:
        """Hand on what is typed until the driver stops."""
        bell = self._bell = self._bell or os.pipe()
        parser = XTermParser(self._debug)
        decode = getincrementaldecoder("utf-8")().decode
        eager_until = time.monotonic() + TYPING_S
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            selector.register(bell[0], selectors.EVENT_READ)
            while not self.exit_event.is_set():
                is_eager = time.monotonic() < eager_until
                for key, _mask in selector.select(EAGER_S if is_eager else PATIENT_S):
                    eager_until = time.monotonic() + TYPING_S
                    data = os.read(key.fd, 4096)
                    if key.fd == self.fileno and (typed := decode(data)):
                        for event in parser.feed(typed):
                            self.process_message(event)
                for event in parser.tick():
                    self.process_message(event)
