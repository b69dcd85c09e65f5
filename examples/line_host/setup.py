"""Builds the example host: `python setup.py build_ext --inplace`, with edgead installed."""

from setuptools import Extension, setup

import edgead

setup(
    name="line_host",
    version="1",
    ext_modules=[
        Extension(
            "line_host",
            ["module.c", "camera.c", "gate.c"],
            depends=["line_host.h"],
            include_dirs=[edgead.get_include()],
            extra_compile_args=["-std=c11"],
        )
    ],
)
