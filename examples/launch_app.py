"""Start an app: python launch_app.py "Living Room" [APP]; without APP, list them.

APP is a name, an identifier, or a URL that an app opens, which can lead straight to a film.
"""

import sys

import tinyatv

with tinyatv.connect(sys.argv[1]) as atv:
    apps = {app.name: app.identifier for app in atv.apps()}
    if len(sys.argv) < 3:
        for name, identifier in sorted(apps.items()):
            print(f"{name}: {identifier}")
    else:
        target = apps.get(sys.argv[2], sys.argv[2])
        try:
            atv.launch(target)
        except tinyatv.CommandFailed as error:
            sys.exit(f"{error}")
        print(f"started {target}")
