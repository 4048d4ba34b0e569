"""Write a finished run's student as one Hugging Face directory. Run: ray job submit --working-dir . -- python jobs/export.py --config jobs/configs/quickstart.yaml"""

import sys

from rpdr.cli import run_stage

if __name__ == "__main__":
    sys.exit(run_stage("export"))
