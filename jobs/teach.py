"""Stage `teach`: have the teacher label unlabelled mentions, under a budget. Run: ray job submit --working-dir . -- python jobs/teach.py --config jobs/configs/quickstart.yaml"""

import sys

from rpdr.cli import run_stage

if __name__ == "__main__":
    sys.exit(run_stage("teach"))
