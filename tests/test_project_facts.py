"""Licence, version and name are the same wherever a reader or a tool looks for them."""

import re
import tomllib

from tests.processes import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CITATION = (ROOT / "CITATION.cff").read_text()


def test_version_and_licence() -> None:
    assert re.findall(r"^version: (.*)$", CITATION, re.M) == [PROJECT["version"]]
    assert re.findall(r"^license: (.*)$", CITATION, re.M) == [PROJECT["license"]]
    assert PROJECT["license-files"] == ["LICENSE"]
    assert (ROOT / "LICENSE").read_text().startswith(f"{PROJECT['license']} License\n")


def test_the_image_for_docker_has_all_but_what_git_ignores() -> None:
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines() if line}
    left_out = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line.removeprefix("**/") for line in left_out} <= {
        *ignored, ".git", *(name.replace("!/", "!") for name in ignored),
    }  # fmt: skip
    recipe = (ROOT / "Dockerfile").read_text()
    (number,) = re.findall(r"--uid (\d+)", recipe)
    assert f"\nUSER {number}\n" in recipe
