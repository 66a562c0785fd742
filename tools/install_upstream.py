"""Installs older, real PEFT releases beside the environment, for the tests that compare behaviour between releases.

Each goes with a transformers that fits it into `.upstream/peft-<version>/`; everything else (torch, numpy, …) comes
from the environment. `PYTHONPATH=.upstream/peft-0.15.1 python …` then runs that PEFT. Running this again does nothing
when a folder is complete.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent / ".upstream"

_HUB = ("huggingface-hub==0.36.2", "hf-xet==1.8.0")
_TRANSFORMERS_4_51 = ("transformers==4.51.3", "tokenizers==0.21.4", *_HUB)
_TRANSFORMERS_4_57 = ("transformers==4.57.1", "tokenizers==0.22.1", *_HUB)

RELEASES = {
    "0.14.0": ("peft==0.14.0", *_TRANSFORMERS_4_51),
    "0.15.1": ("peft==0.15.1", *_TRANSFORMERS_4_51),
    "0.18.1": ("peft==0.18.1", *_TRANSFORMERS_4_57),
}


def install(version: str) -> bool:
    """Installs one release unless it is there already.

    Returns:
        Whether anything was installed.
    """
    target = ROOT / f"peft-{version}"
    requirements = RELEASES[version]
    if all(_is_installed(target, requirement) for requirement in requirements):
        return False
    unfinished = ROOT / f"peft-{version}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(unfinished)]
    subprocess.run([*command, *requirements], check=True)
    shutil.rmtree(target, ignore_errors=True)
    unfinished.rename(target)  # an interrupted run leaves no half-filled folder under the real name
    return True


def _is_installed(target: Path, requirement: str) -> bool:
    name, _, version = requirement.partition("==")
    return (target / f"{name.replace('-', '_')}-{version}.dist-info").is_dir()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", nargs="*", metavar="VERSION", help=f"default: {' '.join(RELEASES)}")
    versions = parser.parse_args().versions or list(RELEASES)
    unknown = [version for version in versions if version not in RELEASES]
    if unknown:
        parser.error(f"no recipe for {', '.join(unknown)}; known: {', '.join(RELEASES)}")
    ROOT.mkdir(exist_ok=True)
    for version in versions:
        done = "installed" if install(version) else "already there"
        print(f"PEFT {version}: {done}")


if __name__ == "__main__":
    main()
