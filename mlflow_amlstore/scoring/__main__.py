"""`python -m mlflow_amlstore.scoring`."""

import sys

from mlflow_amlstore.scoring.main import main

sys.exit(main())
