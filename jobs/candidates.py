"""Stage `candidates`: retrieve candidates for every distinct mention. Run: ray job submit --working-dir . -- python jobs/candidates.py --config jobs/configs/quickstart.yaml"""

import sys

from rpdr.cli import run_stage

if __name__ == "__main__":
    sys.exit(run_stage("candidates"))
