"""Stage `retriever`: tune the retriever on few labels, index all names. Run: ray job submit --working-dir . -- python jobs/retriever.py --config jobs/configs/quickstart.yaml"""

import sys

from rpdr.cli import run_stage

if __name__ == "__main__":
    sys.exit(run_stage("retriever"))
