"""Runs a Python file, such as the snippet of a page.

    run_file.py FILE
"""

import runpy
import sys

runpy.run_path(sys.argv[1], run_name="__main__")
