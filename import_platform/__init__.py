"""Imports external tables into partitioned Delta Lake tables inside a memory budget."""

import os

# Read by Arrow when it is first imported: what its C++ internals take comes from malloc too, and so goes back to the
# kernel when it is freed (see io/memory.py).
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

__version__ = "0.1.0"
