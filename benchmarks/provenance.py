"""Where a figure comes from: the commit and the processor that it was measured with."""

import platform
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Flags of /proc/cpuinfo, widest first: figures of processors with different ones do not compare.
VECTORS = {"avx512_vnni": "AVX-512 VNNI", "avx512f": "AVX-512", "avx2": "AVX2"}


def commit() -> str:
    """Name the commit of the tree, with `-dirty` where what is run differs from it.

    Figures that another benchmark has just written are no such difference.
    """
    command = ["git", "rev-parse", "--short", "HEAD"]
    name = subprocess.check_output(command, cwd=ROOT, text=True).strip()
    changed = ["git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!results"]
    return name + ("-dirty" if subprocess.check_output(changed, cwd=ROOT) else "")


def processor() -> str:
    """Name the processor, the widest vectors it computes with, and count its cores."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    flags = {flag for line in lines if line.startswith("flags") for flag in line.split()}
    vectors = [name for flag, name in VECTORS.items() if flag in flags][:1]
    label = " ".join([*names[:1], *(f"({name})" for name in vectors)])
    return f"{label}, {len(names)} cores" if names else platform.processor()
