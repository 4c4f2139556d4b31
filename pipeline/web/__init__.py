"""The live page: an HTTP and WebSocket server beside the run, which shows it and passes on what people ask."""

from __future__ import annotations
