"""The whole loop, stage by stage; finished stages are skipped. Run: python jobs/run_all.py --config jobs/configs/quickstart.yaml"""

import sys

from rpdr.cli import run_stage

if __name__ == "__main__":
    sys.exit(run_stage("run_all"))
