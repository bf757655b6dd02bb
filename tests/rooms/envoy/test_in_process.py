"""What Envoy needs to run the service inside itself."""

import json
import os
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


@pytest.mark.skipif(in_process.missing() is not None, reason=str(in_process.missing()))
def test_an_embedded_python_opens_the_files_that_ours_does_where_the_locale_is_c() -> None:
    """Whatever letters their names have: without UTF-8, a directory with others ended each worker at its start."""
    code = (
        "import json; from instantaudience_gateway.envoy import in_process; print(json.dumps(in_process.environment()))"
    )
    ours = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"LC_ALL": "C"}, check=True, capture_output=True
    )
    environment = {name: value for name, value in json.loads(ours.stdout).items() if name not in WITHOUT}
    as_embedded = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    encoding = subprocess.run(
        [sys.executable, "-c", "import sys; print(sys.getfilesystemencoding())"],
        env=environment | as_embedded,
        check=True,
        capture_output=True,
    )
    assert encoding.stdout == b"utf-8\n"
