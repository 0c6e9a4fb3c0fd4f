"""Compiles every kernel of a job on the CPU ahead of time: neither its first step nor its end then waits for them."""

from __future__ import annotations

from backend import machine

LEFT_OUT = ("collapse_kernels",)
"""Compiled when they are first needed: few meshes do, and they take as long as all others of finishing."""


def kernels_must_compile() -> bool:
    """Whether numba's cache lacks a kernel that every job needs."""
    return any(
        state.must_compile for state in machine.compiled_kernels() if state.module.rpartition(".")[2] not in LEFT_OUT
    )


def compile_kernels() -> None:
    """About half a minute the first time on a machine; a second when numba's cache has them all."""
    from backend.appearance.warm_up import compile_finishing, compile_texture_field
    from backend.geometry.warm_up import compile_kernels as compile_geometry
    from backend.render.portable_rasteriser import warm_up

    compile_geometry()
    warm_up()
    compile_texture_field()
    compile_finishing()
