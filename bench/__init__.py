"""The benchmarks; clusters with replicas, callers, attackers and certificates they share with the tests."""

import os
import sys
from pathlib import Path

# Read when grpc is imported. Its handlers would abort a child that is forked while calls are under way here.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
sys.path.append(str(Path(__file__).parents[1] / "tests"))
