"""The source of the service that is packaged into every Bento of a model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from mlops import plain_yaml
from mlops.integrations.bentoml_serving.entries import BENTO_FILE

READY_PATH: Final = "/readyz"
SERVICE_PACKAGE: Final = "mlops_service"
SERVICE_CLASS: Final = f"{SERVICE_PACKAGE}.service:PyfuncService"
# The patterns of what belongs into the Bento, for BentoML.
SERVICE_FILES: Final = (f"{SERVICE_PACKAGE}/*.py",)
_SOURCE: Final = Path(__file__).with_name("bento_service")


def has_own_service(bento: Path) -> bool:
    """Say whether a Bento brings the service of this library, not one of the user's.

    Args:
        bento: The Bento's directory.
    """
    return (bento / "src" / SERVICE_PACKAGE).is_dir()


def entry_service(bento: Path) -> tuple[str, str]:
    """Return the name of a Bento's entry service in BentoML's configuration, and where it says it is ready.

    Args:
        bento: The Bento's directory.
    """
    values = plain_yaml.load((bento / BENTO_FILE).read_bytes())
    name = str(values["entry_service"])
    configs = [
        service.get("config") or {} for service in values.get("services") or () if service["name"] == name
    ]
    # A service with a path prefix, or one in front of another server, has its own.
    endpoints = configs[0].get("endpoints") or {} if configs else {}
    return name, str(endpoints.get("readyz") or READY_PATH)


def copy_service(directory: Path) -> None:
    """Copy the service's package into a directory, where it is importable as ``SERVICE_PACKAGE``."""
    package = directory / SERVICE_PACKAGE
    package.mkdir()
    for path in sorted(_SOURCE.glob("*.py")):
        shutil.copyfile(path, package / path.name)
