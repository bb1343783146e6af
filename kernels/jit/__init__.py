"""Numba twins of the C kernels: the same operators and the same bits, where no C compiler was.

A function compiled here calls compiled functions of its own file alone. Numba's disk cache
watches that one file, so a helper changed elsewhere would live on, inlined, in stale machine
code. What needs several files is put together in Python, tile by tile (tests/test_registry.py
checks this).

There is no `parallel=True`: Sparing never runs two thread pools in one process. The compiled
functions release the GIL, so sessions on several Python threads do run at once.
"""
