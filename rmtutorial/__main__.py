"""python -m rmtutorial doctor"""

import sys

if sys.argv[1:] != ["doctor"]:
    sys.exit("usage: python -m rmtutorial doctor     looks at this machine and says what to do about each problem")

try:
    from rmtutorial import doctor
except ModuleNotFoundError as error:  # the packages that everything here needs are not installed yet
    sys.exit(f"{error}. Install the packages first: {sys.executable} -m pip install -r requirements.txt")

sys.exit(doctor.main())
