"""What gains.py and regret.py share: options that are checked before hours of measuring, and how they end."""

import argparse
import pathlib
import shutil
import sys


class Parser(argparse.ArgumentParser):
    """What is wrong in one line, without the usage."""

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {message}\n")

    def check_campaign(self, options):
        """--out and --catena, which every campaign has."""
        if options.out.exists() and not options.out.is_dir():
            self.error(f"--out takes a directory, '{options.out}' is none")
        if not shutil.which(options.catena):
            self.error(f"there is no program '{options.catena}': name it with --catena PATH (make builds build/catena)")


def run(main):
    try:
        main()
    except OSError as problem:
        where = f"{problem.filename}: " if problem.filename else ""
        print(f"{pathlib.Path(sys.argv[0]).name}: error: {where}{problem.strerror}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit("interrupted: the same command goes on from here")
