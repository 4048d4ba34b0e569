"""Stage `link`: link the test mentions and the corpus. Run: ray job submit --working-dir . -- python jobs/link.py --config jobs/configs/quickstart.yaml"""

import sys

from rpdr.cli import run_stage

if __name__ == "__main__":
    sys.exit(run_stage("link"))
