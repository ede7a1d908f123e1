"""Ask the package index which known weaknesses the locked packages have. Exit code 1 if there are any.

pip-audit calls packages whose advisories it could not get skipped, and then reports that nothing was found. Behind a
mirror without advisories that is all of them, which must not pass for a clean audit: it is said, loudly.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).with_name("dev.lock")
"""What is installed for development, what is shipped among it."""


def main() -> int:
    """Audit and report."""
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--requirement",
        str(LOCK),
        "--require-hashes",
        "--disable-pip",
    ]
    done = subprocess.run(
        [*command, "--format", "json", "--progress-spinner", "off"],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        print(f"NOT AUDITED: pip-audit did not get to an answer:\n{done.stderr}", file=sys.stderr)
        return 0
    weak = [package for package in packages if package.get("vulns")]
    for package in weak:
        for found in package["vulns"]:
            remedy = ", ".join(found["fix_versions"]) or "no version yet"
            print(f"{package['name']} {package['version']}: {found['id']}, mended in {remedy}")
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    audited = len(packages) - len(skipped)
    print(f"{audited} of {len(packages)} locked packages audited, {len(weak)} with known weaknesses")
    if skipped:
        print(f"NOT AUDITED, the index has no advisories for: {', '.join(skipped)}", file=sys.stderr)
    return 1 if weak else 0


if __name__ == "__main__":
    sys.exit(main())
