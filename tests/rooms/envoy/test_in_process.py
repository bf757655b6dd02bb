"""What Envoy needs to run the service inside itself."""

import subprocess
import sys

import pytest
from instantaudience_gateway.envoy import in_process

WITHOUT = {"LD_PRELOAD", "PYTHONHOME"}
"""What is for a Python that is embedded."""


@pytest.mark.skipif(in_process.missing() is not None, reason=str(in_process.missing()))
def test_an_embedded_python_finds_our_packages_without_files_of_its_sites() -> None:
    environment = {name: value for name, value in in_process.environment().items() if name not in WITHOUT}
    code = (
        "import instantaudience.v1.audience_pb2, instantaudience_gateway, instantaudience_server.running.envoy_worker"
    )

    subprocess.run([sys.executable, "-S", "-c", code], env=environment, check=True)
