"""The native kernel of `shoestring count`: optional, so that an installation without a compiler works too."""

import sys
import sysconfig

from setuptools import Extension, setup

# One binary for every Python from 3.10 on; free-threaded builds have no stable interface.
stable = not sysconfig.get_config_var("Py_GIL_DISABLED")
folder = "src/shoestring/count/kernel/"
flags = (
    ["/O2", "/fp:precise"]
    if sys.platform == "win32"
    else ["-std=c11", "-O3", "-ffp-contract=off", "-fno-fast-math", "-fvisibility=hidden"]
)

setup(
    ext_modules=[
        Extension(
            "shoestring.count._kernel",
            [
                f"{folder}{name}.c"
                for name in ("module", "dictionary", "table", "cut", "counts", "rows", "split", "utf8")
            ],
            depends=[f"{folder}kernel.h"],
            extra_compile_args=flags,
            extra_link_args=["-Wl,-s"] if sys.platform.startswith("linux") else [],  # a quarter of the size
            define_macros=[("Py_LIMITED_API", "0x030A0000")] if stable else [],
            py_limited_api=stable,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp310"}} if stable else {},
)
