"""Stage `report`: measure, and write the report. Run: ray job submit --working-dir . -- python jobs/report.py --config jobs/configs/quickstart.yaml"""

import sys

from rpdr.cli import run_stage

if __name__ == "__main__":
    sys.exit(run_stage("report"))
