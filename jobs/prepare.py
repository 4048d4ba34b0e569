"""Stage `prepare`: read the knowledge base and the mentions. Run: ray job submit --working-dir . -- python jobs/prepare.py --config jobs/configs/quickstart.yaml"""

import sys

from rpdr.cli import run_stage

if __name__ == "__main__":
    sys.exit(run_stage("prepare"))
