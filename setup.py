"""The native kernels of `shoestring count` and `lm`: optional, so that an installation without a compiler works too."""

import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup

# One binary for every Python from 3.10 on; free-threaded builds have no stable interface.
stable = not sysconfig.get_config_var("Py_GIL_DISABLED")
flags = (
    ["/O2", "/fp:precise"]
    if sys.platform == "win32"
    else ["-std=c11", "-O3", "-ffp-contract=off", "-fno-fast-math", "-fvisibility=hidden"]
)


def kernel(system: str, *more: str) -> Extension:
    """Returns the kernel of a system, which lies in its folder `kernel`."""
    folder = f"src/shoestring/{system}/kernel/"
    return Extension(
        f"shoestring.{system}._kernel",
        sorted(map(str, Path(folder).glob("*.c"))),
        depends=sorted(map(str, Path(folder).glob("*.h"))),
        extra_compile_args=[*flags, *more],
        extra_link_args=["-Wl,-s", "-lm"] if sys.platform.startswith("linux") else [],  # -s: a quarter
        define_macros=[("Py_LIMITED_API", "0x030A0000")] if stable else [],
        py_limited_api=stable,
        optional=True,
    )


setup(
    ext_modules=[
        kernel("count"),
        kernel("lm", *([] if sys.platform == "win32" else ["-D_GNU_SOURCE"])),
    ],
    options={"bdist_wheel": {"py_limited_api": "cp310"}} if stable else {},
)
