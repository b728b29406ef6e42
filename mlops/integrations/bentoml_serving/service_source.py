"""The source of the service that is packaged into every Bento of a model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from mlops.integrations.bentoml_serving.entries import BENTO_FILE

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


def service_name(bento: Path) -> str:
    """Return the name that a Bento's entry service has in BentoML's configuration.

    Args:
        bento: The Bento's directory.
    """
    import yaml

    values = yaml.safe_load((bento / BENTO_FILE).read_bytes())
    return str(values["entry_service"])


def copy_service(directory: Path) -> None:
    """Copy the service's package into a directory, where it is importable as ``SERVICE_PACKAGE``."""
    package = directory / SERVICE_PACKAGE
    package.mkdir()
    for path in sorted(_SOURCE.glob("*.py")):
        shutil.copyfile(path, package / path.name)
