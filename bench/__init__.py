"""The benchmarks. Replicated clusters, callers, attackers and certificates are shared with the tests."""

import os
import sys
from pathlib import Path

# Read when grpc is imported. Its fork handlers would abort a child process that is forked while calls are in flight.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
sys.path.append(str(Path(__file__).parents[1] / "tests"))
