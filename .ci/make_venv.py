"""Make a virtual environment with pip in it: `python3 make_venv.py FOLDER`.

Debian's python3 comes without ensurepip (it is in the package python3-venv), so where that is
missing pip is taken from PyPI and checked against the hash that the index gives.
"""

import hashlib
import importlib.util
import json
import subprocess
import sys
import tempfile
import urllib.request
import venv
from pathlib import Path


def fetch_pip(folder: Path) -> Path:
    """Download the newest pip wheel into `folder`."""
    with urllib.request.urlopen("https://pypi.org/pypi/pip/json", timeout=60) as response:
        files = json.load(response)["urls"]
    wheel = next(entry for entry in files if entry["packagetype"] == "bdist_wheel")
    with urllib.request.urlopen(wheel["url"], timeout=60) as response:
        data = response.read()
    if hashlib.sha256(data).hexdigest() != wheel["digests"]["sha256"]:
        raise SystemExit(f"{wheel['url']}: its hash is not the one that PyPI states")
    path = folder / wheel["filename"]
    path.write_bytes(data)
    return path


def main() -> None:
    target = Path(sys.argv[1])
    has_ensurepip = importlib.util.find_spec("ensurepip") is not None
    venv.create(target, with_pip=has_ensurepip, clear=True)
    if has_ensurepip:
        return
    with tempfile.TemporaryDirectory() as scratch:
        wheel = fetch_pip(Path(scratch))
        command = [str(target / "bin" / "python"), f"{wheel}/pip", "install", "--quiet", str(wheel)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
