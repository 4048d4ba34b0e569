"""Stage `retune`: tune the retriever again, on the teacher's labels. Run: ray job submit --working-dir . -- python jobs/retune.py --config jobs/configs/quickstart.yaml"""

import sys

from rpdr.cli import run_stage

if __name__ == "__main__":
    sys.exit(run_stage("retune"))
